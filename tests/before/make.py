"""Makes the other files of this folder, which `test_before.py` reads: `python make.py TREE PYTHON`.

TREE is a checkout of the version before (commit 73e7416), PYTHON has what it needs. What names the machine is left out
or replaced: `@PROJECT@` stands for the folder that all is unpacked into, `@HOST@` for the host that unpacks it.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
STORE = Path("mlruns")
DATABASE = "sqlite:///study.db"

TINY = "-s model.channels=[4] -s model.hidden=[8] -s data.train_size=200 --batch-size 16"
SAME = f"{TINY} --precision fp32 -s training.threads=1"
LATER = f"{SAME} --tracking-uri none"
ALONE = f"{LATER} --workers 1"
COMMANDS = {
    "finished": f"train {SAME} --epochs 3 -s name=finished",
    "interrupted": f"train {SAME} --epochs 40 --optimizer adam --lr 0.01 --dropout 0.2 -s training.checkpoint_every=5 "
    "-s name=interrupted",
    "diverged": f"train {LATER} --epochs 3 --lr 1e30 -s name=diverged",
    "killed": f"train {LATER} --epochs 40 -s data.augment=[flip] -s name=killed",
    "sweep": f"sweep {ALONE} --epochs 8 --sampler random --search lr=1e-5:1e12:log --search optimizer=sgd,adam "
    "--trials 8 --confirm-seeds 2 -s name=sweep",
    "stopped sweep": f"sweep {ALONE} --epochs 30 --pruner none --trials 5 --confirm-seeds 2 -s name=stopped",
    "sweep in a database": f"sweep {ALONE} --epochs 20 --pruner median --search lr=1e-3:1:log "
    f"--search batch_size=16,32 --seeds 2 --trials 4 --confirm 0 --study kept --storage {DATABASE}",
    "comparison": f"compare {ALONE} --epochs 3 --optimizers sgd,adam --trials 2 --seeds 3 -s name=duel",
    "stopped comparison": f"compare {ALONE} --epochs 20 --over model.activation=relu,tanh --trials 2 --seeds 2 "
    "-s name=stopped",
}
"""What was typed, and is typed again by the test."""

NAMELESS = (
    "import socket, cnnlab.provenance as p; socket.gethostname = lambda: '@HOST@'; p._cpu = lambda: '2 x CPU';"
    "from cnnlab.cli import main; main()"
)
"""The command line on a machine that has no name."""
SAY = """
import json, sys
from click.testing import CliRunner
import click
from cnnlab.cli import main

def said(words):
    result = CliRunner().invoke(click.command()(lambda: main(words)), [])
    assert result.exit_code == 0, (words, result.output)
    return result.stdout

