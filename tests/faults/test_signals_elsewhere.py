"""Each signal, alone and twice, to one process and to all, while MLflow is waited for, in sync and in a comparison."""

import itertools
import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cnnlab.records import Ended
from cnnlab.tracking import RunDir, read
from tests.faults.table import repeats, tally
from tests.faults.test_kills import in_mlflow
from tests.faults.test_signals import ARGS, CODES, Case, run_all, steps_of

TO = ["process", "group", "all"]
PAIR = [signal.SIGINT, signal.SIGTERM]


def case_of(args: list[str], moment: str, numbers: list[int], to: str, gap: float = 0.02, call: int = 1) -> Case:
    name = "-".join([args[0], moment, *map(str, map(int, numbers)), to, str(gap), str(call)]).replace(" ", "_")
    folder = str(Path(name).absolute())
    numbers = [int(number) for number in numbers]
    return {"folder": folder, "args": args, "moment": moment, "call": call, "numbers": numbers, "gap": gap, "to": to}


def every(args: list[str], moments: list[str], count: int, call: int = 1) -> list[Case]:
    """Each signal, alone and twice, at each of the moments, to one process and to all; at most `count` cases."""
    chance = random.Random(f"{moments} {call}")
    numbers = [[number] for number in CODES] + [[number, chance.choice(list(CODES))] for number in CODES]
    cases = [case_of(args, *rest, call=call) for rest in itertools.product(moments, numbers, TO)]
    return chance.sample(cases, min(count, len(cases)))


def ours() -> list[str]:
    """The commands of all processes that work in this test's folder, or were started there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, words = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if (
            words
            and f"CNNLAB_DATA={Path('data').absolute()}".encode() in environment
            and int(process.name) != os.getpid()
        ):
            found.append(words.replace(b"\0", b" ").decode()[-300:])
    return found


def orphans(seconds: float) -> list[str]:
    """Those that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := ours()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def one_line(case: Case, code: int) -> str:
    """What was not as promised of a command's exit code and stderr; empty if nothing."""
    stderr = (Path(case["folder"]) / "stderr").read_text()
    if code != 128 + case["numbers"][0]:
        return f"exit code {code}: {stderr}"
    return "" if stderr.count("\n") == 1 and stderr.startswith("cnnlab: ") else f"stderr: {stderr}"


def check(fault: str, cases: list[Case], faults: dict[str, str], left: list[str]) -> None:
    tally(fault, tried=len(cases), held=sum(not faults[case["folder"]] for case in cases) * (not left))
    assert not left
    assert not {folder: fault for folder, fault in faults.items() if fault}


# delivery


def begin(folder: Path, store: Path) -> None:
    (folder / "mlruns").mkdir(parents=True)
    (folder / "mlruns" / "mlflow.db").write_bytes(store.read_bytes())


def delivered(folder: Path) -> str:
    """What MLflow lacks of a run that has finished, in words; empty if nothing."""
    run = RunDir(folder / "run")
    records = read(run.journal_file)[0]
    ended = [record.status for record in records if isinstance(record, Ended)]
    there: object = None
    with suppress(ValueError):  # no such run
        there = in_mlflow(run, str(folder / "mlruns" / "mlflow.db"))
    if ended != ["finished"] or there != ("FINISHED", list(enumerate(steps_of(run), start=1))):
        return f"the journal ends with {ended}, MLflow has {there}"
    return ""


def signal_in_delivery(waiting: list[Case], syncing: list[Case], store: Path) -> None:
    """Each is delivered afterwards by `cnnlab sync`, and by its own courier before that."""
    for case in [*waiting, *syncing]:
        begin(Path(case["folder"]), store)
    before = [{"folder": case["folder"], "args": [*ARGS, "-q", "--tracking-uri", "none"]} for case in syncing]
    cases = [*waiting, *syncing]
    codes = run_all([*before, *cases])[len(before) :]
    faults = {case["folder"]: one_line(case, code) for case, code in zip(cases, codes, strict=True)}
    left = orphans(60 + 20 * len(waiting))  # their couriers take turns
    by_itself = [case for case in waiting if not faults[case["folder"]]]
    faults.update((case["folder"], delivered(Path(case["folder"]))) for case in by_itself)
    again = [{"folder": case["folder"], "args": ["sync", "run"]} for case in cases]
    for case, code in zip(cases, run_all(again), strict=True):
        folder = Path(case["folder"])
        ended = "" if code == 0 else (folder / "stderr").read_text()
        faults[case["folder"]] = faults[case["folder"]] or ended or delivered(folder)
    check("a signal while train waits for MLflow", waiting, faults, left)
    check("a signal while sync delivers", syncing, faults, left)


