"""What every process of ours obeys: signals before its work begins, where its modules come from, how it ends.

Imports only small parts of the standard library, so that it can be the first thing that a process does.
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
"""For programs that search the current folder for modules; it is where the command `cnnlab` itself searches first."""
SHOW_CURSOR = "\x1b[?25h"
"""To a terminal on which a progress display has hidden it."""

SPINS = 200_000
"""About 4 ms. GNU OpenMP's own 300,000 are longer than the turn that a process gets on a busy machine."""

LONGEST_TMPDIR = 70
"""Bytes. multiprocessing appends /pymp-XXXXXXXX/listener-XXXXXXXX; macOS takes 103 for a socket's path, Linux 107."""

Handler = Callable[[int, FrameType | None], None]

ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""The signals that end a command; the exit code is 128 + the number of the first one."""

received: list[int] = []
"""Those that came since the command's work began, the first one first."""
last_words: list[Callable[[], object]] = []
"""What is still to be done by a process that leaves in the middle of its work."""


@contextmanager
def brief_spins() -> Iterator[None]:
    """Have OpenMP's threads that wait for one another sleep sooner, if PyTorch is loaded within it.

    They wait at the end of each operator. Beside other work the thread that is waited for may have no processor, and
    gets none while the others spin through its turn: a training takes up to 200 times as long (docs/performance.md).
    What the user has set is left alone. Bits do not depend on it.
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
    """Have multiprocessing put the sockets of this process and its children into /tmp if TMPDIR is too long for them.

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


def obey_signals(message: str = "interrupted") -> None:
    """From now on the signals of ENDING end this process at once, with this line.

    Also where SIGINT is ignored, as in a shell script's background jobs: whoever sends it means it.
    """
    for number in heeded():
        signal.signal(number, end_at_once(message))


def heeded() -> list[int]:
    """The signals of ENDING; without SIGHUP if `nohup` has it ignored."""
    return [n for n in ENDING if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]


def ignore_signals(*_: object) -> None:
    """From now on the signals of ENDING, which a terminal and Slurm send to all processes, do nothing to this one.

    For a process that works for another and ends when that one does.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """A process that is started within it sees none of ENDING before it has said what they do to it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once(message: str) -> Handler:
    """A handler that says the last words, prints one line and ends the process, raising nothing.

    An exception in the middle of an import may be caught by the library that imports, or turn into another one.
    The courier and the server of worker processes notice that this process is gone, and end too.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        for word in last_words:
            with suppress(Exception):  # a full disk; the process leaves all the same
                word()
        cursor = SHOW_CURSOR if os.isatty(2) else ""
        with suppress(OSError):
            line = "interrupted twice; what was sealed last is intact" if received else message
            os.write(2, f"{cursor}cnnlab: {line}\n".encode())
        os._exit(128 + (received or [number])[0])

    return handle


def this_process() -> dict[str, Any]:
    """What tells this process from all others, on this machine and elsewhere."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": _started(os.getpid())}


def lives(process: Mapping[str, Any]) -> bool | None:
    """Whether a process, by what `this_process` said in it, lives, paused or not; None if it is another machine's."""
    if process.get("host") != socket.gethostname():
        return None
    return process.get("boot") == _boot() and _started(process["pid"]) == process.get("started")


def _boot() -> str:
    """Another one after each start of the machine; empty if the system says none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this machine began, as the system counts it, so that a number used again is told apart."""
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
    """The command that runs `main` of one of our modules in a process of its own.

    As `python -m` would, but without the current folder ("" in the path); `python -P` exists only since Python 3.11.
    PYTHONPATH is obeyed.
    """
    path = f"[*filter(None, sys.path), {PACKAGE_ROOT!r}]"
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path}; from {module} import main; main()"]


class Ending:
    """Ends this process with `code` when everything registered with `atexit` after it has run.

    Python itself would first search all of torch for garbage and then take it apart, which costs 0.8 s and makes
    libraries complain (nanobind prints 30 lines once torchvision has imported a compiler).
    """

    def __init__(self) -> None:
        self.code = 1
        """An exception that nobody catches."""
        atexit.register(self._end)

    def _end(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # full, closed, or not there
                stream.flush()
        os._exit(self.code)
