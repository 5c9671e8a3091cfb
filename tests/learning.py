"""Small training runs on the shapes, shared by the tests of models, pretraining and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.components.component import FitInputs
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import Population
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.digest import op_digest
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import component_class

TINY_IMAGE, TINY_TEXT = resolve_model("builtin:tiny-image"), resolve_model("builtin:tiny-text")
FEATURES: dict[str, tuple[str, dict[str, Any]]] = {
    "image_features": ("image_features", {"tower": TINY_IMAGE.model_dump(mode="json")}),
    "text_features": ("text_features", {"tower": TINY_TEXT.model_dump(mode="json"), "source": "alt"}),
    "keyword_features": ("text_features", {"tower": TINY_TEXT.model_dump(mode="json"), "source": "keywords"}),
}


def features_view(
    dataset: Dataset, root: Path, features: Mapping[str, tuple[str, dict[str, Any]]] = FEATURES
) -> ColumnsView:
    """Tiny towers' features of every pair, as columns under `root`/columns."""
    jobs, steps = [], {}
    for step, (uses, settings) in features.items():
        cls = component_class("scorer", uses)
        place = StepColumns(uses, op_digest(cls(cls.settings_model().parse(settings, step))))
        steps[step] = place
        jobs.append(ColumnJob(step, "scorer", uses, settings, place, cls.__module__))
    task = ScanTask(tuple(jobs), str(root / "columns"), captions={}, inputs={})
    task.setup()
    reports = run_local(task, dataset.shards)
    assert not any(count for report in reports for count in report.failed.values())
    return ColumnsView(dataset, ColumnStore(str(root / "columns")), steps)


def tiny_settings(**changes: Any) -> DualEncoderSettings:
    """A dual encoder of tiny towers that trains in a second."""
    values: dict[str, Any] = {
        "image_tower": TINY_IMAGE,
        "text_tower": TINY_TEXT,
        "dim": 16,
        "steps": 12,
        "batch_size": 16,
        "lr": 3e-3,
        "warmup_steps": 2,
        "checkpoint_every": 4,
    }
    return DualEncoderSettings.parse(values | changes, "test")


def tiny_config(view: ColumnsView, root: Path, name: str = "run", pairs: Any = None, **changes: Any) -> dict[str, Any]:
    """`train`'s configuration; checkpoints in `root`/`name`.checkpoints, the model in `root`/`name`."""
    made = FitDualEncoder(tiny_settings(**changes)).train_config(
        dataset=view.dataset,
        store_root=view.store.root,
        steps=view.steps,
        pairs=pairs,
        checkpoints=root / f"{name}.checkpoints",
        folder=root / name,
    )
    return made | {"threads": 1}


def tiny_model(view: ColumnsView, root: Path, **changes: Any) -> Path:
    """A trained model's folder."""
    folder = root / "model"
    FitDualEncoder(tiny_settings(**changes)).fit(FitInputs(view), folder)
    return folder


def heads_on(population: Population, **changes: Any) -> Any:
    """A dual encoder whose heads learnt from columns of features, in this process."""
    import torch

    from pairwright.components.training.here import fit_here

    task = FitDualEncoder(tiny_settings(**changes))
    task.device = torch.device("cpu")
    torch.manual_seed(task.settings.seed)
    task.prepare()
    fit_here(task, population)
    return task.model
