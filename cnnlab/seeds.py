"""Everything random is a function of (seed, purpose, epoch, index)."""

import hashlib


def derive(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> int:
    """A 63-bit seed for a random generator, the same on every machine and Python version.

    Independent purposes ("init", "order", "augment", "dropout", "split") get independent streams, and any position
    of a run can be recomputed without replaying what came before it.
    """
    key = f"{seed}/{purpose}/{epoch}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
