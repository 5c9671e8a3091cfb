"""Embeddings of a shared space: by the towers or from their columns, the same unit vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_encoders import SHOWN, ours

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.filter.scorers.embeddings import (
    EmbeddingSettings,
    ImageEmbedding,
    TextEmbedding,
    TextEmbeddingSettings,
)
from pairwright.components.models.resolve import resolve_model

DIM, PAIRS = 16, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("space")
    ours(dim=DIM).save(place)
    return place


def batch(**columns: Any) -> PairBatch:
    texts = SHOWN.texts[:PAIRS]
    sidecar = [{"captions": [{"source": "alt", "ordinal": 0, "text": text, "lang": None}]} for text in texts]
    keys = [str(i) for i in range(PAIRS)]
    images = list(SHOWN.pictures[:PAIRS])
    return PairBatch(np.arange(PAIRS), keys, sidecar, images, columns={k: list(v) for k, v in columns.items()})


def scored(step: Any, pairs: PairBatch) -> np.ndarray:
    step.setup("cpu")
    return np.asarray(step.score(pairs)["vector"], np.float32)


def test_vectors_are_the_models_own_from_pictures_or_from_its_towers_columns(folder: Path) -> None:
    model = ours(dim=DIM)
    wish: dict[str, Any] = {"model": resolve_model(str(folder)), "width": DIM}
    pictures, texts = list(SHOWN.pictures[:PAIRS]), SHOWN.texts[:PAIRS]
    with torch.no_grad():
        features = {"f.image": model.image_features(pictures).numpy(), "f.text": model.text_features(texts).numpy()}
        expected = {"image": model.encode_image(pictures).numpy(), "text": model.encode_text(texts).numpy()}
    steps = {"image": (ImageEmbedding, EmbeddingSettings), "text": (TextEmbedding, TextEmbeddingSettings)}
    for side, (step, of) in steps.items():
        by_tower = step(of.parse(wish, "test"))  # type: ignore[attr-defined]
        by_column = step(of.parse(wish | {"features": f"f.{side}"}, "test"))  # type: ignore[attr-defined]
        assert np.abs(scored(by_tower, batch()) - expected[side]).max() < 1e-3
        assert np.abs(scored(by_column, batch(**features)) - expected[side]).max() < 1e-3
        assert by_column.pixels == 0
        assert by_column.column_names() == (f"f.{side}",)
    assert ImageEmbedding(EmbeddingSettings.parse(wish, "test")).pixels > 0


def test_a_width_that_is_not_the_spaces_is_refused(folder: Path) -> None:
    wish = EmbeddingSettings.parse({"model": resolve_model(str(folder)), "width": 32}, "test")
    with pytest.raises(ModelError, match="set width: 16"):
        ImageEmbedding(wish).setup("cpu")
