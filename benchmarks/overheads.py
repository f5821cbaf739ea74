"""What cnnlab costs beside training:   uv run python benchmarks/overheads.py

The start of the command, the first step, the default job as a whole, the memory on Fashion-MNIST, the recording of
every step's loss, and training beside busy neighbours; each beside what it is compared with, in turn, repeated. Prints
medians, the lowest and the highest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CNNLAB = [sys.executable, "-m", "cnnlab"]
EPOCHS = 16
"""About a minute of Fashion-MNIST on 2 cores."""
FASHION = ["--dataset", "fashion_mnist", "--schedule", "constant", "--epochs", str(EPOCHS), "--json", "-q"]
BESIDE: dict[str, dict[str, object]] = {
    "digits": {"data.dataset": "digits"},
    "fashion": {"data.dataset": "fashion_mnist", "data.train_size": 12_000, "training.epochs": 1},
}
"""What is trained beside busy neighbours, in fp32."""
FLOAT_BYTES = 70_000 * 28 * 28 * 4
"""Fashion-MNIST as float32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # for all alike: imports are compiled once, not each time
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["CNNLAB_DATA"] = f"{folder}/data"
        for part in arguments.only:
            PARTS[part](arguments.repeats)


def _help(repeats: int) -> None:
    ours, click = _in_turn(
        repeats, lambda: _seconds([*CNNLAB, "--help"]), lambda: _seconds([sys.executable, "-c", "import click"])
    )
    _say("cnnlab --help", ours, "s")
    _say("import click", click, "s")
    print(f"    ratio {statistics.median(ours) / statistics.median(click):.2f} (to reach: at most 1.5)\n")


def _first_step(repeats: int) -> None:
    """From the start of the process to the end of the first step, by the journal's own clock."""

    def first_step() -> float:
        start = time.time()
        result = _json([*CNNLAB, "train", "--epochs", "1", "--json", "-q", "--tracking-uri", "none"])
        for line in Path(result["run_dir"], "journal.jsonl").read_text().splitlines():
            record = json.loads(line)
            if record["record"] == "steps":
                return float(record["times"][0]) - start
        raise AssertionError("no step in the journal")

    ours, torch = _in_turn(repeats, first_step, lambda: _seconds([sys.executable, "-c", "import torch"]))
    _say("first step of cnnlab train", ours, "s")
    _say("import torch", torch, "s")
    print(f"    difference {statistics.median(ours) - statistics.median(torch):.2f} s (to reach: at most 1)\n")


def _default_job(repeats: int) -> None:
    """`cnnlab train` in an empty folder, to its end with everything in MLflow; the imports alone, side by side."""
    trained: list[float] = []

    def job() -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            done = subprocess.run([*CNNLAB, "train", "--json", "-q"], cwd=folder, stdout=subprocess.PIPE, check=True)
            seconds = time.perf_counter() - start
        result = json.loads(done.stdout)
        assert result["mlflow_run_id"], "not delivered"
        trained.append(result["fit_seconds"])
        return seconds

    def imports() -> float:
        start = time.perf_counter()
        both = [subprocess.Popen([sys.executable, "-c", f"import {library}"]) for library in ("torch", "mlflow")]
        assert all(one.wait() == 0 for one in both)
        return time.perf_counter() - start

    ours, theirs = _in_turn(repeats, job, imports)
    _say("cnnlab train in an empty folder", ours, "s")
    _say("    of this, fit", trained, "s")
    _say("import torch and mlflow, side by side", theirs, "s")
    rest = statistics.median(ours) - statistics.median(trained)
    print(f"    without fit, ratio {rest / statistics.median(theirs):.2f} (to reach: at most 1.5)\n")


def _memory(repeats: int) -> None:
    """Peaks of resident memory. The first run decodes the data set, the second maps it."""
    torch = _peak([sys.executable, "-c", "import torch"])
    peaks = [_peak([*CNNLAB, "train", *FASHION, "--epochs", "1", "--tracking-uri", "none"]) for _ in range(2)]
    bound = torch + 3 * FLOAT_BYTES
    print(f"peak memory, import torch        {torch / 2**20:,.0f} MiB")
    print(f"peak memory, first and later run {peaks[0] / 2**20:,.0f}, {peaks[1] / 2**20:,.0f} MiB")
    print(f"    to reach: at most {bound / 2**20:,.0f} MiB\n")


