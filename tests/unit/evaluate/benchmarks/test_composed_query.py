"""Image + text queries: the recoloured shape is found more often by both than by either alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import features_view, tiny_config
from shapes import shapes_dataset

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.benchmarks.composed_query import ComposedQuery, ComposedQuerySettings, composed
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.training.run import train

OPTIONS: dict[str, Any] = {"change": "colour", "same": ["category"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[DualEncoder, Dataset]:
    """Tiny towers trained on 96 shapes, and 96 others to ask about."""
    root = tmp_path_factory.mktemp("composed")
    view = features_view(shapes_dataset(root, 96, 1, size=48), root)
    changes: dict[str, Any] = {"trainable": "all", "steps": 150, "batch_size": 48, "lr": 3e-3, "dim": 32}
    changes["checkpoint_every"] = 1000
    changes["captions"] = {"alt": 0.3, "keywords": 0.7}
    train(tiny_config(view, root, **changes), 0, 1, lambda m: None)
    return load_dual_encoder(root / "run"), shapes_dataset(root, 96, 1, name="asked", start=5000, size=48)


def recalls(trained: tuple[DualEncoder, Dataset], **options: Any) -> dict[str, Metric]:
    component = ComposedQuery(ComposedQuerySettings(**OPTIONS | options))
    return {metric.name: metric for metric in component.evaluate(*trained)}


@pytest.mark.slow
def test_both_find_the_recoloured_shape_more_often_than_either_alone(trained: tuple[DualEncoder, Dataset]) -> None:
    found = recalls(trained)
    assert found["both_r1"].n == 96 * 3
    assert found["both_r1"].low > found["image_r1"].high
    assert found["both_r1"].low > found["text_r1"].high


def test_a_weight_of_zero_asks_by_the_picture_alone(trained: tuple[DualEncoder, Dataset]) -> None:
    found = recalls(trained, weight=0.0)
    assert found["both_r1"].value == found["image_r1"].value


@given(st.integers(0, 99), st.floats(0, 3))
@settings(deadline=None)
def test_queries_are_unit_vectors_and_the_sum_leans_to_both(seed: int, weight: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(2, 5, 8))
    image, text = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    found = composed(image, text, weight)
    assert np.linalg.norm(found["both"], axis=1) == pytest.approx(1)
    assert ((found["both"] * image).sum(1) >= (text * image).sum(1) - 1e-9).all()


def test_a_label_of_one_value_is_one_line(trained: tuple[DualEncoder, Dataset]) -> None:
    with pytest.raises(DatasetError, match="no two values"):
        recalls(trained, change="weather")
