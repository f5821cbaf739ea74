"""SIGINT and SIGTERM as a number to look at between two records, so that a checkpoint is sealed before the end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """`number` is 0 until a signal came."""

    number: int = 0


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Within it, the first SIGINT or SIGTERM is noted; a second one has its usual effect at once."""
    interrupt = Interrupt()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.number = number
        restore()

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        restore()
