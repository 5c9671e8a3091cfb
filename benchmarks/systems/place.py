"""What claims share: the corpora, columns scored once, models trained once, all under one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.component import Benchmark, Component, FitInputs, Measured, Selection
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns, to_arrow
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.digest import op_digest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.formats import load_model
from pairwright.components.models.resolve import resolve_model
from pairwright.components.registry import component_class, find
from pairwright.components.training.run import train
from pairwright.components.training.task import Task
from pairwright.flows.planning.plan import COLUMN_KINDS, STEP
from pairwright.flows.planning.planning import resolve_models
from pairwright.flows.recipes import load_recipe

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
        """Columns of every pair of a dataset, by scorers, captioners and selections; those missing are made here.

        A step may read the columns and the captions of those before it.
        """
        view = ColumnsView(dataset, ColumnStore(str(self.folder / "columns")), places := {})
        jobs: list[ColumnJob] = []
        for step, (uses, said) in steps.items():
            made = _made(find(uses, COLUMN_KINDS), said, step)
            reads = {*(name.partition(".")[0] for name in made.column_names()), *made.caption_sources()} & places.keys()
            digest = op_digest(made, inputs={name: places[name].digest for name in sorted(reads)})
            if isinstance(made, Selection):
                self._scan(view, jobs)
                selected = StepColumns(uses, sha256_text(canonical([digest, dataset.digest])))  # it saw all pairs
                _select(view, selected, made)
                places[step] = selected
            else:
                places[step] = StepColumns(uses, digest)
                settings = made.settings.model_dump(mode="json")
                jobs.append(ColumnJob(step, made.kind, uses, settings, places[step], type(made).__module__))
        self._scan(view, jobs)
        return view

    def _scan(self, view: ColumnsView, jobs: Sequence[ColumnJob]) -> None:
        """Columns of these steps, which read those of selections beside."""
        if any(view.store.missing(job.columns, view.dataset.shards) for job in jobs):
            selected = {name: place for name, place in view.steps.items() if name not in {job.step for job in jobs}}
            task = ScanTask(tuple(jobs), view.store.root, captions={}, inputs=selected)
            task.setup()
            run_local(task, view.dataset.shards)

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
        made: Any = _made(cls, {**settings, "seed": seed}, task)
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
        if not (at / "config.json").exists() and type(made).fit is not Task.fit:  # it reads the columns itself
            made.fit(FitInputs(view), at)
        elif not (at / "config.json").exists():
            config |= {"folder": str(at), "checkpoints": str(self.folder / "checkpoints" / name)}
            train(config, 0, 1, lambda _: None)
        return at

    def measure(self, model: Path, uses: str, dataset: Dataset, **settings: Any) -> Measured:
        """A benchmark of a model: its metrics and its items."""
        cls = component_class("benchmark", uses)
        made: Any = cls(cls.settings_model().parse(settings, uses))
        assert isinstance(made, Benchmark)
        return made.measure(load_model(model, cls.protocol), dataset)


def of_recipe(recipe: str, names: Iterable[str], **fitted: Path) -> Steps:
    """These steps of a recipe as it says them, in this order; `fitted` are the folders its `step:NAME` stand for."""
    steps, folders = load_recipe(recipe).named_steps, {f"{STEP}{name}": str(at) for name, at in fitted.items()}
    return {
        name: (steps[name].uses, {key: folders.get(str(value), value) for key, value in steps[name].with_.items()})
        for name in names
    }


def _made(cls: type[Component], said: Mapping[str, Any], where: str) -> Component:
    """The component, `builtin:NAME` and models' folders in its settings resolved, however deep they stand."""
    return cls(resolve_models(cls.settings_model().parse(dict(said), where), resolve_model))


def _select(view: ColumnsView, place: StepColumns, made: Selection[Any]) -> None:
    """A selection's columns of all shards, if any are missing."""
    if not view.store.missing(place, view.dataset.shards):
        return
    made.setup("cpu")
    found, start = made.select(view), 0
    columns = {name: to_arrow(found[name], kind) for name, kind in made.schema().items()}
    for shard in view.dataset.shards:
        part = {name: column.slice(start, shard.rows) for name, column in columns.items()}
        view.store.write(place, shard.digest, part, shard.rows)
        start += shard.rows
