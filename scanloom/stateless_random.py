"""Random numbers as a pure function of integers: no state, so order, resume and sharding do not change them.

Every number is a hash of (seed, keys, position): the 64-bit finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014;
constants of Stafford's variant 13), applied once per key. Vectorised over keys; the same bits on every machine.
"""

import hashlib

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
Key = int | str | np.ndarray


def bits(seed: int, *keys: Key, size: tuple[int, ...] = ()) -> np.ndarray:
    """uint64 hashes of shape broadcast(keys) + size. Keys are integers, integer arrays, or names (strings)."""
    state = _mixed(np.asarray(seed).astype(np.uint64))
    for key in keys:
        state = _mixed(state ^ _mixed(_integers(key)))
    if size:
        counter = np.arange(int(np.prod(size)), dtype=np.uint64).reshape(size)
        state = _mixed(state[(...,) + (None,) * len(size)] + (counter + np.uint64(1)) * GOLDEN)
    return state


def uniform(seed: int, *keys: Key, size: tuple[int, ...] = ()) -> np.ndarray:
    """float32 in [0, 1) of shape broadcast(keys) + size: the upper 24 bits of `bits`, so 1.0 never comes out."""
    return (bits(seed, *keys, size=size) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def permutation(seed: int, epoch: int, item_keys: np.ndarray) -> np.ndarray:
    """Order of the items in this epoch: int64 positions. Adding an item leaves the order of the others alone."""
    return np.argsort(bits(seed, "order", epoch, item_keys), kind="stable")


def keys_of(names) -> np.ndarray:
    """One uint64 key per name (the first 8 bytes of its BLAKE2b hash)."""
    return np.array([name_key(name) for name in names], np.uint64)


def name_key(name: str) -> int:
    """The key of one name."""
    return int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=8).digest(), "little")


def _integers(key: Key) -> np.ndarray:
    key = np.asarray(name_key(key), np.uint64) if isinstance(key, str) else np.asarray(key)
    if key.dtype.kind not in "iub":
        raise TypeError(f"keys are integers or names, not {key.dtype}")
    return key.astype(np.uint64)


def _mixed(value: np.ndarray) -> np.ndarray:
    """SplitMix64's output function; multiplication modulo 2^64 is meant to overflow."""
    with np.errstate(over="ignore"):
        value = np.atleast_1d(value).reshape(np.shape(value)) + GOLDEN
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(value ^ (value >> np.uint64(31)))
