"""What a training worker is told: JSON all through, so any launcher can carry it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pairwright.components.digest import described
from pairwright.components.errors import InvalidRecipe
from pairwright.components.hashing import canonical, file_sha256, sha256_text
from pairwright.components.registry import component_class, load_class, named_component
from pairwright.components.settings import Named
from pairwright.components.source_code import source_digest

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.shards.columns import StepColumns
    from pairwright.components.training.contract import TaskBase


class StepPlace(BaseModel):
    """`StepColumns`, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    component: str
    digest: str


class TrainConfig(BaseModel):
    """One training run.

    Attributes:
        task: its registered name; `module` registers it, which saves importing every other.
        named: modules of the components that the settings name (objectives), to be imported first.
        dataset: root of the dataset; `shards` are the digests of those trained on, in order.
        store_root: root of the column files; `steps` says where each step's are.
        pairs: Parquet of (shard, row) to train on; every pair if None.
        checkpoints: folder of checkpoints and of `metrics.jsonl`, timings included.
        folder: where the model goes when training ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    module: str = ""
    named: list[tuple[str, str, str]] = Field(default_factory=list, description="(kind, name, module)")
    dataset: str
    shards: list[str]
    store_root: str
    steps: Mapping[str, StepPlace]
    pairs: str | None = None
    pairs_digest: str = ""
    checkpoints: str
    folder: str
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int = Field(0, ge=0, description="torch threads a worker; 0 leaves torch's own choice")
    settings: dict[str, Any]
    code: str = Field("", description="digest of the task's code and of what its settings name, as it was planned")

    def make_task(self) -> TaskBase[Any]:
        """The task with its settings.

        Raises:
            UnknownComponent: this worker cannot import it, or what its settings name.
            InvalidRecipe: its settings are wrong, or its code was changed after it was planned.
        """
        for kind, name, module in self.named:
            load_class(kind, name, module)
        cls = load_class("fit", self.task, self.module)
        made: Any = cls(cls.settings_model().parse(self.settings, f"task {self.task}"))
        if self.code and self.code != _code_of(type(made).__module__, self.named):
            raise InvalidRecipe(
                f"the code of {self.task}, or of what its settings name, was changed after this run had planned it: "
                "the model would stand under the code of before; run the same command again"
            )
        return made  # type: ignore[no-any-return]

    def digest(self, task: TaskBase[Any], precision: str) -> str:
        """What decides the weights, the trainer's code included: a checkpoint of another digest is another run's."""
        said: dict[str, Any] = {
            "task": described(task),
            "shards": self.shards,
            "steps": {name: place.digest for name, place in self.steps.items()},
            "pairs": self.pairs_digest,
            "precision": precision,
            "source": source_digest("pairwright.components.training.run"),
        }
        return sha256_text(canonical(said))


def config_of(
    task: TaskBase[Any],
    *,
    dataset: Dataset,
    store_root: str,
    steps: Mapping[str, StepColumns],
    pairs: Path | str | None,
    checkpoints: Path | str,
    folder: Path | str,
    device: str,
    precision: str,
) -> dict[str, Any]:
    """`TrainConfig` as JSON; the arguments are those of `Task.train_config`."""
    named = sorted(
        {(one.kind, one.uses, component_class(one.kind, one.uses).__module__) for one in _named(task.settings)}
    )
    config = TrainConfig(
        task=task.name,
        module=type(task).__module__,
        named=named,
        dataset=dataset.root,
        shards=[shard.digest for shard in dataset.shards],
        store_root=store_root,
        steps={name: StepPlace(component=at.component, digest=at.digest) for name, at in steps.items()},
        pairs=None if pairs is None else str(pairs),
        pairs_digest="" if pairs is None else file_sha256(pairs),
        checkpoints=str(checkpoints),
        folder=str(folder),
        device=device,
        precision=precision,  # type: ignore[arg-type]
        settings=task.settings.model_dump(mode="json", by_alias=True),
        code=_code_of(type(task).__module__, named),
    )
    return config.model_dump(mode="json")


def _code_of(module: str, named: Sequence[tuple[str, str, str]]) -> str:
    """Of the task's module and of those of the components that its settings name."""
    return sha256_text(canonical([source_digest(one) for one in (module, *(place for _, _, place in named))]))


def _named(value: Any) -> Iterator[Named]:
    """Every component that settings name, however deep."""
    if isinstance(value, Named):
        yield value
        yield from _named(named_component(value).settings)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _named(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item)
