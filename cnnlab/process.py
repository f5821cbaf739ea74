"""Rules for each of our processes: signals before its work begins, where it finds modules, how it ends.

It is imported first, so it imports only small parts of the standard library.
"""

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""The folder that holds the package."""
FOLDER_WITHOUT_MODULES = os.path.dirname(os.path.abspath(sys.executable))
"""The current folder of programs that look for modules there. The command `cnnlab` also looks here first."""
SHOW_CURSOR = "\x1b[?25h"
"""For a terminal on which a progress display has hidden the cursor."""

SPINS = 200_000
"""About 4 ms. On a busy machine GNU OpenMP's default, 300,000, is longer than a process may run without a break."""

LONGEST_TMPDIR = 70
"""Bytes. multiprocessing appends /pymp-XXXXXXXX/listener-XXXXXXXX; macOS takes 103 for a socket's path, Linux 107."""

ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""The signals that end a command; the exit code is 128 + the number of the first one."""

received: list[int] = []
"""The signals that came since the command's work began, in order."""
last_words: list[Callable[[], object]] = []
"""Functions that a process calls if it ends in the middle of its work."""


@contextmanager
def brief_spins() -> Iterator[None]:
    """If PyTorch is loaded within it, OpenMP's waiting threads sleep sooner. Bits do not depend on it.

    On a busy machine the last thread of an operator may get no processor while the others spin: a training takes up to
    200 times as long (docs/performance.md). Variables that the user has set are left alone.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # OpenMP reads it when it is loaded; worker processes inherit it
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def shorten_socket_paths() -> None:
    """Let multiprocessing put the sockets of this process and its children into /tmp if TMPDIR is too long for them.

    Without it no fork server starts, and a DataLoader with worker processes hangs. Python 3.14 does it by itself.
    """
    import tempfile
    from multiprocessing.util import get_temp_dir

    if os.name == "posix" and len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR:
        before, tempfile.tempdir = tempfile.tempdir, "/tmp"
        try:
            get_temp_dir()  # makes the folder and remembers it
        finally:
            tempfile.tempdir = before


def obey_signals() -> None:
    """From now on the signals of ENDING end this process at once, with one line.

    SIGINT ends it even if it was ignored, as in background jobs of a shell script.
    """
    for number in heeded():
        signal.signal(number, end_at_once("interrupted"))


def heeded() -> list[int]:
    """The signals of ENDING, without SIGHUP if `nohup` has set it to be ignored."""
    return [n for n in ENDING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]


def ignore_signals(*_: object) -> None:
    """From now on this process, which ends with the one it works for, ignores the signals of ENDING.

    A terminal and Slurm send them to all processes.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """A process that is started within it receives no signal of ENDING before it has set its handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once(message: str) -> Callable[[int, FrameType | None], None]:
    """A handler that calls `last_words`, prints one line and ends the process without an exception.

    A library may catch an exception in the middle of an import. The courier and the server of worker processes
    notice that this process is gone, and end too.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        for word in last_words:
            with suppress(Exception):  # a full disk, for example; the process ends all the same
                word()
        cursor = SHOW_CURSOR if os.isatty(2) else ""
        with suppress(OSError):
            line = "interrupted twice; what was sealed last is intact" if received else message
            os.write(2, f"{cursor}cnnlab: {line}\n".encode())
        os._exit(128 + (received or [number])[0])

    return handle


def this_process() -> dict[str, Any]:
    """What identifies this process among all processes of all machines."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": _started(os.getpid())}


def lives(process: Mapping[str, Any]) -> bool | None:
    """Whether the process with this result of `this_process` lives, paused or not; None if it is on another machine."""
    if process.get("host") != socket.gethostname():
        return None
    return process.get("boot") == _boot() and _started(process["pid"]) == process.get("started")


def _boot() -> str:
    """A text that differs after each start of the machine; empty if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """The start time of a process in the system's units, because a pid is used again; None if there is no process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
            return None if state == "Z" else fields[18]
    except OSError:
        pass
    try:  # not Linux
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
    return "alive"


def command_of(module: str) -> list[str]:
    """The command that runs `main` of one of our modules, as `python -P -m` (since Python 3.11) would.

    The current folder ("" in the path) is not searched for modules; PYTHONPATH is.
    """
    path = f"[*filter(None, sys.path), {PACKAGE_ROOT!r}]"
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path}; from {module} import main; main()"]


class Ending:
    """Ends this process with `code` when everything registered with `atexit` after it has run.

    Python's own exit would first take torch apart: 0.8 s, and 30 lines of warnings (of nanobind).
    """

    def __init__(self) -> None:
        self.code = 1
        """The exit code after an uncaught exception."""
        atexit.register(self._end)

    def _end(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # full, closed, or not there
                stream.flush()
        os._exit(self.code)
