"""How often each test calls a difference of nothing real: the ground on which a verdict may be said.

    python -m benchmarks.verdict_error                       # a table, and the worst case of each test
    python -m benchmarks.verdict_error --trials 20000 --seeds 3 5

Two arms that are truly equal are simulated as they are measured: seeds crossed with items in groups of one to
four, the difference of each item made of a part of the seed, of the group, of both and of its own; once as
numbers and once as hits and misses (0 or 1 an item and arm). What part prevails is unknown in practice, so a
test must keep its level whichever does. SITUATIONS hold what quickstart and the referee's bench showed (in
spread of recall: seeds 0.01 to 0.02, groups 0.1 to 0.3) and the extremes on both sides.

    crossed      components/evaluate/statistics/crossed.py, by which verdicts are said
    pigeonhole   seeds and groups drawn anew together (Owen, 2007), which stood here before
    items alone  groups drawn anew, seeds averaged: as if another seed would give the same models
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.crossed import crossed

GROUPS = 120
LARGEST_GROUP = 4
SEEDS = (3, 5, 10)
LEVELS = (0.05, 0.05 / 16)  # one metric; Bonferroni over sixteen
TESTS = ("crossed", "pigeonhole", "items alone")


@dataclass(frozen=True)
class Situation:
    """Standard deviations of a difference's parts: of the seed, of the group, of both together, of the item."""

    name: str
    seed: float
    group: float
    both: float
    item: float


SITUATIONS = (
    Situation("as measured", 0.015, 0.2, 0.1, 0.3),
    Situation("items alone", 0.0, 0.3, 0.0, 0.3),
    Situation("noise alone", 0.0, 0.0, 0.0, 0.3),
    Situation("both alike", 0.03, 0.3, 0.0, 0.0),
    Situation("seeds a little", 0.05, 0.3, 0.1, 0.3),
    Situation("seeds prevail", 0.2, 0.1, 0.1, 0.3),
    Situation("seeds and noise", 0.05, 0.0, 0.0, 0.2),
)


def differences(
    where: Situation, seeds: int, random: np.random.Generator, effect: float = 0.0, hits: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, items) differences of two arms, the second better by `effect` on average, and the items' groups.

    As hits, each arm has half of every part, and an item is hit where its sum is above a bar of the item's own.
    """
    sizes = random.integers(1, LARGEST_GROUP + 1, GROUPS)
    groups = np.repeat(np.arange(GROUPS), sizes)

    def drawn(scale: float) -> np.ndarray:
        made: np.ndarray = scale * (
            where.seed * random.standard_normal((seeds, 1))
            + (where.group * random.standard_normal((1, GROUPS)))[:, groups]
            + (where.both * random.standard_normal((seeds, GROUPS)))[:, groups]
            + where.item * random.standard_normal((seeds, len(groups)))
        )
        return made

    if not hits:
        return drawn(1.0) + effect, groups
    bar = random.standard_normal(len(groups))
    return ((drawn(0.7) > bar).astype(float) - (drawn(0.7) > bar)), groups


def called(values: np.ndarray, groups: np.ndarray, level: float, random: np.random.Generator) -> dict[str, bool]:
    """Test -> whether it calls this difference one, two-sided at `level`."""
    low, high = crossed(values, groups).interval(1 - level)
    found = {"crossed": low > 0 or high < 0}
    sums = np.stack([np.bincount(groups, row) for row in values - values.mean()])
    influence = sums * sums.shape[1] / len(groups)
    seeds, count = influence.shape
    # Of both bootstraps the spread in closed form, which 2,000 replicates would estimate.
    of_groups, of_seeds = influence.mean(axis=0).var() / count, influence.mean(axis=1).var() / seeds
    z, mean = NormalDist().inv_cdf(1 - level / 2), abs(float(values.mean()))
    found["pigeonhole"] = bool(mean > z * np.sqrt(of_groups + of_seeds + influence.var() / (seeds * count)))
    found["items alone"] = bool(mean > z * np.sqrt(of_groups))
    return found


def errors(
    where: Situation, seeds: int, level: float, trials: int, seed: int = 0, hits: bool = False
) -> dict[str, float]:
    """Test -> share of trials in which it calls a difference though there is none."""
    random = np.random.default_rng([seed, seeds, hits])
    found = [called(*differences(where, seeds, random, hits=hits), level, random) for _ in range(trials)]
    return {test: float(np.mean([one[test] for one in found])) for test in TESTS}


def table(trials: int, seeds: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for count in seeds:
        for level in LEVELS:
            for where in SITUATIONS:
                for hits in (False, True):
                    about = {"seeds": count, "level": level, "situation": where.name, "hits": hits}
                    yield about | errors(where, count, level, trials, hits=hits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--json", help="write the table here, too")
    wish = parser.parse_args()
    rows = []
    for row in table(wish.trials, tuple(wish.seeds)):
        rows.append(row)
        told = "  ".join(f"{test} {row[test]:.4f}" for test in TESTS)
        where = f"{row['situation']}{', hits' if row['hits'] else ''}"
        print(f"{row['seeds']:2} seeds, {row['level']:.4f}, {where:22} {told}")
    for seeds in wish.seeds:
        for level in LEVELS:
            mine = [row for row in rows if row["seeds"] == seeds and row["level"] == level]
            worst = ", ".join(f"{test} {max(row[test] for row in mine):.4f}" for test in TESTS)
            print(f"worst at {seeds} seeds, nominal {level:.4f}: {worst}")
    if wish.json:
        with open(wish.json, "w", encoding="utf-8") as out:
            json.dump({"trials": wish.trials, "rows": rows}, out, indent=1)


if __name__ == "__main__":
    main()
