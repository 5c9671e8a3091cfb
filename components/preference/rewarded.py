"""A reward model's opinion of a pool's captions, so that its even matches are labelled first.

    add_rewards(pool, load_reward(folder), view, feature_of_width(view, model.image_width))

The loop of Compress & Align (Zhang et al., 2023) closed: what the reward fitted on the last labels is
least sure of is what the next labels are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.errors import ColumnError
from pairwright.components.preference.pool import Pool

ROWS_AT_ONCE = 256


class Reward(Protocol):
    """What is asked of a reward model (components/models/reward.py)."""

    image_width: int

    def score(self, image_features: Any, texts: Sequence[str]) -> Any:
        """(n, image width), n texts -> (n,) rewards, higher is better."""


def feature_of_width(view: ColumnsView, width: int) -> str:
    """The `step.column` of picture features a reward of this image width was fitted with.

    Raises:
        ColumnError: no step of the run has features of that width.
    """
    for name, step in view.steps.items():
        for shard in view.dataset.shards:
            if not view.store.has(step, shard.digest):
                continue
            for column in view.store.read(step, shard).schema:
                if pa.types.is_fixed_size_list(column.type) and column.type.list_size == width:
                    return f"{name}.{column.name}"
            break  # another shard's columns are the same
    raise ColumnError(
        f"no run in the workspace has picture features of width {width}, which the reward needs; "
        "run a recipe with a step `image_features` of the same tower on this dataset"
    )


def add_rewards(pool: Pool, reward: Reward, view: ColumnsView, column: str) -> None:
    """Set the pool's rewards; a picture without features has NaN, and so is as uncertain as can be."""
    step, name = view.split(column)
    rewards = [np.full(len(captions), np.nan) for captions in pool.candidates]
    by_shard: dict[str, list[int]] = {}
    for number, (digest, _) in enumerate(pool.places):
        by_shard.setdefault(digest, []).append(number)
    for shard in view.dataset.shards:
        if shard.digest not in by_shard or not view.store.has(step, shard.digest):
            continue
        read = view.store.read(step, shard, [name])[name]
        known, features = read.is_valid().to_numpy(zero_copy_only=False), to_numpy(read)
        numbers = [number for number in by_shard[shard.digest] if known[pool.places[number][1]]]
        for start in range(0, len(numbers), ROWS_AT_ONCE):
            _score(pool, reward, features, numbers[start : start + ROWS_AT_ONCE], rewards)
    pool.rewards = rewards


def _score(pool: Pool, reward: Reward, features: np.ndarray, numbers: list[int], rewards: list[np.ndarray]) -> None:
    counts = [len(pool.candidates[number]) for number in numbers]
    rows = np.repeat([pool.places[number][1] for number in numbers], counts)
    texts = [one.text for number in numbers for one in pool.candidates[number]]
    found = np.asarray(reward.score(features[rows], texts), dtype=np.float64)
    for number, part in zip(numbers, np.split(found, np.cumsum(counts)[:-1])):
        rewards[number] = part
