"""The same faults for cnnlab, Lightning (MLFlowLogger) and Optuna:   uv run --extra peers python benchmarks/faults.py

Kills at random moments with a restart each time, a full disk, a tracking server that is not there. Counts what MLflow
has of each step afterwards. Linux; the full disk needs the right to mount a tmpfs. Prints a table.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

EPOCHS, STEPS = 100, 2100
"""Of digits in batches of 64: 21 steps an epoch."""
TRIALS = 20
LONGEST = 300.0
"""Seconds for one command; one that takes longer is killed and counts as hanging."""
CNNLAB = [sys.executable, "-m", "cnnlab"]
LIGHTNING = """
import hashlib, logging, os, sys, lightning, torch, torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from sklearn.datasets import load_digits
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
epochs, uri = int(sys.argv[1]), sys.argv[2]
digits = load_digits()
x, y = torch.tensor(digits.images[:1344, None] / 16, dtype=torch.float32), torch.tensor(digits.target[:1344])
class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
            torch.nn.Linear(256, 10))
    def training_step(self, batch, _):
        loss = F.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
lightning.seed_everything(0, verbose=False)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 64, shuffle=True)
known = open("run_id").read() if os.path.exists("run_id") else None
logger = MLFlowLogger("faults", tracking_uri=uri, run_id=known)
with open("run_id", "w") as file: file.write(logger.run_id)
last = "checkpoints/last.ckpt" if os.path.exists("checkpoints/last.ckpt") else None
trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", logger=logger, log_every_n_steps=1,
    callbacks=[ModelCheckpoint("checkpoints", save_last=True)], enable_progress_bar=False, enable_model_summary=False)
module = Module()
trainer.fit(module, loader, ckpt_path=last, weights_only=False)
digest = hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in module.parameters())).hexdigest()
with open("weights", "w") as file: file.write(digest)
"""
OPTUNA = """
import sys, time, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage="sqlite:///optuna.db", study_name="faults", load_if_exists=True)
def objective(trial):
    time.sleep(0.3)
    return trial.suggest_float("x", 0, 1)
