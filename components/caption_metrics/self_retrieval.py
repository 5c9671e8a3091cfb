"""Self-retrieval: does a caption find its own picture among others (Dessì et al., 2023: among 100).

Pictures are cut into bags of `among`; a caption's rank counts every picture of its bag that is as near to it or nearer.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from pairwright.components.finite import require_finite

AMONG = 100


def self_ranks(caption: np.ndarray, image: np.ndarray, bags: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors (n, d) of captions and of their pictures -> each one's rank in its bag from 1, int64 (n,).

    Args:
        bags: numbers of pictures; each picture is in one bag. One in none has rank 0.

    Raises:
        NotFinite: a vector is not.
    """
    require_finite(caption, "the vectors of captions")
    require_finite(image, "the vectors of pictures")
    ranks = np.zeros(len(caption), np.int64)
    for bag in bags:
        # Twelve digits: pictures of equal vectors tie, however they are summed; a tie counts against.
        scores = np.round(caption[bag].astype(np.float64) @ image[bag].astype(np.float64).T, 12)
        ranks[bag] = (scores >= np.diagonal(scores)[:, None]).sum(1)
    return ranks


def bags_of(groups: Sequence[Hashable], among: int = AMONG, seed: int = 0) -> list[np.ndarray]:
    """Bags of `among` pictures of different groups, drawn; those left over, too few for a bag, are in none.

    Of fewer groups than `among`, one bag of a picture of each.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    rounds: list[list[int]] = []  # the first picture of each group, the second of each, ...
    seen: dict[Hashable, int] = {}
    for i in order:
        at = seen[groups[i]] = seen.get(groups[i], -1) + 1
        if at == len(rounds):
            rounds.append([])
        rounds[at].append(int(i))
    size = min(among, len(seen))
    found = []
    for some in rounds:
        found += [np.array(some[start : start + size]) for start in range(0, len(some) - size + 1, max(size, 1))]
    return found
