"""A tower in bfloat16: near float32 on real pictures and texts, its price recorded; without a compiler as written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shapes import shapes_dataset
from torch import nn

from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.dual_encoders.features import ImageFeaturesSettings, TextFeaturesSettings
from pairwright.components.models.towers.bfloat16_tower import Bfloat16Images, Bfloat16Texts
from pairwright.components.models.towers.int8_tower import sample
from pairwright.components.models.towers.tower import ImageTower
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower

TEXTS = ["a red square", "two blue circles on the left of a green triangle", "", "nothing at all"]


class Small(ImageTower):
    """One layer: what a compiler takes seconds for."""

    kind, width, side = "small", 8, 16

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16 * 16 * 3, 8)
        self.lock("small")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(images.flatten(1).float() / 255).relu()
        return features


def pictures(tmp_path: Path, side: int, count: int = 6) -> np.ndarray:
    return sample(shapes_dataset(tmp_path, count, 1, size=64).root, count, side)


@pytest.mark.parametrize(("name", "least"), [("builtin:efficientnet-lite0", 0.99), ("builtin:tiny-image", 0.999)])
def test_pictures_in_bfloat16_are_near_float32_and_the_price_is_measured_on_the_first(
    tmp_path: Path, name: str, least: float
) -> None:
    plain = load_image_tower(name)
    seen = pictures(tmp_path, plain.side)
    tower = Bfloat16Images(plain, compiled=False)
    assert "mean_cosine" not in tower.facts
    found, wanted = tower.features(seen), plain.features(seen)
    cosines = torch.cosine_similarity(found, wanted)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted), "halves, not the same numbers"
    assert float(cosines.min()) > least
    assert tower.facts["mean_cosine"] == pytest.approx(float(cosines.mean()), abs=1e-4)
    assert tower.facts["least_cosine"] == pytest.approx(float(cosines.min()), abs=1e-4)
    assert tower.facts["measured_on"] == len(seen)
    with pytest.raises(ModelError, match="for features alone"):
        tower.config()


def test_texts_too() -> None:
    plain = load_text_tower("builtin:tiny-text")
    tower = Bfloat16Texts(plain, compiled=False)
    found, wanted = tower.features(TEXTS), plain.features(TEXTS)
    assert not torch.equal(found, wanted)
    assert float(torch.cosine_similarity(found, wanted).min()) > 0.999
    assert tower.facts["least_cosine"] > 0.999


@pytest.mark.slow
def test_compiled_it_gives_the_same_for_any_number_of_pictures(tmp_path: Path) -> None:
    seen = pictures(tmp_path, Small.side)
    tower, as_written = Bfloat16Images(Small(), compiled=True), Bfloat16Images(Small(), compiled=False)
    for count in (6, 3):
        found, wanted = tower.features(seen[:count]), as_written.features(seen[:count])
        assert float(torch.cosine_similarity(found, wanted).min()) > 0.9999
    assert tower.facts["compiled"] is True, "else the test compares a tower with itself"


@pytest.mark.slow
def test_without_a_compiler_it_says_so_and_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    torch._dynamo.reset()
    tower = Bfloat16Images(Small(), compiled=True)
    seen = pictures(tmp_path, Small.side)
    with caplog.at_level(logging.WARNING):
        found = tower.features(seen)
    assert torch.equal(found, Bfloat16Images(Small(), compiled=False).features(seen))
    assert tower.facts["compiled"] is False
    assert "runs without torch.compile" in caplog.text


def test_the_price_stands_in_the_columns_record(tmp_path: Path) -> None:
    dataset = shapes_dataset(tmp_path, 8, 1, size=64)
    for step, uses, tower in (
        ("image_features", "image_features", "builtin:tiny-image"),
        ("text_features", "text_features", "builtin:tiny-text"),
    ):
        job = ColumnJob(step, "scorer", uses, {"tower": tower, "precision": "bfloat16"}, StepColumns(uses, "d"))
        task = ScanTask([job], str(tmp_path / "columns"), captions={})
        run_local(task, dataset.shards)
        record: Any = task.store.record(job.columns, dataset.shards[0].digest)
        assert record["facts"]["precision"] == "bfloat16"
        assert 0.999 < record["facts"]["mean_cosine"] <= 1.0001


def test_compile_is_of_bfloat16_alone() -> None:
    for settings in (ImageFeaturesSettings, TextFeaturesSettings):
        with pytest.raises(InvalidRecipe, match="give `precision: bfloat16`"):
            settings.parse({"compile": True}, "features")
