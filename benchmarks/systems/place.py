"""What claims share: the corpora, columns scored once, models trained once, all under one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.component import Benchmark, Component, Measured
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.digest import op_digest
from pairwright.components.errors import UnknownComponent
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.formats import load_model
from pairwright.components.models.resolve import resolve_model
from pairwright.components.registry import component_class
from pairwright.components.training.run import train

ROOT = Path(__file__).resolve().parents[2]
IMAGE, TEXT = "builtin:efficientnet-lite0", "builtin:minilm"
Steps = Mapping[str, tuple[str, dict[str, Any]]]


def features(*sources: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Steps that leave features of the locked towers: `image_features`, and `text_SOURCE` of each source."""
    texts = {f"text_{source}": ("text_features", {"tower": TEXT, "source": source}) for source in sources}
    return {"image_features": ("image_features", {"tower": IMAGE})} | texts


def heads(*sources: str, **more: Any) -> dict[str, Any]:
    """Settings of a dual encoder on locked towers, to be trained on `features(*sources)`."""
    return {
        "image_tower": IMAGE,
        "text_tower": TEXT,
        "trainable": "heads",
        "dim": 256,
        "steps": 300,
        "batch_size": 256,
        "lr": 1e-3,
        "warmup_steps": 20,
        "captions": {sources[0]: 1.0},
        "image_features": "image_features.vector",
        "text_features": {source: f"text_{source}.vector" for source in sources},
    } | more


class Place:
    """Corpora, columns and models of a folder; whatever is there already is not made again."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def corpus(self, name: str) -> Dataset:
        """`data/NAME` of the repository.

        Raises:
            DatasetError: it is not there; `make data` pulls it.
        """
        return open_dataset(str(ROOT / "data" / name))

    def scenes(self) -> tuple[Dataset, Dataset]:
        """Composed scenes to train on and to judge on: fewer than `build/scenes` of the recipes, and begun alike."""
        at = self.folder / "scenes"
        if not (at / "scenes-test" / "dataset.json").exists():
            ingest_all("scenes", str(ROOT / "data" / "emoji"), str(at), count=1200, evaluation_count=300)
        return open_dataset(str(at / "scenes")), open_dataset(str(at / "scenes-test"))

    def view(self, dataset: Dataset, steps: Steps) -> ColumnsView:
        """Columns of every pair of a dataset, by scorers and captioners; those missing are made in this process.

        A step may read the columns and the captions of those before it.
        """
        store, places = ColumnStore(str(self.folder / "columns")), {}
        jobs: list[ColumnJob] = []
        for step, (uses, said) in steps.items():
            cls = _scans(uses)
            settings = {name: _resolved(value) for name, value in said.items()}
            made = cls(cls.settings_model().parse(settings, step))
            reads = {*(name.partition(".")[0] for name in made.column_names()), *made.caption_sources()} & places.keys()
            digest = op_digest(made, inputs={name: places[name].digest for name in sorted(reads)})
            places[step] = StepColumns(uses, digest)
            jobs.append(ColumnJob(step, cls.kind, uses, settings, places[step], cls.__module__))
        if any(store.missing(job.columns, dataset.shards) for job in jobs):
            task = ScanTask(tuple(jobs), str(self.folder / "columns"), captions={}, inputs={})
            task.setup()
            run_local(task, dataset.shards)
        return ColumnsView(dataset, store, places)

    def pairs(self, rows: Sequence[tuple[str, int]]) -> Path:
        """A list of (shard digest, row) as the file that `train` takes."""
        name = sha256_text(canonical([list(one) for one in rows]))[:16]
        path = self.folder / "pairs" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        shards, numbers = zip(*rows, strict=True)
        table = {"shard": pa.array(shards, pa.string()), "row": pa.array(numbers, pa.int64())}
        pq.write_table(pa.table(table), path)
        return path

    def train(
        self, task: str, settings: Mapping[str, Any], view: ColumnsView, seed: int, pairs: Path | None = None
    ) -> Path:
        """The folder of a model of task `task`; trained in this process unless the same was trained before."""
        cls = component_class("fit", task)
        said = {name: _resolved(value) for name, value in settings.items()} | {"seed": seed}
        made: Any = cls(cls.settings_model().parse(said, task))
        config = made.train_config(
            dataset=view.dataset,
            store_root=view.store.root,
            steps=view.steps,
            pairs=pairs,
            checkpoints=str(self.folder / "checkpoints"),
            folder="",
            device="cpu",
            precision="float32",
        )
        name = sha256_text(canonical({"config": config, "op": op_digest(made)}))[:16]
        at = self.folder / "models" / f"{task}-{name}"
        if not (at / "config.json").exists():
            config |= {"folder": str(at), "checkpoints": str(self.folder / "checkpoints" / name)}
            train(config, 0, 1, lambda _: None)
        return at

    def measure(self, model: Path, uses: str, dataset: Dataset, **settings: Any) -> Measured:
        """A benchmark of a model: its metrics and its items."""
        cls = component_class("benchmark", uses)
        made: Any = cls(cls.settings_model().parse(settings, uses))
        assert isinstance(made, Benchmark)
        return made.measure(load_model(model, cls.protocol), dataset)


def _scans(uses: str) -> type[Component]:
    """The scorer of that name, or the captioner."""
    try:
        return component_class("scorer", uses)
    except UnknownComponent:
        return component_class("captioner", uses)


def _resolved(value: Any) -> Any:
    """`builtin:NAME`, or a model's folder, as the folder and hash that a component takes, however deep it stands."""
    if isinstance(value, dict):
        return {name: _resolved(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    if isinstance(value, str) and value.startswith("builtin:"):
        return resolve_model(value).model_dump(mode="json")
    if isinstance(value, str) and (Path(value) / "config.json").exists():
        return resolve_model(value).model_dump(mode="json")
    return value
