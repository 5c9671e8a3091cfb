"""Not finite is an error at every border: a NaN never becomes a rank, a weight, a cluster or a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.component import Metric
from pairwright.components.dataset.shards.scoring import _finite
from pairwright.components.errors import ModelError, NotFinite
from pairwright.components.evaluate.benchmarks.composed_query import ComposedQuery, ComposedQuerySettings
from pairwright.components.evaluate.benchmarks.retrieval import Retrieval, RetrievalSettings
from pairwright.components.evaluate.benchmarks.zero_shot import ZeroShot, ZeroShotSettings
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
from pairwright.components.evaluate.split import Pictures, SplitFeatures
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean, bootstrap_median, paired_bootstrap
from pairwright.components.finite import require_finite
from pairwright.components.models.clustering.kmeans import assign, fit_kmeans
from pairwright.components.training.finite_steps import FiniteSteps
from pairwright.components.training.heads import fit_heads

faults = st.sampled_from([math.nan, math.inf, -math.inf])
N = 12


def spoilt(rows: int, width: int, at: tuple[int, int] | None, value: float) -> torch.Tensor:
    values = torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(1)), dim=1)
    if at is not None:
        values[at[0] % rows, at[1] % width] = value
    return values


class Given:
    """A model whose vectors are what it is given."""

    def __init__(self, text: torch.Tensor) -> None:
        self.text = text

    def encode_image_features(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def encode_text_features(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return self.text[torch.arange(len(texts)) % len(self.text)]


BENCHMARKS = {
    "retrieval": Retrieval(RetrievalSettings()),
    "zero_shot": ZeroShot(ZeroShotSettings(templates=["{}"])),
    "composed_query": ComposedQuery(ComposedQuerySettings(change="colour", same=("category",))),
}


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(BENCHMARKS)),
    side=st.sampled_from(["image", "text", None]),
    at=st.tuples(st.integers(0, N - 1), st.integers(0, 7)),
    value=faults,
)
def test_a_value_that_is_not_finite_anywhere_is_no_metric(
    name: str, side: str | None, at: tuple[int, int], value: float
) -> None:
    image = spoilt(N, 8, at if side == "image" else None, value)
    text = spoilt(N if name == "retrieval" else 3, 8, at if side == "text" else None, value)
    labels = [{"category": f"c{i % 3}", "colour": ("red", "blue", "green")[i // 3 % 3]} for i in range(N)]
    groups = [str(i) for i in range(N)]
    split = SplitFeatures(image, text, [f"caption {i}" for i in range(N)], np.arange(N), groups, labels, 0)
    pictures = Pictures(image, groups, labels, [], 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairwright.components.evaluate.split.features_of", lambda *a, **k: split)
        patch.setattr("pairwright.components.evaluate.split.pictures_of", lambda *a, **k: pictures)
        model: Any = Given(text)
        dataset: Any = SimpleNamespace(name="dev")
        if side is None:
            metrics = BENCHMARKS[name].evaluate(model, dataset)
            assert all(math.isfinite(m.value) for m in metrics)
        else:
            with pytest.raises(NotFinite):
                BENCHMARKS[name].measure(model, dataset)


@settings(deadline=None)
@given(at=st.tuples(st.integers(0, 4), st.integers(0, 5)), value=faults, side=st.sampled_from([0, 1]))
def test_a_vector_that_is_not_finite_has_no_rank(at: tuple[int, int], value: float, side: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
    vectors[side][at] = value
    right = Positives(np.arange(5), np.arange(5), np.arange(5))
    with pytest.raises(NotFinite, match=f"first at .{at[0]}, {at[1]}"):
        retrieval_ranks(*vectors, right)


def test_finite_vectors_whose_product_is_not_have_no_rank() -> None:
    vectors = np.full((2, 5, 6), 3e38, np.float32)
    with pytest.raises(NotFinite, match="product of the longest vectors"):
        retrieval_ranks(*vectors, Positives(np.arange(5), np.arange(5), np.arange(5)))


@settings(deadline=None)
@given(at=st.integers(0, 9), value=faults)
def test_no_interval_is_drawn_from_what_is_not_finite(at: int, value: float) -> None:
    values = np.linspace(0, 1, 10)
    values[at] = value
    for make in (bootstrap_mean, bootstrap_median, lambda v: paired_bootstrap(v, np.zeros(10))):
        with pytest.raises(NotFinite):
            make(values)


@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_a_metric_is_finite(field: str) -> None:
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6} | {field: math.nan}
    with pytest.raises(NotFinite, match="metric r1"):
        Metric("r1", n=10, definition="", **numbers)


@settings(max_examples=8, deadline=None)
@given(at=st.tuples(st.integers(0, 39), st.integers(0, 7)), value=faults, half=st.booleans())
def test_what_is_not_finite_is_neither_clustered_nor_learnt_from(at: tuple[int, int], value: float, half: bool) -> None:
    good = spoilt(40, 8, None, 0.0).numpy()
    bad = spoilt(40, 8, at, value).numpy().astype(np.float16 if half else np.float32)
    clusters = fit_kmeans(good, 3)
    with pytest.raises(NotFinite):
        fit_kmeans(bad, 3)
    with pytest.raises(NotFinite):
        assign(bad, clusters)
    for image, text in ((bad, good), (good, bad)):
        with pytest.raises(NotFinite):
            fit_heads(image, text, dim=4, steps=2)


@settings(deadline=None)
@given(
    vectors=st.lists(
        st.lists(st.sampled_from([0.0, 1.0, math.nan, math.inf]), min_size=2, max_size=2) | st.none(), max_size=12
    ),
    numbers=st.data(),
)
def test_a_component_that_gives_no_finite_number_gives_a_row_with_a_reason(vectors: list[Any], numbers: Any) -> None:
    size = len(vectors)
    scores = numbers.draw(st.lists(st.sampled_from([0.5, math.nan, -math.inf, None]), min_size=size, max_size=size))
    made: Mapping[str, pa.Array] = {
        "vector": pa.array(vectors, pa.list_(pa.float32(), 2)),
        "score": pa.array(scores, pa.float32(), from_pandas=False),
    }
    columns, errors = _finite(dict(made), size)
    for row in range(size):
        whole = vectors[row] is not None and all(map(math.isfinite, vectors[row]))
        assert columns["vector"][row].as_py() == (vectors[row] if whole else None)
        known = scores[row] is not None and math.isfinite(scores[row])
        assert columns["score"][row].as_py() == (scores[row] if known else None)
        faulty = [
            name
            for name, bad in (
                ("vector", vectors[row] is not None and not whole),
                ("score", scores[row] is not None and math.isinf(scores[row])),
            )
            if bad
        ]
        assert errors[row] == (f"not_finite:{faulty[0]}" if faulty else None)


def test_three_steps_in_a_row_end_the_training_and_name_the_pairs() -> None:
    steps = FiniteSteps("lower lr")
    assert steps.allow(1.0, 1.0, ["a"])
    assert not steps.allow(1.0, math.nan, ["b"])
    assert not steps.allow(math.inf, 1.0, ["c"])
    assert steps.allow(1.0, 1.0, ["d"])
    for _ in range(2):
        assert not steps.allow(math.nan, 1.0, ["e"])
    with pytest.raises(ModelError, match=r"3 steps in a row.*k0, k1, .*k7 and 4 more; lower lr"):
        steps.allow(math.nan, 1.0, [f"k{i}" for i in range(12)])
    assert (steps.skipped, steps.in_a_row) == (5, 3)


@pytest.mark.parametrize("values", [3, [1.0, 2.0], np.zeros((2, 0)), torch.ones(3), torch.ones(2).bfloat16()])
def test_finite_values_pass(values: Any) -> None:
    require_finite(values, "they")


def test_the_message_is_one_line_that_names_the_values() -> None:
    with pytest.raises(NotFinite, match=r"^the loss: nan is not finite; lower lr$"):
        require_finite(math.nan, "the loss", "lower lr")
    with pytest.raises(NotFinite, match=r"^x: 1 of 4 values \(the first at \[1, 0\]\) are not finite; mend it$"):
        require_finite(torch.tensor([[0.0, 1.0], [math.inf, 0.0]]), "x", "mend it")
