"""An int8 tower: near float32 on real pictures, its price recorded beside it and with the columns it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from shapes import shapes_dataset

from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.digest import op_digest
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.dual_encoders.features import ImageFeatures, ImageFeaturesSettings
from pairwright.components.models.towers.int8_tower import int8_tower, sample
from pairwright.components.models.towers.towers import load_image_tower

TOWER = "builtin:efficientnet-lite0"


def settings(**said: object) -> ImageFeaturesSettings:
    return ImageFeaturesSettings.parse({"tower": TOWER, **said}, "step features")


@pytest.mark.slow
def test_the_price_of_int8_is_measured_and_stands_in_the_columns_record(tmp_path: Path) -> None:
    dataset = shapes_dataset(tmp_path, 40, 2, size=64)
    folder = Path(dataset.root)
    pictures = sample(str(folder), 400, 224)
    plain = load_image_tower(TOWER)
    tower = int8_tower(plain, str(folder))
    cosines = torch.cosine_similarity(tower.features(pictures[1::2]), plain.features(pictures[1::2]))
    assert 0.9 < float(cosines.mean()) < 0.9999, "integers, and near"
    assert tower.facts["mean_cosine"] == pytest.approx(float(cosines.mean()), abs=1e-3)
    beside = json.loads(Path(tower.graph.path).with_name("about.json").read_text())
    assert beside["mean_cosine"] == tower.facts["mean_cosine"]
    with_ = {"tower": TOWER, "precision": "int8", "calibration": str(folder)}
    job = ColumnJob("f", "scorer", "image_features", with_, StepColumns("f", "d"))
    task = ScanTask([job], str(tmp_path / "columns"))
    run_local(task, dataset.shards[:1])
    record = task.store.record(job.columns, dataset.shards[0].digest)
    assert record is not None
    assert record["facts"]["precision"] == "int8"
    assert record["facts"]["mean_cosine"] == tower.facts["mean_cosine"]


def test_the_sample_is_spread_over_the_set_and_always_the_same(tmp_path: Path) -> None:
    dataset = shapes_dataset(tmp_path, 24, 3, size=40)
    first, again = sample(dataset.root, 6, 32), sample(dataset.root, 6, 32)
    assert first.shape == (6, 32, 32, 3)
    assert (first == again).all()
    assert len({picture.tobytes() for picture in first}) == 6


def test_int8_is_asked_for_whole_and_digested_by_the_pictures(tmp_path: Path) -> None:
    a = shapes_dataset(tmp_path / "a", 20, 1)
    b = shapes_dataset(tmp_path / "b", 20, 1, start=500)
    with pytest.raises(InvalidRecipe, match="go together; give both or neither"):
        settings(precision="int8")
    with pytest.raises(InvalidRecipe, match="go together"):
        settings(calibration=a.root)
    resolved = load_image_tower("builtin:tiny-image")
    with pytest.raises(ModelError, match="16 at least, not on 12"):
        int8_tower(resolved, shapes_dataset(tmp_path / "few", 12, 1).root)
    from pairwright.components.models.resolve import resolve_model

    tower = resolve_model(TOWER)
    digests = {
        op_digest(ImageFeatures(ImageFeaturesSettings(tower=tower, **said)))
        for said in ({}, {"precision": "int8", "calibration": a.root}, {"precision": "int8", "calibration": b.root})
    }
    assert len(digests) == 3
