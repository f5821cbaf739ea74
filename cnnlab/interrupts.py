"""SIGINT and SIGTERM: before the first step they end what goes on, after it a checkpoint is sealed first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from cnnlab.errors import Interrupted
from cnnlab.process import end_at_once


@dataclass
class Interrupt:
    """`number` is 0 until a signal came."""

    number: int = 0


@contextmanager
def catch_interrupts(stop: Callable[[], None]) -> Iterator[Interrupt]:
    """Within it the first signal calls `stop`, which has to return at once; the signal is noted."""
    interrupt = Interrupt()

    def note(number: int) -> None:
        interrupt.number = number
        stop()

    with _first_signal(note):
        yield interrupt


@contextmanager
def at_once_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal ends the process, with this line: for imports, and as long as nothing was written."""
    end = end_at_once(message)
    with _first_signal(lambda number: end(number, None)):
        yield


@contextmanager
def end_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal ends what goes on, in good order.

    Raises:
        Interrupted: with this message; at the latest at the end, if a library caught the exception on its way.
    """
    interrupt = Interrupt()

    def stop(number: int) -> None:
        interrupt.number = number
        raise _Signalled

    try:
        with _first_signal(stop):
            yield
    except BaseException:  # a library may have made another exception of ours
        if not interrupt.number:
            raise
    if interrupt.number:
        raise Interrupted(message, interrupt.number)


class _Signalled(BaseException):
    """No Exception: libraries catch those on the way when they try this and that."""


@contextmanager
def _first_signal(act: Callable[[int], None]) -> Iterator[None]:
    """Within it the first SIGINT or SIGTERM is handed to `act`; a second one has its usual effect at once."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        act(number)

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
