"""What cnnlab costs beside training:   uv run python benchmarks/overheads.py

The start of the command, the first step, the memory on Fashion-MNIST, and the recording of every step's loss; each
beside what it is compared with, in turn, repeated. Prints medians, the lowest and the highest.
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
FLOAT_BYTES = 70_000 * 28 * 28 * 4
"""Fashion-MNIST as float32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["CNNLAB_DATA"] = f"{folder}/data"
        _help(repeats)
        _first_step(repeats)
        _memory()
        _recording()


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


def _memory() -> None:
    """Peaks of resident memory. The first run decodes the data set, the second maps it."""
    torch = _peak([sys.executable, "-c", "import torch"])
    peaks = [_peak([*CNNLAB, "train", *FASHION, "--epochs", "1", "--tracking-uri", "none"]) for _ in range(2)]
    bound = torch + 3 * FLOAT_BYTES
    print(f"peak memory, import torch        {torch / 2**20:,.0f} MiB")
    print(f"peak memory, first and later run {peaks[0] / 2**20:,.0f}, {peaks[1] / 2**20:,.0f} MiB")
    print(f"    to reach: at most {bound / 2**20:,.0f} MiB\n")


def _recording() -> None:
    """A run of about a minute with MLflow's courier at work beside it, with the journal alone, with neither."""
    bare = f"""
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
        3,
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


if __name__ == "__main__":
    main()
