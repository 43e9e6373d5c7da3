"""Random bits that depend on nothing but a counter and a key, so that any part of a batch has the same ones.

The generator is Philox 4x32 with 10 rounds, as in the library Random123. NumPy has Philox 4x64 as a stream, and not as
a function of an array of counters.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter: tuple[UInt64, UInt64, UInt64, UInt64], key: tuple[int, int]) -> tuple[UInt64, ...]:
    """Return four arrays of 32 random bits for each counter of four 32-bit words; the words broadcast."""
    a, b, c, d = counter
    left, right = key
    for _ in range(ROUNDS):
        first, second = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, c = (second >> _HALF) ^ b ^ np.uint64(left), (first >> _HALF) ^ d ^ np.uint64(right)
        b, d = second & _LOW, first & _LOW
        left, right = (left + _STEPS[0]) & 0xFFFFFFFF, (right + _STEPS[1]) & 0xFFFFFFFF
    return a, b, c, d


def row_keys(*columns: NDArray[np.generic]) -> UInt64:
    """Return 64 bits (B,) for each row of the arrays (B, ...): equal for equal rows, wherever they stand."""
    rows = len(columns[0])
    held = [np.ascontiguousarray(c) for c in columns]
    digests = (hashlib.blake2b(b"".join(c[i].tobytes() for c in held), digest_size=8).digest() for i in range(rows))
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def random_bits(rows: UInt64, width: int, operation: int, seed: int, bits: int) -> NDArray[np.int64]:
    """Return uniform numbers (B, width) of some bits, a function of each row's key, column, operation and seed."""
    blocks = np.arange(-(-width // 4), dtype=np.uint64)[None, :]
    keys = rows[:, None]
    words = philox((blocks, np.full_like(blocks, operation), keys & _LOW, keys >> _HALF), (seed, 0))
    drawn = np.stack(words, axis=-1).reshape(len(rows), 4 * blocks.size)[:, :width]
    found: NDArray[np.int64] = (drawn >> np.uint64(32 - bits)).astype(np.int64)
    return found
