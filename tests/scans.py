"""Scorers and captioners on planted pictures, through the real scan: shards in, columns out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil

from pairwright.components.component import Captioner, Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.registry import find


def png(image: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Pil.fromarray(image).save(stream, "PNG", **options)
    return stream.getvalue()


def write(
    root: Path, pairs: Mapping[str, tuple[bytes, str | None] | tuple[bytes, str | None, dict[str, str]]]
) -> Dataset:
    """A dataset of one shard: key -> (encoded picture, alt-text or None, texts of other sources)."""
    with ShardWriter(f"{root}/data", "planted") as writer:
        for key, (data, text, *more) in pairs.items():
            texts = [caption(text)] if text is not None else []
            texts += [caption(other, source=source) for source, other in (more[0] if more else {}).items()]
            writer.add(key, [("image", "image", "png", data)], texts)
    return writer.dataset


def scan(root: Path, dataset: Dataset, *steps: tuple[str, dict[str, Any]]) -> ColumnsView:
    """Columns of these components, each a step of its own name, over the whole dataset."""
    jobs = [ColumnJob(name, find(name).kind, name, options, StepColumns(name, "d")) for name, options in steps]
    task = ScanTask(jobs, f"{root}/columns")
    task.setup()
    for shard in dataset.shards:
        task.run(shard)
    return ColumnsView(dataset, ColumnStore(f"{root}/columns"), {job.step: job.columns for job in jobs})


def scored(root: Path, dataset: Dataset, *steps: tuple[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """`scan`'s columns as lists, `step._error` among them."""
    view = scan(root, dataset, *steps)
    names = [f"{name}.{column}" for name, options in steps for column in [*columns_of(name, options), "_error"]]
    return {name: view.column(name).to_pylist() for name in names}


def columns_of(name: str, options: Mapping[str, Any] | None = None) -> list[str]:
    cls = find(name)
    if issubclass(cls, Captioner):
        return ["text", "lang", "note", "status"]
    assert issubclass(cls, Scorer)
    return list(cls(cls.settings_model().parse(options, name)).schema())
