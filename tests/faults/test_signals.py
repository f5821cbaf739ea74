"""Each signal, alone and twice, at each moment of a training: a checkpoint is sealed, and nothing of it is lost."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.records import Ended, RunEnded, Steps
from cnnlab.tracking import RunDir, read
from tests.faults.table import repeats, tally

CODES = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGHUP: 129,
    signal.SIGQUIT: 131,
    signal.SIGUSR1: 138,
    signal.SIGUSR2: 140,
}
CALLS = {"forward": 9, "backward": 7, "step": 5, "validation": 2, "saving": 3, "sealing": 2, "journal": 4}
"""Where in the training the signal comes; each is in the second epoch, or at the end of the first."""
TRAINING = list(CALLS)
MOST_CALLS = {"validation": 3, "saving": 6, "sealing": 3, "journal": 6}
"""Of the other moments there are 12, one per step."""

ARGS = ["train", "--epochs", "3", "-s", "data.train_size=256", "--batch-size", "64", "--run-dir", "run", "--json"]
QUIETLY = ["--tracking-uri", "none", "-q"]

Case = dict[str, Any]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


def run_all(cases: list[Case]) -> list[int]:
    """The exit codes of the commands, one after the other."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.signalled"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CNNLAB_DATA": str(Path("data").absolute())},
        check=True,
    )
    codes: list[int] = json.loads(done.stdout)
    return codes


def case_of(moment: str, numbers: list[int], gap: float = 0.0, call: int | None = None) -> Case:
    name = f"{moment}-{'-'.join(map(str, map(int, numbers)))}-{gap}"
    folder = str(Path(name).absolute())
    call = call or CALLS[moment]
    return {"folder": folder, "args": [*ARGS, *QUIETLY], "moment": moment, "call": call, "numbers": numbers, "gap": gap}


def steps_of(run: RunDir) -> list[float]:
    return [loss for record in read(run.journal_file)[0] if isinstance(record, Steps) for loss in record.losses]


def faults_of(cases: list[Case]) -> dict[str, str]:
    """Run the cases, then resume each: folder -> what was not as promised; empty if all was."""
    whole = {"folder": str(Path("whole").absolute()), "args": [*ARGS, *QUIETLY]}
    codes = run_all([whole, *cases])
    assert codes[0] == 0, Path("whole/stderr").read_text()
    faults = {case["folder"]: fault_of(case, code) for case, code in zip(cases, codes[1:], strict=True)}
    run_all([{"folder": case["folder"], "args": ["train", "--resume", "run", "--json", "-q"]} for case in cases])
    digest = json.loads(Path("whole/stdout").read_text())["weights_sha256"]
    losses = steps_of(RunDir(Path("whole/run").absolute()))
    for folder in map(Path, [name for name, fault in faults.items() if not fault]):
        stdout = (folder / "stdout").read_text()
        if not stdout or json.loads(stdout)["weights_sha256"] != digest:
            faults[str(folder)] = "other weights after the resume: " + (folder / "stderr").read_text()
        elif steps_of(RunDir(folder / "run")) != losses:
            faults[str(folder)] = "steps were lost or doubled"
    return faults


def fault_of(case: Case, code: int) -> str:
    """What was wrong at the end of a command to which a signal came; empty if nothing."""
    run = RunDir(Path(case["folder"]) / "run")
    stderr = (Path(case["folder"]) / "stderr").read_text()
    ended = [record for record in read(run.journal_file)[0] if isinstance(record, RunEnded)]
    if code != 128 + case["numbers"][0]:
        return f"exit code {code}: {stderr}"
    if len(ended) != 1 or ended[0].status != "interrupted":
        return f"the journal ends with {[end.status for end in ended]}"
    if stderr.count("\n") != 1 or not stderr.startswith("cnnlab: "):
        return f"stderr: {stderr}"
    sealed = sorted(run.checkpoints.glob("step-*"))
    if len(case["numbers"]) == 1 and not sealed:
        return "no checkpoint"
    if run.is_held() or ((run.path / "lease.json").exists() and len(case["numbers"]) == 1):
        return "its lease was left"
    return ""


