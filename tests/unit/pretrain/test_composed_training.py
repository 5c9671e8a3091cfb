"""Composed retrieval from shards and columns: a stopped training that goes on ends with the same bytes, and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from composed import TINY
from learning import features_view
from things import scenes_datasets

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.evaluate.benchmarks.composed_retrieval import ComposedRetrieval, ComposedRetrievalSettings
from pairwright.components.models.formats import load_model
from pairwright.components.registry import component_class
from pairwright.components.training.run import train

TOWER = {"tower": TINY["image_tower"].model_dump(mode="json")}
FEATURES = {"image_features": ("image_features", TOWER), "patch_features": ("patch_features", {**TOWER, "grid": 2})}
SMALL: dict[str, Any] = {"dim": 8, "steps": 6, "batch_size": 12, "warmup_steps": 1, "checkpoint_every": 2}
TASKS: dict[str, dict[str, Any]] = {
    "genecis_combiner": {"hidden": 16, "least": 3, "triplets": 500},
    "sprc": {"grid": 2, "width": 16, "layers": 1, "heads": 2, "queries": 2},
    "collm": {"width": 16, "layers": 1, "heads": 2},
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[ColumnsView, Dataset]:
    root = tmp_path_factory.mktemp("scenes")
    train_on, judge_on, _ = scenes_datasets(root, 60, 24)
    return features_view(train_on, root, FEATURES), judge_on


class Stopped(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_stopped_training_ends_with_the_same_bytes_and_its_model_answers(
    scenes: tuple[ColumnsView, Dataset], tmp_path: Path, name: str
) -> None:
    view, judge_on = scenes
    cls = component_class("fit", name)
    task: Any = cls(cls.settings_model().parse({**TINY, **SMALL, **TASKS[name]}, "test"))

    def config(run: str) -> dict[str, Any]:
        said = {"dataset": view.dataset, "store_root": view.store.root, "steps": view.steps, "pairs": None}
        made = task.train_config(**said, checkpoints=tmp_path / f"{run}.checkpoints", folder=tmp_path / run)
        return made | {"threads": 1}

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 5:
            raise Stopped

    train(config("whole"), 0, 1, lambda metrics: None)
    with pytest.raises(Stopped):
        train(config("stopped"), 0, 1, stop)
    train(config("stopped"), 0, 1, lambda metrics: None)
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert {"model.safetensors", "config.json", "card.md"} <= set(files)
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "stopped" / file).read_bytes(), file
    model = load_model(tmp_path / "whole", "retriever")
    found = ComposedRetrieval(ComposedRetrievalSettings()).measure(model, judge_on)
    assert {metric.n for metric in found.metrics} == {24}


def test_a_combiner_starts_from_a_dual_encoders_projections(
    scenes: tuple[ColumnsView, Dataset], tmp_path: Path
) -> None:
    from learning import tiny_model
    from safetensors.torch import load_file

    from pairwright.components.models.resolve import resolve_model
    from pairwright.components.pretrain.composed.genecis_combiner import GenecisCombiner, GenecisCombinerSettings

    view, _ = scenes
    root = tmp_path / "clip"
    texts = {"text_features": ("text_features", {"tower": TINY["text_tower"].model_dump(mode="json"), "source": "alt"})}
    first = tiny_model(features_view(view.dataset, root, {**FEATURES, **texts}), root, dim=8, steps=2)
    wish = {**TINY, **SMALL, **TASKS["genecis_combiner"], "init": resolve_model(str(first)), "steps": 1, "lr": 1e-12}
    task = GenecisCombiner(GenecisCombinerSettings.parse(wish, "test"))
    said = {"dataset": view.dataset, "store_root": view.store.root, "steps": view.steps, "pairs": None}
    train(task.train_config(**said, checkpoints=tmp_path / "c", folder=tmp_path / "m"), 0, 1, lambda metrics: None)
    before, after = load_file(first / "model.safetensors"), load_file(tmp_path / "m" / "model.safetensors")
    for side in ("image", "text"):
        name = f"{side}_projection.map.weight"
        assert (before[name] - after[name]).abs().max() < 1e-6
    assert float(after["log_scale"].exp()) == pytest.approx(100.0)  # s is the loss's own, not the encoder's
