"""What claims about selections share: pairs that rules keep, as many at random, and who is asked what they taught."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.systems.place import Place
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import participants

TESTS = ("test", "emoji-test")
JUDGED = "judged on the stamps of test, 196, and on emoji-test, 682, each among its own, neither part of the crawl"


def kept_by(view: ColumnsView, keep: Mapping[str, str]) -> np.ndarray:
    """Numbers of the pairs that pass these keep-rules, int64 (n,)."""
    return np.flatnonzero(participants(view, keep))


def at_random(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of these, in their order."""
    return np.sort(np.random.default_rng([seed, len(rows)]).choice(rows, count, replace=False))


def pairs_of(place: Place, view: ColumnsView, rows: np.ndarray) -> Path:
    """The pairs of these numbers as the file that `train` takes."""
    every = [(shard.digest, row) for shard in view.dataset.shards for row in range(shard.rows)]
    return place.pairs([every[row] for row in rows])


def found_in_tests(place: Place, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """t2i R@5 of every caption of both test splits, a hit as 1, and its group: (878,), (878,)."""
    items = {name: place.measure(model, "retrieval", place.corpus(name)).items for name in TESTS}
    groups = [np.char.add(f"{name}/", of["groups"].astype(str)) for name, of in items.items()]
    return np.concatenate([of["t2i_r5"] for of in items.values()]), np.concatenate(groups)