@pytest.mark.long
def test_a_signal_seals_a_checkpoint_and_a_second_one_leaves_at_once() -> None:
    alone = [case_of(moment, [number]) for moment, number in zip(TRAINING, itertools.cycle(CODES))]
    gaps = itertools.cycle([0.0, 0.01, 0.05, 0.3])
    pairs = [[signal.SIGINT, signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGUSR1, signal.SIGINT]]
    twice = [case_of(moment, pair, next(gaps)) for moment, pair in zip(TRAINING[::2], itertools.cycle(pairs))]
    check({"a signal while training": alone, "two signals while training": twice})


@pytest.mark.slow
def test_every_signal_at_every_moment_alone_and_twice() -> None:
    """All 6 at all moments, and pairs at random moments 0.01 to 1 s apart."""
    chance = random.Random(7)
    alone = [case_of(moment, [number]) for moment in TRAINING for number in CODES]
    gaps = [0.0, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0]
    twice = []
    for index in range(repeats(60)):
        moment, numbers, gap = chance.choice(TRAINING), chance.choices(list(CODES), k=2), chance.choice(gaps)
        twice.append(case_of(moment, numbers, gap, call=chance.randint(2, MOST_CALLS.get(moment, 12))))
        twice[-1]["folder"] += f"-{index}"
    check({"a signal while training": alone, "two signals while training": twice})


def check(kinds: dict[str, list[Case]]) -> None:
    faults = faults_of([case for cases in kinds.values() for case in cases])
    for kind, cases in kinds.items():
        tally(kind, tried=len(cases), held=sum(not faults[case["folder"]] for case in cases))
    assert not {folder: fault for folder, fault in faults.items() if fault}


# sweeps


SWEEP = ["sweep", "--trials", "4", "--confirm", "0", "--pruner", "none", "--epochs", "3", "-s", "data.train_size=256"]


def ended_sweep() -> tuple[str, dict[str, int]]:
    """The status of the sweep's own run here, and how its trials' runs ended: status -> their number."""
    study = next(Path("mlruns/studies").iterdir())
    trials = [read(path)[0][-1] for path in study.glob("trials/*/journal.jsonl")]
    last = read(study / "journal.jsonl")[0][-1]
    assert isinstance(last, Ended)
    return last.status, Counter(trial.status for trial in trials if isinstance(trial, Ended))


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGHUP, signal.SIGTERM], pytest.param([signal.SIGUSR2], marks=pytest.mark.slow)],
    ids=["twice", "alone"],
)
def test_a_sweep_in_one_process_stops_after_a_checkpoint(numbers: list[int]) -> None:
    case = {"folder": str(Path.cwd()), "args": [*SWEEP, "--workers", "1", "--json", *QUIETLY]}
    staged = {"moment": "step", "call": 30, "numbers": list(map(int, numbers)), "gap": 0.0}
    assert run_all([{**case, **staged}]) == [128 + numbers[0]]
    status, trials = ended_sweep()
    assert (status, trials["interrupted"]) == ("interrupted", 1)
    assert run_all([case]) == [0]
    found = json.loads(Path("stdout").read_text())
    held = (found["trials"]["complete"], *ended_sweep()) == (4, "finished", {"finished": 4})
    tally("a signal while a sweep runs", tried=1, held=int(held))
    assert held


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
def test_a_signal_to_all_processes_of_a_sweep_is_one_interruption(number: int, process: Process) -> None:
    """As a terminal and Slurm send it: workers, their server and the courier get it too."""
    long = ["50" if word == "3" else word for word in SWEEP]  # epochs: a machine that is busy sees it in the middle
    words = [*long, "--workers", "2", "--tracking-uri", "none"]
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(Path().glob("mlruns/studies/*/trials/*/checkpoints/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, number)
    _, stderr = running.communicate(timeout=60)
    status, trials = ended_sweep()
    again = process(*words, "--json", "-q")
    found = json.loads(again.stdout)["trials"]
    held = (running.returncode, status, trials["died"]) == (128 + number, "interrupted", 0)
    held = held and (found["complete"], found["total"]) == (4, 4)
    tally("a signal to all processes of a sweep", tried=1, held=int(held))
    assert held, (running.returncode, status, trials, found, stderr)
