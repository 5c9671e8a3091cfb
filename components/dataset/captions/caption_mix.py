"""Which of a pair's texts is its caption this time: a pure function of (seed, epoch, key).

VeCLIP (Lai et al., 2024) draws AltText or VeCap anew each epoch. Drawn from a hash and not from a
random stream, the choice is the same on any number of workers, in any order, after any restart.
A pair without the chosen source takes the next in the recipe's order, going round; a source of
weight 0 is never taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

NONE = -1  # no source has a caption for this pair


def key_hashes(keys: Sequence[str]) -> np.ndarray:
    """64 bits a key, uint64 (n,); made once, then any epoch's choice is arithmetic."""
    joined = b"".join(hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(joined, dtype="<u8")


def choose_sources(
    seed: int,
    epoch: int,
    hashes: np.ndarray,
    weights: Mapping[str, float],
    available: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Index into `weights` of each pair's source, int64 (n,); -1 where no source has a caption.

    Args:
        hashes: `key_hashes` of the pairs.
        weights: relative weight of each source, in the order of fallback.
        available: source -> bool (n,), whether the pair has that caption; all have all if None.
    """
    shares = np.array(list(weights.values()), dtype=np.float64)
    assert shares.min(initial=0) >= 0 < shares.sum(), "weights are checked by the settings"
    bounds = np.cumsum(shares) / shares.sum()
    bounds[np.flatnonzero(shares)[-1] :] = 1.0  # rounding must not give the tail to a source of weight 0
    chosen = np.searchsorted(bounds, _uniform(seed, epoch, hashes), side="right")
    if available is None:
        return chosen
    has = np.stack([np.asarray(available[source], dtype=bool) for source in weights], axis=1)
    has &= shares > 0  # a weight of 0 means never, so that it equals leaving the source out
    rows, found = np.arange(len(hashes)), np.full(len(hashes), NONE)
    for turn in range(len(weights)):
        candidate = (chosen + turn) % len(weights)
        take = (found == NONE) & has[rows, candidate]
        found[take] = candidate[take]
    return found


def choose_source(
    seed: int, epoch: int, key: str, weights: Mapping[str, float], present: Sequence[str] | None = None
) -> str | None:
    """One pair's source; `present` names those it has (all of them if None). None if it has none."""
    available = None if present is None else {source: np.array([source in present]) for source in weights}
    index = int(choose_sources(seed, epoch, key_hashes([key]), weights, available)[0])
    return None if index == NONE else list(weights)[index]


def _uniform(seed: int, epoch: int, hashes: np.ndarray) -> np.ndarray:
    """[0, 1) from the key's bits and one salt an epoch, by splitmix64's finaliser (Steele et al., 2014)."""
    salt = hashlib.blake2b(f"caption mix {seed} {epoch}".encode(), digest_size=8).digest()
    x = hashes ^ np.frombuffer(salt, dtype="<u8")
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