TRAIN = [*ARGS, "-q"]
SYNC = ["sync", "run"]
SYNCING = ["records to MLflow", "artifacts to MLflow"]


@pytest.mark.long
def test_a_signal_in_delivery_ends_the_command_and_the_delivery_goes_on(empty_store: Path) -> None:
    waiting = case_of(TRAIN, "delivery", [signal.SIGHUP], "all")
    signal_in_delivery([waiting], [case_of(SYNC, SYNCING[1], PAIR, "group")], empty_store)


@pytest.mark.slow
def test_every_signal_in_delivery(empty_store: Path) -> None:
    count = repeats(36)
    signal_in_delivery(every(TRAIN, ["delivery"], count), every(SYNC, SYNCING, count), empty_store)


# a comparison


COMPARE = [
    *["compare", "--optimizers", "sgd,adam", "--tunings", "1", "--trials", "2", "--seeds", "2"],
    *["--epochs", "2", "-s", "data.train_size=128", "--batch-size", "32", "--tracking-uri", "none", "--json", "-q"],
]


def found(folder: Path) -> dict[str, Any]:
    """What the comparison there has found, without seconds."""
    result = json.loads((folder / "stdout").read_text())
    for arm in result["optimizers"]:
        arm["seconds_to_target"] = None
    return {**result, "seconds": 0}


def unended(folder: Path) -> str:
    """Names a run there that has no last word, or is held; empty if all have one."""
    for journal in folder.glob("mlruns/studies/**/journal.jsonl"):
        records, run = read(journal)[0], RunDir(journal.parent)
        if not isinstance(records[-1], Ended) or run.is_held():
            return f"{journal} ends with {records[-1]}"
    return ""


def signal_in_comparison(cases: list[Case]) -> None:
    whole = {args[-1]: Path("whole", args[-1]).absolute() for args in (case["args"] for case in cases)}
    first = [{"folder": str(folder), "args": [*COMPARE, "--workers", workers]} for workers, folder in whole.items()]
    codes = run_all([*first, *cases])
    expected = {workers: found(folder) for workers, folder in whole.items()}
    faults = {case["folder"]: one_line(case, code) for case, code in zip(cases, codes[len(first) :], strict=True)}
    left = orphans(10)
    for case in cases:
        faults[case["folder"]] = faults[case["folder"]] or unended(Path(case["folder"]))
    codes = run_all([{"folder": case["folder"], "args": case["args"]} for case in cases])
    for case, code in zip(cases, codes, strict=True):
        folder = Path(case["folder"])
        if code != 0:
            faults[case["folder"]] = faults[case["folder"]] or f"exit code {code}: {(folder / 'stderr').read_text()}"
        elif found(folder) != expected[case["args"][-1]]:
            faults[case["folder"]] = faults[case["folder"]] or f"found {found(folder)}"
        faults[case["folder"]] = faults[case["folder"]] or unended(folder)
    check("a signal while a comparison runs", cases, faults, [*left, *orphans(10)])


ONE, TWO = [*COMPARE, "--workers", "1"], [*COMPARE, "--workers", "2"]


@pytest.mark.long
def test_a_comparison_goes_on_after_a_signal() -> None:
    signal_in_comparison([case_of(ONE, "step", [signal.SIGQUIT], "group", call=20)])


@pytest.mark.slow
def test_every_signal_in_a_comparison() -> None:
    """In one process inside and between runs and at its end; with workers, which get it too."""
    share = repeats(36) // 6
    cases: list[Case] = []
    for moment, call in (("step", 20), ("between runs", 3), ("verdicts", 1), ("report", 1)):
        cases += every(ONE, [moment], share, call=call)
    for call in (2, 9):
        cases += every(TWO, ["a look at the workers"], share, call=call)
    signal_in_comparison(cases)
