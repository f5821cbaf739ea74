"""What an interrupt does at any moment of a command's start:   uv run python benchmarks/interrupts.py

Starts `cnnlab train` again and again in an empty folder, sends it SIGINT after 0.2 to 4 s, each time a little later,
and counts what came of it. As it should be: the exit code 130, one line on stderr, nothing left but what a run that had
begun leaves, no process left.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

MARK = "CNNLAB_INTERRUPTED"
"""A variable of the environment by which the processes of one try are found."""
PATIENCE_SECONDS = 60.0
BEFORE = "ended before its run began"
LEFT_SECONDS = 20.0
"""How long the processes that a command has started may take to end after it."""


@dataclass(frozen=True)
class Try:
    """What became of one command."""

    after: float
    took: float
    outcome: str
    said: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=120)
    parser.add_argument("--first", type=float, default=0.2)
    parser.add_argument("--last", type=float, default=4.0)
    parser.add_argument("--signal", default="SIGINT", choices=("SIGINT", "SIGTERM"))
    parser.add_argument("--group", action="store_true", help="to all processes in the foreground, as a terminal does")
    parser.add_argument("words", nargs="*", default=["train", "--epochs", "100"], help="the command, without cnnlab")
    asked = parser.parse_args()
    number = signal.Signals[asked.signal]
    step = (asked.last - asked.first) / max(1, asked.tries - 1)
    tries = [interrupt(asked.words, asked.first + step * n, number, group=asked.group) for n in range(asked.tries)]
    for outcome, count in Counter(one.outcome for one in tries).most_common():
        print(f"{count:4} of {len(tries)}  {outcome}")
    took = sorted(one.took for one in tries)
    print(f"seconds from the signal to the end: median {took[len(took) // 2]:.2f}, longest {took[-1]:.2f}")
    for one in tries:
        if not one.outcome.startswith("ended"):
            print(f"  after {one.after:.2f} s: {one.outcome}: {one.said[-300:]!r}")


def interrupt(words: list[str], after: float, number: signal.Signals, *, group: bool = False) -> Try:
    """Start a command in an empty folder, send it the signal, see how it ends."""
    with tempfile.TemporaryDirectory() as folder:
        mark = f"{os.getpid()}-{after}"
        running = subprocess.Popen(
            [sys.executable, "-m", "cnnlab", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: mark},
            start_new_session=group,
            preexec_fn=_as_from_a_terminal,
        )
        time.sleep(after)
        sent = time.monotonic()
        (os.killpg if group else os.kill)(running.pid, number)
        try:
            _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            _, stderr = running.communicate()
        took = time.monotonic() - sent
        outcome = _outcome(running.returncode, 128 + number, stderr, Path(folder))
        if outcome == BEFORE and (left := _left(mark)):
            outcome = f"{', '.join(left.values())} was left behind"
        for process in _marked(mark):  # a courier that delivers what a run has left
            os.kill(process, signal.SIGKILL)
        return Try(after, took, outcome, stderr)


def _as_from_a_terminal() -> None:
    """In the background of a script this program, and with it what it starts, has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _outcome(code: int, right: int, stderr: str, folder: Path) -> str:
    if code == -(right - 128) and not stderr:
        return "killed by the signal, before Python could take it"
    if "Traceback" in stderr:
        return f"a traceback, exit code {code}"
    if code != right:
        return f"swallowed, exit code {code}"
    journals = list(folder.glob("mlruns/*/*/journal.jsonl"))
    if not journals:
        lines = stderr.count("\n")
        return BEFORE if lines == 1 else f"{lines} lines before its run began"
    words = [json.loads(journal.read_text().splitlines()[-1]).get("status") for journal in journals]
    return f"ended after its run began, the journals' last words: {', '.join(map(str, words))}"


def _left(mark: str) -> dict[int, str]:
    """The processes that are still there some time after their command has ended."""
    deadline = time.monotonic() + LEFT_SECONDS
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _marked(mark: str) -> dict[int, str]:
    """Process id -> command."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


if __name__ == "__main__":
    main()
