"""Signals that end a command: before the first step at once, after it when a checkpoint is sealed; a second at once."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from cnnlab.errors import Interrupted
from cnnlab.process import end_at_once, heeded, received


@dataclass
class Interrupt:
    """`number` is 0 until a signal came."""

    number: int = 0


@contextmanager
def catch_interrupts(stop: Callable[[], None], numbers: Sequence[int] | None = None) -> Iterator[Interrupt]:
    """Within it the first signal calls `stop`, which has to return at once; the signal is noted.

    Args:
        numbers: the signals that are meant; None for all that end a command.
    """
    interrupt = Interrupt()

    def note(number: int) -> None:
        interrupt.number = number
        stop()

    with _first_signal(note, numbers):
        yield interrupt


@contextmanager
def at_once_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal ends the process, with this line: for imports, and as long as nothing was written."""
    end = end_at_once(message)
    with _first_signal(lambda number: end(received.pop(), None)):  # not the first of two
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
def _first_signal(act: Callable[[int], None], numbers: Sequence[int] | None = None) -> Iterator[None]:
    """Within it the first signal is handed to `act`; a second one of the command's has its usual effect, at once."""
    usual = {number: signal.getsignal(number) for number in numbers or heeded()}

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            end_at_once("")(number, frame)
        received.append(number)
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
