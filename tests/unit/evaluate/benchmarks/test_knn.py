"""Neighbours vote: by hand, at chance where all are alike, and order decides nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import Broken

from pairwright.components.errors import NotFinite
from pairwright.components.evaluate.benchmarks.knn import Knn, KnnSettings, voted
from pairwright.components.evaluate.labelled import Labelled


def of(vectors: Any, classes: Any, at: int = 0) -> Labelled:
    vectors = np.asarray(vectors, float)
    return Labelled(vectors, np.asarray(classes), np.arange(len(vectors)) + at)


def test_votes_are_those_of_the_nearest_by_hand() -> None:
    angle = np.radians([0, 10, 20, 40, 90])
    taught = of(np.c_[np.cos(angle), np.sin(angle)], ["a", "b", "b", "a", "a"])
    ask = of([[1.0, 0.0]] * 2, ["a", "b"], 90)
    assert voted(taught, ask, 1, 0.07).tolist() == [1, 0]
    assert voted(taught, ask, 3, 1.0).tolist() == [0, 1], "two of three say b"
    weights = np.exp(np.cos(angle) / 0.01)
    expected = weights[[0]].sum() > weights[[1, 2]].sum()
    assert voted(taught, ask, 3, 0.01)[0] == expected == 1, "the nearest counts most where T is small"


def test_an_oracle_is_right_guesses_and_a_constant_are_at_chance() -> None:
    y = np.arange(60) % 3
    assert voted(of(np.eye(3)[y], y), of(np.eye(3)[y], y, 99), 5, 0.07).all()
    same = np.ones((60, 4))
    assert np.allclose(voted(of(same, y), of(same, y, 99), 7, 0.07), 1 / 3)
    random = np.random.default_rng(0)
    means = []
    for _ in range(20):
        taught, asked = of(random.normal(size=(60, 8)), y), of(random.normal(size=(300, 8)), np.arange(300) % 3, 99)
        means.append(voted(taught, asked, 5, 0.07).mean())
    assert abs(np.mean(means) - 1 / 3) < 4 * np.std(means) / np.sqrt(20)


def test_the_order_of_what_teaches_changes_nothing() -> None:
    random = np.random.default_rng(2)
    vectors, y = random.integers(-1, 2, size=(50, 3)).astype(float), random.integers(0, 4, 50)  # many ties
    ask = of(random.integers(-1, 2, size=(40, 3)), random.integers(0, 4, 40), 99)
    mixed = random.permutation(50)
    assert np.allclose(voted(of(vectors, y), ask, 6, 0.1), voted(of(vectors[mixed], y[mixed]), ask, 6, 0.1))


def test_a_vector_that_is_no_number_is_an_error(shapes: Any) -> None:
    taught, judged = shapes(24, 1, name="taught"), shapes(24, 1, name="judged", start=480)
    with pytest.raises(NotFinite):
        Knn(KnnSettings(train=taught.root, label="colour")).evaluate(Broken(), judged)
