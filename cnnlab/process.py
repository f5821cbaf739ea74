"""What every process of ours obeys: signals before its work begins, where its modules come from, how it ends.

Imports only small parts of the standard library, so that it can be the first thing that a process does.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

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
    """From now on SIGINT and SIGTERM end this process at once, with this line and the exit code 130 or 143.

    Also where SIGINT is ignored, as in a shell script's background jobs: whoever sends it means it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_at_once(message))


def end_at_once(message: str) -> Handler:
    """A handler that prints one line and ends the process, raising nothing.

    An exception in the middle of an import may be caught by the library that imports, or turn into another one.
    The courier and the server of worker processes notice that this process is gone, and end too.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        cursor = SHOW_CURSOR if os.isatty(2) else ""
        with suppress(OSError):
            os.write(2, f"{cursor}cnnlab: {message}\n".encode())
        os._exit(128 + number)

    return handle


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
