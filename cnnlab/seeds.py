"""Everything random is a function of (seed, purpose, epoch, index)."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cnnlab.errors import InUse

_moment = threading.RLock()
_training: threading.Thread | None = None
"""The thread that draws until its training ends."""


@contextmanager
def drawing(*, until_trained: bool = False) -> Iterator[None]:
    """Within it no other thread draws from PyTorch's default generator, from which all layers of a process draw.

    Args:
        until_trained: for a whole training; else for a moment, and other threads wait.

    Raises:
        InUse: another thread of this process trains.
    """
    global _training
    _moment.acquire()
    try:
        before = _training
        if before not in (None, threading.current_thread()):
            raise InUse(
                "another thread of this process trains a network, and both would draw from one random generator; "
                "train one after the other, or each in a process of its own"
            )
        if not until_trained:
            yield
            return
        _training = threading.current_thread()
    finally:
        _moment.release()
    try:
        yield
    finally:
        _training = before


def derive(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> int:
    """A 63-bit seed for a random generator, the same on every machine and Python version.

    Independent purposes ("init", "order", "augment", "dropout", "split") get independent streams, and any position
    of a run can be recomputed without replaying what came before it.
    """
    key = f"{seed}/{purpose}/{epoch}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