print(json.dumps([said(words) for words in json.load(sys.stdin)]))
"""


def main(tree: Path, python: str) -> None:
    environment = {**os.environ, "LOGNAME": "somebody", "COLUMNS": "100", "PYTHONPATH": str(tree)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve()
        os.chdir(project)
        lab = Lab([python, "-c", NAMELESS], environment)
        make(lab)
        keep(lab, {str(project): "@PROJECT@", str(tree): "/somewhere"}, sorted((tree / "experiments").glob("*.yaml")))


def keep(lab: "Lab", places: dict[str, str], experiments: list[Path]) -> None:
    """Put all of it into this folder, in place of what an earlier call has made.

    Args:
        places: paths of this machine -> what stands for them.
    """
    lines = shown()
    resolved = [["train", str(path), "--dry-run"] for path in experiments]
    said = lab.say(lines + resolved)
    outputs = [
        {"words": words, "stdout": json.loads(text) if "--json" in words else text.splitlines()}
        for words, text in zip(lines, said, strict=False)
    ]
    for name in ("store", "databases", "experiments"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    keep_store(places)
    write("commands.json", json.dumps(COMMANDS, indent=1) + "\n")
    write("outputs.json", neutral(json.dumps(outputs, indent=1) + "\n", places))
    for path, text in zip(experiments, said[len(lines) :], strict=True):
        write(f"experiments/{path.name}", path.read_text())
        write(f"experiments/{path.stem}.resolved.yaml", text)


class Lab:
    """The version before, called in the present folder."""

    def __init__(self, python: list[str], environment: dict[str, str]) -> None:
        self.python = python
        self.environment = environment

    def run(self, words: Sequence[str], code: int = 0) -> None:
        done = subprocess.run([*self.python, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, (words, done.stderr)

    def stop(self, words: Sequence[str], number: int, ready: Callable[[], bool]) -> None:
        """Begin, and end it by a signal as soon as it has come so far."""
        nowhere = subprocess.DEVNULL
        running = subprocess.Popen([*self.python, *words], env=self.environment, stdout=nowhere, stderr=nowhere)
        while not ready():
            assert running.poll() is None, f"{words} ended too early"
            time.sleep(0.002)
        running.send_signal(number)
        assert running.wait() == (-number if number == signal.SIGKILL else 128 + number)

    def say(self, lines: list[list[str]]) -> list[str]:
        """What each of these commands says on stdout; all in one process, since each would import torch anew."""
        said = subprocess.run(
            [self.python[0], "-c", SAY],
            env=self.environment,
            input=json.dumps(lines),
            capture_output=True,
            text=True,
            check=True,
        )
        return [str(text) for text in json.loads(said.stdout)]


def make(lab: Lab) -> None:
    """A project as people had them."""
    lab.run(COMMANDS["finished"].split())
    wait_for_delivery("runs/*-finished-*")
    lab.stop(
        COMMANDS["interrupted"].split(), signal.SIGTERM, lambda: seen("runs/*-interrupted-*", "checkpoint_sealed") >= 2
    )
    wait_for_delivery("runs/*-interrupted-*")
    lab.run(COMMANDS["diverged"].split(), code=1)
    lab.stop(COMMANDS["killed"].split(), signal.SIGKILL, lambda: seen("runs/*-killed-*", "epoch") >= 3)
    lab.run(COMMANDS["sweep"].split())
    lab.stop(
        COMMANDS["stopped sweep"].split(), signal.SIGTERM, lambda: seen("studies/stopped-*/trials/002", "epoch") >= 2
    )
    lab.stop(
        COMMANDS["sweep in a database"].split(), signal.SIGKILL, lambda: seen("studies/kept/trials/002/*", "epoch") >= 2
    )
    lab.run(COMMANDS["comparison"].split())
    there = "studies/compare-stopped-*.tanh/trials/001"
    lab.stop(COMMANDS["stopped comparison"].split(), signal.SIGTERM, lambda: seen(there, "epoch") >= 2)


def seen(folders: str, record: str) -> int:
    """How many records of a kind the journals in these folders have."""
    journals = [folder / "journal.jsonl" for folder in STORE.glob(folders)]
    return sum(journal.read_text().count(f'"record": "{record}"') for journal in journals if journal.exists())


def wait_for_delivery(folders: str) -> None:
    """Until MLflow has all of a run that has ended; a busy machine takes longer than the command waits."""
    (folder,) = STORE.glob(folders)
    progress = folder / "delivery.json"
    while not (progress.exists() and '"complete": true' in progress.read_text()):
        time.sleep(0.1)


def shown() -> list[list[str]]:
    """The commands whose output is kept."""
    runs = sorted(path.name for path in STORE.glob("runs/*"))
    studies = sorted(path.name for path in STORE.glob("studies/*") if path.name != "kept")
    with_report = [
        name for name in studies if "." in name or (STORE / "studies" / name / "report/compare.json").exists()
    ]
    others = [name for name in studies if not name.startswith("compare-")]
    lines = [["runs"], ["studies"], ["studies", "--storage", DATABASE], ["show"]]
    lines += [["show", name] for name in [*runs, *with_report, *others]]
    return [[*line, *more] for line in lines for more in ([], ["--json"])]


def keep_store(places: dict[str, str]) -> None:
    """Copy what the test needs, text without anything that belongs to this machine; databases as SQL."""
    for path in sorted(file for file in STORE.rglob("*") if file.is_file() and wanted(file)):
        name = Path("store", path.relative_to(STORE))
        if path.suffix == ".safetensors":
            (HERE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, HERE / name)
        else:
            write(name, neutral(path.read_text(encoding="utf-8"), places))
    for database in (Path("study.db"), STORE / "mlflow.db"):
        with sqlite3.connect(database) as connection:
            write(f"databases/{database.stem}.sql", neutral("\n".join(connection.iterdump()) + "\n", places))


def wanted(path: Path) -> bool:
    """Nothing large, no locks, no logs; of checkpoints those that a resume or a delivery needs."""
    if path.suffix not in (".yaml", ".jsonl", ".json", ".journal", ".md", ".csv", ".safetensors"):
        return False
    if path.parent.name != "checkpoints":
        return "artifacts" not in path.parts
    ended = '"status": "finished"' in (path.parent.parent / "journal.jsonl").read_text()
    return not ended or (path.name == "best.safetensors" and path.is_relative_to(STORE / "runs"))


def write(name: str | Path, text: str) -> None:
    (HERE / name).parent.mkdir(parents=True, exist_ok=True)
    (HERE / name).write_text(text, encoding="utf-8")


def neutral(text: str, places: dict[str, str]) -> str:
    for path, name in places.items():
        text = text.replace(path, name)
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
