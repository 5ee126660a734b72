"""Random numbers that are a pure function of what they are for: no state, no order, no global generator.

A number is addressed by ``(seed, epoch, purpose, counters...)``. The address is folded into 64 bits word by word with
the finaliser of SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014), a
bijection in which each input bit flips each output bit with probability one half. Any batch can therefore be drawn
without the ones before it, on any rank, in any process.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_WORD = 2**64


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the SplitMix64 finaliser of each word, computed in one new array."""
    out = words ^ (words >> _S30)
    out *= _FIRST
    out ^= out >> _S27
    out *= _SECOND
    out ^= out >> _S31
    return out


def _as_words(counter: ArrayLike) -> NDArray[np.uint64]:
    return np.atleast_1d(np.asarray(counter)).astype(np.uint64)


@lru_cache(maxsize=1024)
def _root(seed: int, epoch: int, purpose: str) -> np.uint64:
    """Return the 64 bits that stand for one stream of one epoch.

    Cryptographic, since it is computed once a stream: neighbouring seeds, epochs and purposes share nothing.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def keys(seed: int, epoch: int, purpose: str, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return one 64-bit key for each tuple of counters.

    Parameters
    ----------
    seed, epoch
        Any integers; ``(0, 1)`` and ``(1, 0)`` have nothing in common.
    purpose
        What the numbers decide, such as ``"focal"``; each purpose has a stream of its own.
    *counters
        Integer arrays that broadcast against each other, say the batch number and the stratum.

    Returns
    -------
    ndarray of uint64
        Keys of the counters' common shape, at least one-dimensional.
    """
    numbers: list[Any] = [counter for counter in counters if isinstance(counter, int)]
    if len(numbers) == len(counters):
        return np.array([_key(seed, epoch, purpose, *numbers)], dtype=np.uint64)
    key = np.atleast_1d(_root(int(seed), int(epoch), purpose))
    for counter in counters:
        key = _mixed(key ^ (_as_words(counter) * _GOLDEN + _GOLDEN))
    return key


def lanes(key: NDArray[np.uint64], lane: ArrayLike) -> NDArray[np.uint64]:
    """Return member number `lane` of the endless sequence that belongs to each key (SplitMix64 itself)."""
    return _mixed(key + _as_words(lane) * _GOLDEN)


def fractions(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 64-bit words to float64 in ``[0, 1)``, multiples of ``2**-53``."""
    return (words >> _S11) * np.float64(2.0**-53)


def below(words: NDArray[np.uint64], bound: ArrayLike) -> NDArray[np.int64]:
    """Map 64-bit words to integers in ``[0, bound)``, each equally likely to within ``bound / 2**53``."""
    scaled = fractions(words)
    scaled *= np.asarray(bound)
    return scaled.astype(np.int64)


def generator(seed: int, epoch: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return a NumPy generator that belongs to one address: a PCG64 that starts from its digest.

    For shuffles, where NumPy's own loop is exact and fast.
    """
    digest = _Digest("/".join(map(str, (seed, epoch, purpose, *counters))))
    return np.random.Generator(np.random.PCG64(digest))  # type: ignore[arg-type]  # NumPy's stubs forget ISeedSequence


class _Digest(ISeedSequence):
    """The digest of an address as the seed of a bit generator, at a tenth of what a `SeedSequence` costs."""

    def __init__(self, address: str) -> None:
        self._address = address.encode()

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint32) -> NDArray[Any]:
        word = np.dtype(dtype)
        return np.frombuffer(hashlib.blake2b(self._address, digest_size=n_words * word.itemsize).digest(), word)


def _key(seed: int, epoch: int, purpose: str, *counters: int) -> int:
    """Return what `keys` does of single numbers, for which Python's integers are faster than arrays."""
    key = int(_root(int(seed), int(epoch), purpose))
    for counter in counters:
        key ^= (int(counter) + 1) * int(_GOLDEN) % _WORD
        key = (key ^ (key >> 30)) * int(_FIRST) % _WORD
        key = (key ^ (key >> 27)) * int(_SECOND) % _WORD
        key ^= key >> 31
    return key
