"""What cnnlab costs beside training:   uv run python benchmarks/overheads.py

The start of the command, the first step, the default job as a whole, the memory on Fashion-MNIST, the recording of
every step's loss, a step while MLflow's server answers and while it hangs, and training beside busy neighbours; each
beside what it is compared with, in turn, repeated. Prints medians, the lowest and the highest.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CNNLAB = [sys.executable, "-m", "cnnlab"]
EPOCHS = 16
"""About a minute of Fashion-MNIST on 2 cores."""
FASHION = ["--dataset", "fashion_mnist", "--schedule", "constant", "--json", "-q"]
LONG = [*FASHION, "--epochs", str(EPOCHS)]
BESIDE: dict[str, dict[str, object]] = {
    "digits": {"data.dataset": "digits"},
    "fashion": {"data.dataset": "fashion_mnist", "data.train_size": 24_000, "training.epochs": 1},
}
"""What is trained beside busy neighbours, in fp32."""
AGAINST: list[str] = []
"""A checkout of another version of cnnlab that is trained in turn with this one."""
FLOAT_BYTES = 70_000 * 28 * 28 * 4
"""Fashion-MNIST as float32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--against", metavar="FOLDER", help="neighbours: a checkout of another version of cnnlab")
    arguments = parser.parse_args()
    AGAINST.extend([str(Path(arguments.against).absolute())] if arguments.against else [])
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
from cnnlab.process import brief_spins
spins = brief_spins()
spins.__enter__()
from cnnlab.config import read_config
from cnnlab.records import RunEnded
from cnnlab.run import prepare
from cnnlab.training import fit
settings = {{"data.dataset": "fashion_mnist", "schedule.name": "constant", "training.epochs": {EPOCHS}}}
prepared = prepare(read_config(None, settings)[0])
for record in fit(prepared):
    if isinstance(record, RunEnded): print(record.fit_seconds)
"""
    delivered, journal, unrecorded = _in_turn(
        min(repeats, 5),
        lambda: float(_json([*CNNLAB, "train", *LONG])["fit_seconds"]),
        lambda: float(_json([*CNNLAB, "train", *LONG, "--tracking-uri", "none"])["fit_seconds"]),
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


def _server(repeats: int) -> None:
    """A step's milliseconds, over whole trainings of digits: nothing delivered, to a server, to one that hangs."""

    def step(uri: str) -> float:
        command = [*CNNLAB, "train", "--epochs", "200", "--json", "-q", "--tracking-uri", uri]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        result = json.loads(done.stdout)
        return float(1000 * result["fit_seconds"] / result["steps"])

    step("none")  # the data are decoded
    with _mlflow_server() as uri, socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        none, normal, hung = _in_turn(repeats, lambda: step("none"), lambda: step(uri), lambda: step(hanging))
    _say("a step, nothing delivered", none, "ms")
    for what, values in (("a server that answers", normal), ("a server that hangs", hung)):
        _say(f"a step, {what}", values, "ms")
        _say("    to nothing delivered, in pairs", [a / b for a, b in zip(values, none, strict=True)], "x")
    _say("    hanging to answering, in pairs", [a / b for a, b in zip(hung, normal, strict=True)], "x")
    print("    (to reach: within 1 %)\n")


@contextmanager
def _mlflow_server() -> Iterator[str]:
    """The URI of a real one, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    stores = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "server-artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", *stores, "--port", port, "--workers", "1"]
    with open("server.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        while server.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _neighbours(repeats: int) -> None:
    """Images a second alone, beside a process that is busy half of the time, and beside one busy process a core."""
    for name, settings in BESIDE.items():
        _beside_others(name, settings, repeats)


def _beside_others(name: str, settings: dict[str, object], repeats: int) -> None:
    train_images = _trained_images(settings)
    ours: dict[str, Callable[[], float]] = {
        "cnnlab": lambda: _speed(settings),
        "cnnlab, nothing delivered": lambda: _speed(settings, "--tracking-uri", "none"),
    }
    others: dict[str, Callable[[], float]] = {"plain PyTorch": lambda: train_images / _plain_fit(settings)}
    if AGAINST:
        others["the other cnnlab"] = lambda: _speed(settings, checkout=AGAINST[0])
    cores = len(os.sched_getaffinity(0))
    half_busy, busy = "beside one half-busy process", f"beside {cores} busy processes"
    loads = {"alone": [], half_busy: [0.5], busy: [1.0] * cores}
    found: dict[tuple[str, str], list[float]] = {}
    for repeat in range(repeats):
        for load, shares in loads.items():
            # beside busy processes the others may take minutes: their threads spin through each other's turns
            contestants = ours if load == busy else ours | others
            with _busy(shares):
                for who in contestants if repeat % 2 == 0 else reversed(contestants):
                    found.setdefault((load, who), []).append(contestants[who]())
    for load in loads:
        for who in ours | others:
            if speeds := found.get((load, who)):
                _say(f"{name}, {load}: {who}", speeds, "images/s")
            if speeds and who != "cnnlab":
                _say("    cnnlab is", [a / b for a, b in zip(found[load, "cnnlab"], speeds, strict=True)], "x")
    slowest = min(found[busy, "cnnlab"]) / statistics.median(found["alone", "cnnlab"])
    print(f"    the slowest run {busy}: {slowest:.2f} x the median alone (to reach: 0.25)\n", flush=True)


@contextmanager
def _busy(shares: Sequence[float]) -> Iterator[None]:
    """Within it one process a share is busy for that share of each 0.1 s."""
    code = """
import sys, time
share = float(sys.argv[1])
while True:
    start = time.perf_counter()
    while time.perf_counter() - start < 0.1 * share: pass
    if share < 1: time.sleep(0.1 * (1 - share))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(share)]) for share in shares]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _trained_images(settings: dict[str, object]) -> int:
    """By a run, which decodes the data too."""
    result = _train(settings, "--tracking-uri", "none")
    return round(result["images_per_second"] * result["fit_seconds"])


def _speed(settings: dict[str, object], *more: str, checkout: str | None = None) -> float:
    return float(_train(settings, *more, checkout=checkout)["images_per_second"])


def _train(settings: dict[str, object], *more: str, checkout: str | None = None) -> dict[str, Any]:
    """Train in fp32, recorded in MLflow; returns what --json prints.

    Args:
        checkout: a folder with another version of cnnlab.
    """
    assigned = [word for path, value in settings.items() for word in ("-s", f"{path}={value}")]
    command = [*CNNLAB, "train", *assigned, "--precision", "fp32", "--json", "-q", *more]
    return _json(command, {**os.environ, "PYTHONPATH": checkout} if checkout else None)


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
loaders = DataLoader(train, config.data.images_per_step(len(train)), shuffle=True), DataLoader(val, 1000)
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


def _json(command: Sequence[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout))


def _peak(command: Sequence[str]) -> int:
    """Bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return int(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _say(what: str, values: Sequence[float], unit: str) -> None:
    lowest, middle, highest = min(values), statistics.median(values), max(values)
    print(f"{what:60} {middle:7.2f} {unit}   ({lowest:.2f} to {highest:.2f}, {len(values)} times)", flush=True)


PARTS = {
    "help": _help,
    "first-step": _first_step,
    "default-job": _default_job,
    "memory": _memory,
    "recording": _recording,
    "server": _server,
    "neighbours": _neighbours,
}

if __name__ == "__main__":
    main()
