"""SIGINT and SIGTERM: before the first step they end what goes on, after it a checkpoint is sealed first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from cnnlab.errors import Interrupted


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
def end_when_interrupted(message: str) -> Iterator[None]:
    """Within it the first signal ends what goes on. Raises Interrupted with this message."""
    try:
        with _first_signal(_raise):
            yield
    except _Signalled as signalled:
        raise Interrupted(message, signalled.number) from None


class _Signalled(BaseException):
    """No Exception: libraries catch those on the way when they try this and that."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _raise(number: int) -> None:
    raise _Signalled(number)


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
