"""Which pictures to label, and which of their captions: where an answer teaches most, and some at random.

    items = sample_items(read_pool(dataset), 200, random_share=0.2, seed=0)

The chosen share is uncertain (a reward model's even matches, or captions that cheap scores disagree
about) and diverse (far from what is chosen already). The random share is drawn without a look at any
score, its captions too: what it says of a model is unbiased, so it is kept for evaluation. Both are
interleaved, so that whoever stops early has labelled some of each.

A session grows, and stays unbiased: every pair has its place in one blind order of the whole pool, which
the seed fixes. The random share is a prefix of it, and a larger session only makes the prefix longer.
What the prefix can come to hold, the same share of the whole pool, is reserved from the first call on
and never chosen: a chosen pair shows its most uncertain captions and models are fitted on it, so it
would be a poor stand-in for a blind one. Where a larger share, another seed or new shards make the
prefix reach a chosen pair all the same, the pair counts as random from then on: passing it over would
leave out just the pairs that are hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pairwright.components.hashing import sha256_text
from pairwright.components.preference.cheap_scores import cheap_scores, disagreement, near_margin
from pairwright.components.preference.coverage import weighted_k_center
from pairwright.components.preference.items import CHOSEN, RANDOM, Item, StoredItem
from pairwright.components.preference.pool import Pool

MOST_CANDIDATES = 9  # one number key each


def sample_items(
    pool: Pool,
    count: int,
    *,
    before: Sequence[Item | StoredItem] = (),
    random_share: float = 0.2,
    most_candidates: int = 3,
    seed: int = 0,
) -> list[Item]:
    """`count` more items (fewer if the pool is smaller), so that `random_share` of all, rounded, is random.

    In labelling order; the same arguments give the same items. Each has 2 to `most_candidates` captions.

    Args:
        before: what was sampled already. Such an item comes again, in front, only if it was chosen and
            counts as random from now on (`LabelStore.add_items` knows what to do with it).
    """
    assert 0 <= random_share <= 1, "checked by the command"
    assert 2 <= most_candidates <= MOST_CANDIDATES, "checked by the command"
    known = {(item.shard, item.row): item for item in before}
    order = blind_order(pool.places, seed)
    new = {i for i in order if pool.places[i] not in known}
    count = min(count, len(new))
    unreserved = new - set(order[: _rounded(len(pool) * random_share)])
    wanted = _rounded((len(before) + count) * random_share)
    sampled = [known.get(pool.places[i]) for i in order]
    random, overtaken = _prefix(sampled, before, wanted, count, count - len(unreserved))
    blind = [order[n] for n in random]
    free = sorted(unreserved - set(blind))
    uncertainty = uncertainties(pool)
    shown = {i: _most_uncertain(uncertainty[i], most_candidates) for i in free}
    weights = np.array([_mean(uncertainty[i], shown[i]) for i in free])
    chosen = [free[n] for n in weighted_k_center(pool.features[free], weights, count - len(blind))]
    shown |= {i: _blind_captions(pool, i, most_candidates, seed) for i in blind}
    items = {i: _item(pool, i, shown[i], CHOSEN, uncertainty[i]) for i in chosen}
    items |= {i: _item(pool, i, shown[i], RANDOM, uncertainty[i]) for i in blind}
    return [*overtaken, *(items[i] for i in _interleaved(chosen, blind))]


def blind_order(places: Sequence[tuple[str, int]], seed: int) -> list[int]:
    """Positions of pairs in an order that follows from each pair's identity and the seed, and from nothing else.

    Hence any two pairs stand in the same order in every pool, also after the dataset has grown.
    """
    return sorted(range(len(places)), key=lambda i: _blind_hash(seed, *places[i]))


def _blind_hash(seed: int, shard: str, row: int, what: str = "pair") -> str:
    return sha256_text(f"blind {what} {seed} {shard} {row}")


def _prefix(
    order: Sequence[Item | StoredItem | None], before: Sequence[Item | StoredItem], wanted: int, most: int, least: int
) -> tuple[list[int], list[Item]]:
    """The prefix of the blind order that makes `wanted` pairs random: (its new places, what was chosen in it).

    Args:
        order: what each pair was sampled as before, in the blind order; None: not at all.
        most, least: new pairs the prefix may hold, and must.
    """
    missing = wanted - sum(item.share == RANDOM for item in before)
    new: list[int] = []
    overtaken: list[Item] = []
    for place, item in enumerate(order):
        if len(new) >= least and len(new) + len(overtaken) >= missing:
            break
        if item is None and len(new) == most:
            break
        if item is None:
            new.append(place)
        elif item.share == CHOSEN:
            overtaken.append(Item(item.shard, item.row, item.key, item.candidates, RANDOM, item.uncertainty))
    return new, overtaken


def _blind_captions(pool: Pool, i: int, most: int, seed: int) -> list[int]:
    generator = np.random.default_rng(int(_blind_hash(seed, *pool.places[i], "captions"), 16))
    return sorted(generator.permutation(len(pool.candidates[i]))[:most].tolist())


def _rounded(number: float) -> int:
    return int(np.floor(number + 0.5))


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
