"""A captioner's folder names the tower whose features it was taught on, as the columns' record has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from populations import view_of
from vectors import vector_column

from pairwright.components.component import FitInputs
from pairwright.components.models.captioner.folder import TaughtOn, load_captioner, taught_on
from pairwright.components.models.dual_encoders.features import (
    ImageFeatures,
    ImageFeaturesSettings,
    TextFeatures,
    TextFeaturesSettings,
)
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask

WIDTH, PAIRS = 8, 24
SMALL = {"width": 16, "heads": 2, "layers": 1, "prefix": 1, "max_words": 3, "least": 1, "steps": 2, "batch_size": 8}
WORDS = {str(number): f"a {'red' if number % 2 else 'blue'} shape" for number in range(PAIRS)}


def taught(folder: Path, facts: dict[str, str] | None) -> Path:
    rows = np.random.default_rng(0).normal(size=(PAIRS, WIDTH)).astype(np.float32)
    view = view_of(folder / "data", {"image_features.vector": vector_column(rows)}, captions=WORDS)
    for shard in view.dataset.shards:  # again, with what its maker noted
        columns = {"vector": view.store.read(view.steps["image_features"], shard)["vector"].combine_chunks()}
        view.store.write(view.steps["image_features"], shard.digest, columns, shard.rows, facts)
    settings = CaptionerSettings.parse(SMALL | {"warmup_steps": 0}, "test")
    CaptionerTask(settings).fit(FitInputs(view), folder / "model")
    return folder / "model"


def test_the_tower_and_its_weights_go_from_the_step_that_ran_it_into_the_folder(tmp_path: Path) -> None:
    tower = resolve_model("builtin:tiny-image")
    step = ImageFeatures(ImageFeaturesSettings(tower=tower))
    step.setup("cpu")
    folder = taught(tmp_path, dict(step.made_by))
    assert taught_on(folder) == TaughtOn("builtin:tiny-image", str(tower.weights), "image", "float32")
    assert load_captioner(folder).parts["image"].size == WIDTH
    assert f"`builtin:tiny-image` ({str(tower.weights)[:12]})" in (folder / "card.md").read_text()


def test_where_the_record_names_no_tower_nor_does_the_folder(tmp_path: Path) -> None:
    folder = taught(tmp_path, None)
    assert taught_on(folder) is None
    assert "does not name" in (folder / "card.md").read_text()


def test_texts_and_other_precisions_are_told_apart() -> None:
    step = TextFeatures(TextFeaturesSettings(tower=resolve_model("builtin:tiny-text"), precision="bfloat16"))
    step.setup("cpu")
    step.tower.features(["a red circle"])
    noted = TaughtOn.noted(step.made_by)
    assert noted is not None
    assert (noted.side, noted.precision) == ("text", "bfloat16")
    assert "mean_cosine" in step.made_by
