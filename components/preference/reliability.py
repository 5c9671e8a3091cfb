"""How far the labels can be trusted: agreement between labellers, and each one's with themselves.

    reliability(store.given())
    {"agreement": {"preference": {"alpha": 0.81, "metric": "ordinal", "units": 120, "labellers": 3}, ...},
     "consistency": {"ann": {"comparisons": 24, "same": 22}}}

Agreement is Krippendorff's alpha: over each caption's place (ordinal) for a ranking, over marked or not
(nominal) for a flag, over rejected or not (nominal) for the picture. Consistency counts comparisons of two
captions that a labeller made twice, the second time with the captions in the opposite order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from pairwright.components.preference.agreement import alpha, nominal, ordinal
from pairwright.components.preference.answers import REJECTED, places
from pairwright.components.preference.store import Given

PICTURE = "picture"


def reliability(given: Sequence[Given]) -> dict[str, Any]:
    """Agreement by criterion, flag and picture; consistency by labeller. An alpha nobody can tell is None."""
    return {"agreement": agreement(given), "consistency": consistency(given)}


def agreement(given: Sequence[Given]) -> dict[str, dict[str, Any]]:
    """Over first answers (not repetitions) to pictures that two or more labellers answered."""
    first = [one for one in given if not one.repeat]
    units: dict[str, dict[Any, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    flags = sorted({flag for one in first for flag in one.answer.flags or {}})
    for one in first:
        item, said = one.item, one.answer
        units[PICTURE][item.id][one.labeller] = said.picture == REJECTED
        if said.picture is not None:
            continue
        for kind in said.tiers:
            for number, place in enumerate(places(said, kind, len(item.candidates)) or ()):
                units[kind][item.id, number][one.labeller] = place
        for flag in flags:
            for number in range(len(item.candidates)):
                units[flag][item.id, number][one.labeller] = number in (said.flags or {}).get(flag, ())
    ranked = {kind for one in first for kind in one.answer.tiers}
    return {
        kind: _alpha(list(found.values()), kind in ranked)
        for kind, found in units.items()
        if any(len(unit) > 1 for unit in found.values())
    }


def _alpha(units: list[dict[str, Any]], is_ranking: bool) -> dict[str, Any]:
    paired = [unit for unit in units if len(unit) > 1]
    value = alpha(paired, ordinal if is_ranking else nominal)
    return {
        "alpha": None if math.isnan(value) else value,
        "metric": "ordinal" if is_ranking else "nominal",
        "units": len(paired),
        "labellers": len({labeller for unit in paired for labeller in unit}),
    }


def consistency(given: Sequence[Given]) -> dict[str, dict[str, int]]:
    """Labeller -> comparisons made twice, and how many came out the same (a tie counts as an outcome)."""
    first = {(one.labeller, one.item.id): one for one in given if not one.repeat}
    found: dict[str, dict[str, int]] = {}
    for again in given:
        before = first.get((again.labeller, again.item.id))
        if not again.repeat or before is None:
            continue
        counts = found.setdefault(again.labeller, {"comparisons": 0, "same": 0})
        count = len(again.item.candidates)
        for kind in again.answer.tiers:
            then, now = places(before.answer, kind, count), places(again.answer, kind, count)
            if then is None or now is None:
                continue
            for a, b in combinations(range(count), 2):
                counts["comparisons"] += 1
                counts["same"] += _sign(then[a] - then[b]) == _sign(now[a] - now[b])
    return found


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)