def _recording(repeats: int) -> None:
    """A run of about a minute with MLflow's courier at work beside it, with the journal alone, with neither."""
    bare = f"""
from cnnlab.process import spin_briefly
spin_briefly()
from cnnlab.config import read_config
from cnnlab.records import RunEnded
from cnnlab.run import prepare
from cnnlab.training import fit
settings = {{"data.dataset": "fashion_mnist", "schedule.name": "constant", "training.epochs": {EPOCHS}}}
prepared = prepare(read_config(None, settings)[0])
for record in fit(prepared.config, prepared.dataset, prepared.learner):
    if isinstance(record, RunEnded): print(record.fit_seconds)
"""
    delivered, journal, unrecorded = _in_turn(
        min(repeats, 5),
        lambda: float(_json([*CNNLAB, "train", *FASHION])["fit_seconds"]),
        lambda: float(_json([*CNNLAB, "train", *FASHION, "--tracking-uri", "none"])["fit_seconds"]),
        lambda: float(subprocess.run([sys.executable, "-c", bare], stdout=subprocess.PIPE, check=True).stdout),
    )
    _say(f"{EPOCHS} epochs, delivered to MLflow meanwhile", delivered, "s")
    _say(f"{EPOCHS} epochs, the journal alone", journal, "s")
    _say(f"{EPOCHS} epochs, nothing recorded", unrecorded, "s")
    pairs = [100 * (with_ / without - 1) for with_, without in zip(delivered, unrecorded, strict=True)]
    _say("cost of recording, in pairs", pairs, "%")
    _say("the journal's part, timed inside", [_journal_share()], "%")


def _journal_share() -> float:
    """Percent of a run's seconds that its process spends in writing the journal, a loss a step."""
    code = f"""
import time
from pathlib import Path
from cnnlab.config import read_config
from cnnlab.records import RunEnded
from cnnlab.run import create_run, prepare, record_run
from cnnlab.tracking import Journal
spent, write = [], Journal.write
def timed(self, record):
    start = time.perf_counter()
    write(self, record)
    spent.append(time.perf_counter() - start)
Journal.write = timed
settings = {{"data.dataset": "fashion_mnist", "schedule.name": "constant", "training.epochs": {EPOCHS}}}
config, _ = read_config(None, settings)
prepared = prepare(config)
for record in record_run(prepared, create_run(config, "benchmark", "none", Path("share").absolute())):
    if isinstance(record, RunEnded): print(100 * sum(spent) / record.fit_seconds)
"""
    return float(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def _neighbours(repeats: int) -> None:
    """Seconds of fit alone, and beside as many processes that are always busy as there are cores."""
    cores = len(os.sched_getaffinity(0))
    for name, settings in BESIDE.items():
        _fit(settings)  # the data are decoded
        quiet = _beside(0, repeats, settings)
        busy = _beside(cores, repeats, settings)
        for index, who in enumerate(("cnnlab", "plain PyTorch")):
            _say(f"{who} on {name}, alone", quiet[index], "s")
            _say(f"{who} on {name}, {cores} busy neighbours", busy[index], "s")
            ratio = statistics.median(busy[index]) / statistics.median(quiet[index])
            print(f"    ratio {ratio:.2f}" + (" (to reach: at most 3)" if who == "cnnlab" else ""))
        print()


def _beside(neighbours: int, repeats: int, settings: dict[str, object]) -> list[list[float]]:
    """cnnlab's seconds and a plain loop's, while so many processes are busy."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        return _in_turn(repeats, lambda: _fit(settings), lambda: _plain_fit(settings))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _fit(settings: dict[str, object]) -> float:
    assigned = [word for path, value in settings.items() for word in ("-s", f"{path}={value}")]
    command = [*CNNLAB, "train", *assigned, "--precision", "fp32", "--json", "-q", "--tracking-uri", "none"]
    return float(_json(command)["fit_seconds"])


def _plain_fit(settings: dict[str, object]) -> float:
    """The same network, images, batches and epochs by a loop as the tutorials have it."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from types import SimpleNamespace
import torch
from torch.utils.data import DataLoader, TensorDataset
from benchmarks.contestants.plain import loop
from cnnlab.config import read_config
from cnnlab.data import load
from cnnlab.models import build
config = read_config(None, {settings!r})[0]
data = load(config.data, 0)
train, val = (TensorDataset(part.inputs / 255, part.targets) for part in (data.train, data.val))
model = build(config.model, data.image_shape, len(data.classes), seed=0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loaders = DataLoader(train, config.data.batch_size, shuffle=True), DataLoader(val, 1000)
job = SimpleNamespace(epochs=config.training.epochs)
print(loop(job, model, optimizer, *loaders, backward=lambda loss: loss.backward()).seconds)
"""
    return float(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def _in_turn(repeats: int, *measures: Callable[[], float]) -> list[list[float]]:
    """A B C, C B A, ...: one list a measure."""
    found: list[list[float]] = [[] for _ in measures]
    for repeat in range(repeats):
        order = range(len(measures)) if repeat % 2 == 0 else reversed(range(len(measures)))
        for index in order:
            found[index].append(measures[index]())
    return found


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _json(command: Sequence[str]) -> dict[str, str]:
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def _peak(command: Sequence[str]) -> int:
    """Bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return int(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _say(what: str, values: Sequence[float], unit: str) -> None:
    lowest, middle, highest = min(values), statistics.median(values), max(values)
    print(f"{what:40} {middle:7.2f} {unit}   ({lowest:.2f} to {highest:.2f}, {len(values)} times)", flush=True)


PARTS = {
    "help": _help,
    "first-step": _first_step,
    "default-job": _default_job,
    "memory": _memory,
    "recording": _recording,
    "neighbours": _neighbours,
}

if __name__ == "__main__":
    main()
