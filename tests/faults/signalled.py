"""Commands to which a signal comes at a chosen moment: a program that imports PyTorch once and forks one per case.

python -m tests.faults.signalled < cases: a JSON list of the arguments of `command`; prints the exit codes.
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MOMENTS = {
    "forward": ("torch.nn", "Conv2d.forward"),
    "backward": ("torch", "Tensor.backward"),
    "step": ("cnnlab.training.optimizer", "FiniteGuard.step"),
    "validation": ("cnnlab.training.learner", "Learner.measure"),
    "saving": ("cnnlab.files", "os.replace"),
    "sealing": ("cnnlab.training.fit", "seal"),
    "journal": ("cnnlab.tracking.journal", "Journal.write"),
    "delivery": ("cnnlab.courier", "Deliveries.wait"),
    "records to MLflow": ("cnnlab.tracking.delivery", "Deliverer._log_records"),
    "artifacts to MLflow": ("cnnlab.tracking.delivery", "Deliverer._finish"),
    "between runs": ("cnnlab.search.workers", "claim"),
    "a look at the workers": ("cnnlab.search.workers", "fill"),
    "verdicts": ("cnnlab.comparison.contests", "verdicts_of"),
    "report": ("cnnlab.comparison.report", "write_report"),
}
"""What goes on when the signal comes -> the function that does it."""


def descendants(pid: int) -> Iterator[int]:
    """The processes that it has started, and those that they have."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from descendants(child)


def send(number: int, to: str) -> None:
    """To this process; to its group, as a terminal does; or to all that it has started too, as Slurm does."""
    if to == "group":
        os.killpg(0, number)
        return
    for pid in descendants(os.getpid()) if to == "all" else ():
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    os.kill(os.getpid(), number)


def stage(moment: str, call: int, numbers: list[int], gap: float, to: str) -> None:
    """At this call of the moment's function the first signal comes, the others `gap` seconds apart."""
    path = MOMENTS[moment][1].split(".")
    owner: Any = importlib.import_module(MOMENTS[moment][0])
    for name in path[:-1]:
        owner = getattr(owner, name)
    usual, calls = getattr(owner, path[-1]), 0

    def later() -> None:
        for number in numbers[1:]:
            time.sleep(gap)
            send(number, to)

    def signalled(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            send(numbers[0], to)
            threading.Thread(target=later, daemon=True).start()
        return usual(*args, **kwargs)

    setattr(owner, path[-1], signalled)


def command(
    folder: str,
    args: list[str],
    moment: str = "",
    call: int = 1,
    numbers: Sequence[int] = (),
    gap: float = 0.0,
    to: str = "process",
) -> int:
    """Run it in this process, which is a fork; its exit code."""
    from cnnlab.cli import run
    from cnnlab.process import obey_signals

    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for name, stream in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    os.setsid()
    obey_signals()
    if moment:
        stage(moment, call, list(numbers), gap, to)
    code = run(args)
    sys.stdout.flush()
    return code


def main() -> None:
    cases, codes = json.load(sys.stdin), []
    modules = ["cnnlab.run", "cnnlab.work", "cnnlab.search.workers", "cnnlab.search.sweep_report"]
    if any(case["args"][0] == "sync" for case in cases):
        modules += ["mlflow", "mlflow.pytorch"]
    for module in modules:
        importlib.import_module(module)
    for case in cases:
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(command(**case))
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