study.optimize(objective, n_trials=int(sys.argv[1]) - len(study.trials))
"""


@dataclass
class Counts:
    """Over all tries of one tool and fault."""

    tries: int = 0
    unfinished: int = 0
    lost: int = 0
    doubled: int = 0
    other_weights: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, steps: list[int], expected: int, *, finished: bool, same_weights: bool, seconds: float) -> None:
        self.tries += 1
        self.unfinished += not finished
        self.lost += expected - len(set(steps))
        self.doubled += len(steps) - len(set(steps))
        self.other_weights += not same_weights
        self.seconds.append(seconds)

    def row(self, what: str) -> str:
        longest = max(self.seconds)
        figures = f"{self.tries} | {self.unfinished} | {self.lost} | {self.doubled} | {self.other_weights}"
        return f"| {what} | {figures} | {longest:.0f} s |"


class Cnnlab:
    name = "cnnlab"

    def command(self, folder: Path, uri: str) -> list[str]:
        if (folder / "run" / "journal.jsonl").exists():
            return [*CNNLAB, "train", "--resume", "run", "-q", "--tracking-uri", uri]
        settings = ["--epochs", str(EPOCHS), "-s", "model.channels=[16]", "-s", "model.hidden=[]", "--run-dir", "run"]
        return [*CNNLAB, "train", *settings, "-q", "--tracking-uri", uri]

    def deliver(self, folder: Path, uri: str) -> None:
        _run([*CNNLAB, "sync", "run", "--tracking-uri", uri], folder)

    def weights(self, folder: Path) -> str:
        file = folder / "run" / "checkpoints" / "best.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


class Lightning:
    name = "Lightning + MLFlowLogger"

    def command(self, folder: Path, uri: str) -> list[str]:
        return [sys.executable, "-W", "ignore", "-c", LIGHTNING, str(EPOCHS), uri]

    def deliver(self, folder: Path, uri: str) -> None:
        """Lightning has no command that delivers later."""

    def weights(self, folder: Path) -> str:
        return (folder / "weights").read_text() if (folder / "weights").exists() else ""


Tool = Cnnlab | Lightning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3, help="of each try")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    print("| fault | tries | not finished | steps lost | doubled | other weights | longest command |")
    print("|---|---|---|---|---|---|---|")
    for tool in (Cnnlab(), Lightning()):
        weights, steps, seconds = _undisturbed(tool)
        print(f"| {tool.name}: none | 1 | 0 | {STEPS - steps} | 0 | 0 | {seconds:.0f} s |", flush=True)
        killed = Counts()
        for _ in range(asked.tries):
            with _folder() as folder:
                _kill(tool, folder, killed, [chance.uniform(0.5, seconds) for _ in range(asked.kills)], weights)
        print(killed.row(f"{tool.name}: SIGKILL {asked.kills} times, restarted"), flush=True)
        full = Counts()
        with _folder() as folder, _small_disk(folder) as disk:
            _fill(tool, disk, full, weights, after=0.4 * seconds)
        print(full.row(f"{tool.name}: disk full, freed, restarted"), flush=True)
        dead = Counts()
        with _folder() as folder:
            _without_server(tool, folder, dead, weights)
        print(dead.row(f"{tool.name}: no tracking server, which comes later"), flush=True)
    _searches(asked.tries, asked.kills, chance)


def _undisturbed(tool: Tool) -> tuple[str, int, float]:
    """Its weights, the number of steps that MLflow has, and its seconds; the second run, when all is compiled."""
    for _ in range(2):
        with _folder() as folder:
            _, seconds = _run(tool.command(folder, _store(folder)), folder)
            found = tool.weights(folder), len(_steps(folder)), seconds
    return found


def _kill(tool: Tool, folder: Path, counts: Counts, moments: list[float], weights: str) -> None:
    uri = _store(folder)
    for moment in moments:
        _run(tool.command(folder, uri), folder, moment)
    _finish(tool, folder, counts, weights)


def _finish(tool: Tool, folder: Path, counts: Counts, weights: str, seconds: float = 0) -> None:
    """Start it once more, undisturbed, deliver what is missing, and count."""
    uri = _store(folder)
    code, took = _run(tool.command(folder, uri), folder)
    tool.deliver(folder, uri)
    same = tool.weights(folder) == weights
    finished = code == 0 and _statuses(folder) == ["FINISHED"]
    counts.add(_steps(folder), STEPS, finished=finished, same_weights=same, seconds=max(seconds, took))


def _fill(tool: Tool, disk: Path, counts: Counts, weights: str, after: float) -> None:
    """The disk is full from a moment of the run to its end."""
    process = _start(tool.command(disk, _store(disk)), disk)
    time.sleep(after)
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    start = time.monotonic()
    _wait(process, LONGEST)
    ballast.unlink(missing_ok=True)
    _finish(tool, disk, counts, weights, time.monotonic() - start)


def _without_server(tool: Tool, folder: Path, counts: Counts, weights: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _, seconds = _run(tool.command(folder, f"http://127.0.0.1:{port}"), folder)
    _finish(tool, folder, counts, weights, seconds)


def _searches(tries: int, kills: int, chance: random.Random) -> None:
    print(f"\n| {TRIALS} trials, SIGKILL {kills} times, started again each time | tries | finished | left RUNNING |")
    print("|---|---|---|---|")
    settings = ["--trials", str(TRIALS), "--epochs", "3", "--study", "faults", "-q", "--tracking-uri", "none"]
    searches = {
        "cnnlab sweep": ([*CNNLAB, "sweep", *settings], _trials_of_cnnlab),
        "Optuna, SQLite, load_if_exists": ([sys.executable, "-c", OPTUNA, str(TRIALS)], _trials_of_optuna),
    }
    for name, (command, count) in searches.items():
        finished, running = [], 0
        for _ in range(tries):
            with _folder() as folder:
                for _ in range(kills):
                    _run(command, folder, chance.uniform(2, 8))
                _run(command, folder)
                ended, left = count(folder)
                finished.append(ended)
                running += left
        print(f"| {name} | {tries} | {min(finished)} to {max(finished)} | {running} |", flush=True)


def _trials_of_cnnlab(folder: Path) -> tuple[int, int]:
    """Those that ended, and those that did not."""
    command = [*CNNLAB, "studies", "--json"]
    studies = json.loads(subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout)
    if not studies:
        return 0, 0
    trials = studies[0]["trials"]
    ended = sum(trials[state] for state in ("complete", "pruned", "infeasible", "failed"))
    return ended, trials["total"] - ended


def _trials_of_optuna(folder: Path) -> tuple[int, int]:
    if not (folder / "optuna.db").exists():
        return 0, 0
    with sqlite3.connect(folder / "optuna.db") as connection:
        states = [state for (state,) in connection.execute("SELECT state FROM trials")]
    return len(states) - states.count("RUNNING"), states.count("RUNNING")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _store(folder: Path) -> str:
    return f"sqlite:///{folder}/store.db"


def _rows(folder: Path, query: str) -> list[str]:
    try:
        with sqlite3.connect(f"file:{folder}/store.db?mode=ro", uri=True) as connection:
            return [value for (value,) in connection.execute(query)]
    except sqlite3.Error:  # not there yet, or locked
        return []


def _steps(folder: Path) -> list[int]:
    return [int(step) for step in _rows(folder, "SELECT step FROM metrics WHERE key = 'train/loss'")]


def _statuses(folder: Path) -> list[str]:
    return _rows(folder, "SELECT status FROM runs")


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "CNNLAB_DATA": str(Path(tempfile.gettempdir(), "cnnlab-faults-data"))}
    return subprocess.Popen(command, cwd=folder, env=environment, **quiet)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> int:
    """Its exit code; killed if it takes longer."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def _run(command: list[str], folder: Path, seconds: float = LONGEST) -> tuple[int, float]:
    start = time.monotonic()
    code = _wait(_start(command, folder), seconds)
    return code, time.monotonic() - start


if __name__ == "__main__":
    main()
