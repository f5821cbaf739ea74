"""What the signals that end a command do: the first one lets it seal a checkpoint, a second one ends it at once."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from cnnlab.errors import Interrupted
from cnnlab.process import end_at_once, heeded, received


@dataclass
class Interrupt:
    """The `number` of the signal that came; 0 until then."""

    number: int = 0


@contextmanager
def catch_interrupts(stop: Callable[[], None], numbers: Sequence[int] | None = None) -> Iterator[Interrupt]:
    """Within it the first signal is noted and calls `stop`, which has to return at once.

    Args:
        numbers: the signals; None for all that end a command.
    """
    interrupt = Interrupt()

    def note(number: int) -> None:
        interrupt.number = number
        stop()

    with _first_signal(note, numbers):
        yield interrupt


@contextmanager
def at_once_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal ends the process with this line: for imports, before any file is written."""
    end = end_at_once(message)
    with _first_signal(lambda number: end(received.pop(), None)):  # not the first of two
        yield


@contextmanager
def end_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal raises an exception.

    Raises:
        Interrupted: with this message; at the end of the block if a library caught the exception.
    """
    interrupt = Interrupt()

    def stop(number: int) -> None:
        interrupt.number = number
        raise _Signalled

    try:
        with _first_signal(stop):
            yield
    except BaseException:  # a library may have turned ours into another one
        if not interrupt.number:
            raise
    if interrupt.number:
        raise Interrupted(message, interrupt.number)


class _Signalled(BaseException):
    """Not an Exception, which many libraries catch."""


@contextmanager
def _first_signal(act: Callable[[int], None], numbers: Sequence[int] | None = None) -> Iterator[None]:
    """Within it the first signal calls `act`; a second one ends the process at once."""
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
