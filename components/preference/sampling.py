"""Which pictures to label, and which of their captions: where an answer teaches most, and some at random.

    items = sample_items(read_pool(dataset), 200, random_share=0.2, seed=0)

The chosen share is uncertain (a reward model's even matches, or captions that cheap scores disagree
about) and diverse (far from what is chosen already). The random share is drawn first, from the whole
pool and without a look at any score, its captions too: what it says of a model is unbiased, so it is
kept for evaluation. Both are interleaved, so that whoever stops early has labelled some of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from components.preference.candidates import Candidate
from components.preference.cheap_scores import cheap_scores, disagreement, near_margin
from components.preference.coverage import weighted_k_center
from components.preference.pool import Pool

SHARES = CHOSEN, RANDOM = "chosen", "random"
MOST_CANDIDATES = 9  # one number key each


@dataclass(frozen=True)
class Item:
    """A picture to label, with the captions shown. `share` is "chosen" or "random"; `uncertainty` in [0, 1]."""

    shard: str
    row: int
    key: str
    candidates: tuple[Candidate, ...]
    share: str
    uncertainty: float


def sample_items(
    pool: Pool, count: int, *, random_share: float = 0.2, most_candidates: int = 3, seed: int = 0
) -> list[Item]:
    """`count` items (fewer if the pool is smaller), of which `random_share`, rounded, are random; in labelling order.

    The same pool, numbers and seed give the same items. Each has 2 to `most_candidates` captions.
    """
    assert 0 <= random_share <= 1, "checked by the command"
    assert 2 <= most_candidates <= MOST_CANDIDATES, "checked by the command"
    count = min(count, len(pool))
    drawn = int(np.floor(count * random_share + 0.5))
    uncertainty = uncertainties(pool)
    order = np.random.default_rng([seed, 0]).permutation(len(pool))
    random = order[:drawn]
    rest = np.sort(order[drawn:])
    shown = {int(i): _most_uncertain(uncertainty[i], most_candidates) for i in rest}
    weights = np.array([_mean(uncertainty[i], shown[int(i)]) for i in rest])
    chosen = rest[weighted_k_center(pool.features[rest], weights, count - drawn)] if count > drawn else rest[:0]
    for i in random:
        generator = np.random.default_rng([seed, 1, int(i)])
        k = len(pool.candidates[i])
        shown[int(i)] = sorted(generator.permutation(k)[:most_candidates].tolist())
    items = {int(i): _item(pool, int(i), shown[int(i)], CHOSEN, uncertainty[i]) for i in chosen}
    items |= {int(i): _item(pool, int(i), shown[int(i)], RANDOM, uncertainty[i]) for i in random}
    return [items[i] for i in _interleaved(chosen.tolist(), random.tolist())]


def uncertainties(pool: Pool) -> list[np.ndarray]:
    """(k, k) in [0, 1] a row: how little is known of which of two captions is better."""
    if pool.rewards is not None:
        return [near_margin(rewards) for rewards in pool.rewards]
    opinions = cheap_scores([[one.text for one in group] for group in pool.candidates])
    return [disagreement(scores) for scores in opinions]


def _most_uncertain(pairs: np.ndarray, most: int) -> list[int]:
    """Of k captions the `most` whose comparisons are the least certain: the most uncertain pair, then greedily."""
    k = len(pairs)
    if k <= most:
        return list(range(k))
    first = max(combinations(range(k), 2), key=lambda two: (float(pairs[two[0], two[1]]), -two[0], -two[1]))
    kept = list(first)
    while len(kept) < most:
        left = [i for i in range(k) if i not in kept]
        kept.append(max(left, key=lambda i: (float(np.mean(pairs[i, kept])), -i)))
    return sorted(kept)


def _mean(pairs: np.ndarray, which: list[int]) -> float:
    return float(np.mean([pairs[a, b] for a, b in combinations(which, 2)]))


def _item(pool: Pool, i: int, which: list[int], share: str, pairs: np.ndarray) -> Item:
    shard, row = pool.places[i]
    captions = tuple(pool.candidates[i][c] for c in which)
    return Item(shard, row, pool.keys[i], captions, share, _mean(pairs, which))


def _interleaved(chosen: list[int], random: list[int]) -> list[int]:
    """Both lists in their own order, spread evenly through each other."""
    place = [((n + 0.5) / len(chosen), 0, i) for n, i in enumerate(chosen)]
    place += [((n + 0.5) / len(random), 1, i) for n, i in enumerate(random)]
    return [i for _, _, i in sorted(place)]
