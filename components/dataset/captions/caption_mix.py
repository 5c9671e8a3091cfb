"""Which of a pair's texts is its caption this time: drawn anew each epoch, or by turns.

VeCLIP (Lai et al., 2024) draws AltText or VeCap anew each epoch: `draw`, a pure function of (seed, epoch, key). By
turns (`cycle`, a pure function of (seed, epoch, number)) a ratio holds exactly: of weights 3 : 1 any four epochs in a
row give a pair its first source three times, and any epoch gives it to three of each four pairs numbered 4 n to
4 n + 3. Neither is taken from a random stream, so the choice is the same on any number of workers, in any order, after
any restart. A pair without the chosen source takes the next in the recipe's order, going round; a source of weight 0 is
never taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

NONE = -1  # no source has a caption for this pair
LONGEST = 100  # turns of a cycle
Mix = Literal["draw", "cycle"]


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
    salted = hashes ^ _salt(f"caption mix {seed} {epoch}")
    return _there(np.searchsorted(bounds, _uniform(salted), side="right"), weights, available)


def cycle_sources(
    seed: int,
    epoch: int,
    numbers: np.ndarray,
    weights: Mapping[str, float],
    available: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """As `choose_sources`, by turns; exact but for what falls back, and for the pairs behind the last whole cycle.

    Args:
        numbers: int64 (n,), the pairs' places in the population.

    Raises:
        ValueError: the weights make no cycle.
    """
    turns = np.array(cycle_of(weights))
    block, place = np.divmod(np.asarray(numbers, np.int64), len(turns))
    # Within each block every phase stands once, in an order of its own: data often has a rhythm (styles, families).
    members = (block[:, None] * len(turns) + np.arange(len(turns))).astype(np.uint64)
    drawn = _uniform(_scrambled(members) ^ _salt(f"caption cycle {seed}"))
    phase = (drawn < drawn[np.arange(len(drawn)), place][:, None]).sum(1)
    return _there(turns[(phase + epoch) % len(turns)], weights, available)


def cycle_of(weights: Mapping[str, float]) -> list[int]:
    """The sources of one cycle as indices into `weights`, each as evenly spread as can be: [0, 1, 0, 0] of 3 : 1.

    Raises:
        ValueError: no cycle of at most LONGEST turns has these weights.
    """
    shares = np.array(list(weights.values()), dtype=np.float64)
    shares = shares / shares.sum()
    lengths = np.arange(1, LONGEST + 1)
    whole = np.abs(np.outer(lengths, shares) - np.round(np.outer(lengths, shares))).max(1) < 1e-6
    length = next((int(n) for n in lengths[whole]), None)
    if length is None:
        raise ValueError(
            f"weights {list(weights.values())} make no cycle of at most {LONGEST} turns; round them, e.g. 1 and 2"
        )
    credit, turns = np.zeros(len(shares)), []
    for _ in range(length):  # each turn is whose credit is greatest
        credit += shares
        turn = int(np.argmax(np.round(credit, 9)))
        credit[turn] -= 1
        turns.append(turn)
    return turns


def _there(chosen: np.ndarray, weights: Mapping[str, float], available: Mapping[str, np.ndarray] | None) -> np.ndarray:
    """The chosen source, or the next one that the pair has."""
    if available is None:
        return chosen
    shares = np.array(list(weights.values()))
    has = np.stack([np.asarray(available[source], dtype=bool) for source in weights], axis=1)
    has &= shares > 0  # a weight of 0 means never, so that it equals leaving the source out
    rows, found = np.arange(len(chosen)), np.full(len(chosen), NONE)
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


def _salt(said: str) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(said.encode(), digest_size=8).digest(), dtype="<u8")


def _uniform(bits: np.ndarray) -> np.ndarray:
    """[0, 1) from 64 bits."""
    return (_scrambled(bits) >> np.uint64(11)) * 2.0**-53


def _scrambled(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al., 2014), uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = x ^ (x >> np.uint64(31))
    return found
