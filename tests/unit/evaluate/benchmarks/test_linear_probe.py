"""A linear probe: an oracle is right, what says the same of all is at chance, and nothing that is judged teaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import Broken, Constant, Reader

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError, NotFinite
from pairwright.components.evaluate.benchmarks.linear_probe import LinearProbe, LinearProbeSettings, probed
from pairwright.components.evaluate.labelled import Labelled, apart, balanced


@pytest.fixture
def both(shapes: Any) -> tuple[Dataset, Dataset]:
    """What teaches and what judges; pictures of one colour, shape and place are of one group, so places differ."""
    return shapes(48, 1, name="taught"), shapes(48, 1, name="judged", start=960)


def probe(taught: Dataset, label: str = "colour", **more: Any) -> LinearProbe:
    return LinearProbe(LinearProbeSettings(train=taught.root, label=label, **more))


def grouped_apart(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of groups that say the dataset, so that its like in the other one is another group."""
    from pairwright.components.evaluate import labelled as module

    found = module.pictures_of

    def named(model: Any, of: Dataset) -> Any:
        split = found(model, of)
        return type(split)(split.image, [f"{of.name} {g}" for g in split.groups], split.labels, split.rows, 0)

    monkeypatch.setattr(module, "pictures_of", named)


def test_an_oracle_is_right_and_what_says_the_same_of_all_is_at_chance(
    both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    taught, judged = both
    grouped_apart(taught, monkeypatch)
    found = {m.name: m for m in probe(taught).evaluate(Reader(), judged)}
    assert found["accuracy"].value == found["balanced_accuracy"].value == 1.0
    assert "48 pictures of" in found["accuracy"].definition
    constant = {m.name: m for m in probe(taught).evaluate(Constant(), judged)}
    assert constant["balanced_accuracy"].value == pytest.approx(1 / 4)
    assert constant["accuracy"].value == pytest.approx(1 / 4)


def test_guesses_are_at_chance() -> None:
    random = np.random.default_rng(0)
    means = []
    for _ in range(20):
        taught, judged = (
            Labelled(random.normal(size=(n, 5)), np.arange(n) % 4, np.arange(n) + at)
            for n, at in ((80, 0), (200, 1000))
        )
        means.append(probed(taught, judged, (0.1, 10.0))[0].mean())
    assert abs(np.mean(means) - 0.25) < 4 * np.std(means) / np.sqrt(20) + 0.01


def test_nothing_of_a_group_that_is_judged_teaches() -> None:
    vectors = np.arange(12.0).reshape(6, 2)
    taught = Labelled(vectors, np.array(["a", "b"] * 3), np.array(["1", "2", "3", "4", "5", "6"]))
    judged = Labelled(np.array([[90.0, 91.0], vectors[2]]), np.array(["a", "b"]), np.array(["1", "9"]))
    assert apart(taught, judged).groups.tolist() == ["2", "3", "4", "5", "6"]
    with pytest.raises(DatasetError, match='nothing teaches the class "b"'):
        apart(taught.take(np.array([0, 2])), judged)


def test_the_penalty_is_chosen_on_what_teaches_alone() -> None:
    random = np.random.default_rng(1)
    y = np.arange(200) % 2
    x = np.c_[y + 0.8 * random.normal(size=200), random.normal(size=(200, 30))]
    taught = Labelled(x, y, np.arange(200))
    strengths = (1e-4, 1.0, 1e4)
    right, wrong = (Labelled(x[:50], labels[:50], np.arange(50) + 900) for labels in (y, 1 - y))
    assert probed(taught, right, strengths)[1] == probed(taught, wrong, strengths)[1]


def test_classes_weigh_alike_in_the_balanced_mean() -> None:
    hits, classes = np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"])
    assert balanced(hits, classes).mean() == 0.5


def test_a_vector_that_is_no_number_is_an_error(both: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(NotFinite):
        probe(both[0]).evaluate(Broken(), both[1])
