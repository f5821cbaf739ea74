"""Commands to which a signal comes at a chosen moment: a program that imports PyTorch once and forks one per case.

python -m tests.faults.signalled < cases: a JSON list of {folder, args, moment, numbers, gap}; prints the exit codes.
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

MOMENTS = {
    "forward": ("torch.nn", "Conv2d.forward"),
    "backward": ("torch", "Tensor.backward"),
    "step": ("cnnlab.training.guard", "FiniteGuard.step"),
    "validation": ("cnnlab.training.learner", "Learner.measure"),
    "saving": ("cnnlab.files", "os.replace"),
    "sealing": ("cnnlab.training.fit", "seal"),
    "journal": ("cnnlab.tracking.journal", "Journal.write"),
    "delivery": ("cnnlab.tracking.start", "Courier.wait"),
    "report": ("cnnlab.search.findings", "write_report"),
    "claim": ("cnnlab.search.trials.workers", "claim"),
}
"""What goes on when the signal comes -> the function that does it."""


def stage(moment: str, call: int, numbers: list[int], gap: float) -> None:
    """At this call of the moment's function the first signal comes, the others `gap` seconds apart."""
    path = MOMENTS[moment][1].split(".")
    owner: Any = importlib.import_module(MOMENTS[moment][0])
    for name in path[:-1]:
        owner = getattr(owner, name)
    usual, calls = getattr(owner, path[-1]), 0

    def later() -> None:
        for number in numbers[1:]:
            time.sleep(gap)
            os.kill(os.getpid(), number)

    def signalled(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), numbers[0])
            threading.Thread(target=later, daemon=True).start()
        return usual(*args, **kwargs)

    setattr(owner, path[-1], signalled)


def command(folder: str, args: list[str], moment: str = "", call: int = 1, numbers: Any = (), gap: float = 0.0) -> int:
    """Run it in this process, which is a fork; its exit code."""
    from cnnlab.cli import run
    from cnnlab.process import obey_signals

    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for name, stream in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    obey_signals()
    if moment:
        stage(moment, call, list(numbers), gap)
    code = run(args)
    sys.stdout.flush()
    return code


def main() -> None:
    for module in ("cnnlab.run", "cnnlab.work", "cnnlab.search.trials", "cnnlab.search.findings"):
        importlib.import_module(module)
    codes = []
    for case in json.load(sys.stdin):
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
