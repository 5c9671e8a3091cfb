"""A share of pairs is told no length, no box and no user, each drawn for itself and anew each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask

PAIRS = 600
SMALL = {"width": 16, "heads": 2, "layers": 1, "prefix": 1, "max_words": 6, "least": 1, "steps": 2, "batch_size": 8}
PARTS = ("length", "box", "user")


def task_of(**changes: Any) -> CaptionerTask:
    told = {"features": "x.vector", "lengths": 5, "box": "x.box", "user": "x.words", "user_tokens": 2}
    task = CaptionerTask(CaptionerSettings.parse(SMALL | told | changes, "test"))
    captions = [" ".join(["red", "blue", "shape"][: 1 + number % 3]) for number in range(PAIRS)]
    columns = {
        "x.vector": np.random.default_rng(0).normal(size=(PAIRS, 4)).astype(np.float32),
        "x.box": np.tile(np.float32([0, 0, 1, 1]), (PAIRS, 1)),
        "x.words": [["red"]] * PAIRS,
    }
    task.population = ArrayPopulation(columns, {"alt": captions})
    task.model = task.build()
    return task


def told(value: Tensor) -> np.ndarray:
    """Of each pair, whether it is told."""
    if value.is_floating_point():
        return ~value.isnan().any(1).numpy()
    return (value >= 0).any(1).numpy() if value.ndim == 2 else (value > 0).numpy()


@pytest.fixture(scope="module")
def epochs() -> list[dict[str, np.ndarray]]:
    task = task_of(told_dropout=0.4)
    found = [task.collate(task.population.read(np.arange(PAIRS), epoch, 0)) for epoch in (0, 1)]
    return [{name: told(one[name]) for name in (*PARTS, "image")} for one in found]


@pytest.mark.parametrize("part", PARTS)
def test_the_share_is_left_out_and_another_one_each_epoch(epochs: list[dict[str, np.ndarray]], part: str) -> None:
    assert all(0.53 < one[part].mean() < 0.67 for one in epochs)
    assert (epochs[0][part] != epochs[1][part]).any()


def test_parts_are_drawn_apart_and_the_picture_is_none_of_them(epochs: list[dict[str, np.ndarray]]) -> None:
    first = epochs[0]
    assert all(0.4 < (first[a] == first[b]).mean() < 0.65 for a, b in (("length", "box"), ("box", "user")))
    assert first["image"].all()


def test_without_it_all_is_told() -> None:
    task = task_of()
    found = task.collate(task.population.read(np.arange(PAIRS), 0, 0))
    assert all(told(found[part]).all() for part in PARTS)
    assert torch.equal(found["length"][:3], torch.tensor([1, 2, 3]))
