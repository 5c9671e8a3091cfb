"""Bags: what is in one looks alike, chance is one in its size, an oracle is right, Winoground's scores by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import Broken, Constant, Reader
from shapes import encoded, facts_of

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, NotFinite
from pairwright.components.evaluate.benchmarks.caption_bags import (
    CaptionBags,
    CaptionBagsSettings,
    chance,
    similar_bags,
    told_apart,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def benchmark(**settings: Any) -> CaptionBags:
    return CaptionBags(CaptionBagsSettings.parse({"tower": "builtin:tiny-image"} | settings, "test"))


@pytest.fixture
def bagged(tmp_path: Path) -> Dataset:
    """Two pictures a bag, of two colours at one place."""
    with ShardWriter(f"{tmp_path}/bagged", "bagged", pairs_per_shard=100) as writer:
        for place in range(4):
            for colour in range(2):
                number = next(n for n in range(48) if (n * 29) % 48 == 12 * place + colour)
                said = caption(f"{facts_of(number)[0]} at the {facts_of(number)[2]}")
                bag = [("bag", f"bag{place}")]
                writer.add(f"{place}{colour}", [("image", "image", "jpg", encoded(number))], [said], bag)
    return writer.dataset


def test_pictures_of_a_bag_are_more_alike_than_pictures_at_random() -> None:
    random = np.random.default_rng(0)
    centres = np.repeat(random.normal(size=(30, 16)), 4, axis=0)
    vectors = unit(centres + 0.3 * random.normal(size=(120, 16)))
    made = similar_bags(vectors, [str(i) for i in range(120)], [f"caption {i}" for i in range(120)], 4)
    assert len(made.bags) == 30
    pairs = [vectors[a] @ vectors[b] for bag in made.bags for i, a in enumerate(bag) for b in bag[i + 1 :]]
    assert np.isclose(made.within, np.mean(pairs))
    assert made.within > made.at_random + 0.5
    assert sorted(np.concatenate(made.bags)) == list(range(120)), "disjoint, and nobody is left out"


def test_a_bag_holds_no_two_pictures_of_a_group_or_of_a_caption() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(40, 8)))
    groups, captions = [str(i // 2) for i in range(40)], [f"Caption {i // 4}." for i in range(40)]
    made = similar_bags(vectors, groups, captions, 3)
    members = np.concatenate(made.bags)
    assert len({groups[i] for i in members}) == len({captions[i] for i in members}) == len(members)


@pytest.mark.parametrize("size", [2, 4])
def test_random_scores_are_right_once_in_a_bags_size_and_a_constant_too(size: int) -> None:
    random = np.random.default_rng(2)
    bags = list(np.arange(6000 * size).reshape(-1, size))
    image, text = (random.normal(size=(6000 * size, 12)) for _ in range(2))
    found = told_apart(image, text, bags)
    for name in ("i2t_r1", "t2i_r1", "text_score", "image_score", "group_score"):
        expected = chance(name, bags)
        if expected is None:
            assert found[name].mean() < found["text_score"].mean()
        else:
            assert abs(found[name].mean() - expected) < 4 * found[name].std() / np.sqrt(len(found[name]))
    same = told_apart(np.ones((8 * size, 3)), np.ones((8 * size, 3)), bags[:8])
    assert np.allclose(same["i2t_r1"], 1 / size)
    assert np.allclose(same["t2i_r1"], 1 / size)
    assert np.allclose(same["text_score"], chance("text_score", bags))


def test_winogrounds_scores_by_hand() -> None:
    # scores of the two bags: [[3, 2], [1, 4]] right in all; [[3, 1], [4, 5]]: texts right, the first image lost.
    image = np.array([[3, 2, 0, 0], [1, 4, 0, 0], [0, 0, 3, 1], [0, 0, 4, 5.0]])
    found = told_apart(image, np.eye(4), [np.array([0, 1]), np.array([2, 3])])
    assert found["text_score"].tolist() == [1, 1]
    assert found["image_score"].tolist() == [1, 0]
    assert found["group_score"].tolist() == [1, 0]
    assert found["t2i_r1"].tolist() == [1, 1, 0, 1]


def test_bags_of_the_data_an_oracle_a_constant_and_no_number(bagged: Dataset) -> None:
    ask = benchmark(label="bag")
    oracle = ask.measure(Reader(), bagged)
    assert {m.value for m in oracle.metrics} == {1.0}
    assert by_name(oracle.metrics)["group_score"].n == 4
    assert "random scores: 0.1667" in by_name(oracle.metrics)["group_score"].definition
    assert all(len(oracle.items[m.name]) == m.n for m in oracle.metrics)
    constant = by_name(ask.evaluate(Constant(), bagged))
    assert constant["i2t_r1"].value == constant["t2i_r1"].value == 0.5
    with pytest.raises(NotFinite):
        ask.evaluate(Broken(), bagged)
    with pytest.raises(DatasetError, match='no two pictures of one "bagg"'):
        benchmark(label="bagg").evaluate(Reader(), bagged)


def test_bags_that_are_made_are_the_same_for_every_model(shapes: Any) -> None:
    split = shapes(48, 2)
    found = [by_name(benchmark(size=4).evaluate(model, split)) for model in (Reader(), Constant(), Reader(noise=True))]
    assert found[0]["i2t_r1"].value > 2 * found[1]["i2t_r1"].value
    assert found[1]["i2t_r1"].value == 0.25
    alike = [one["i2t_r1"].definition.partition("mean cosine")[2] for one in found]
    assert len(set(alike)) == 1
    with pytest.raises(DatasetError, match="too few pictures for a bag of 200"):
        benchmark(size=200).evaluate(Reader(), split)
