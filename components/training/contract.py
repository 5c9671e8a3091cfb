"""The contract between a task and the trainer (docs/tasks.md): who calls what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pairwright.components.component import Fit
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

S = TypeVar("S", bound=TrainerSettings)


@dataclass(frozen=True)
class Seen:
    """One step's joint batch, as `after_step` hears of it: the same on every rank.

    Attributes:
        step, epoch: counted from 0; `steps` of the whole training.
        numbers: int64 (n,), the examples' places in the population.
        values: on the CPU, the batch's one-dimensional tensors (n,), and all (n, ...) that `losses` gave with a row an
            example.
    """

    step: int
    steps: int
    epoch: int
    numbers: Tensor
    values: Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """What a finished training says to `save`.

    Attributes:
        pairs: examples in the population; `excluded` lacked what the task reads, `failed` could not be read.
        history: metrics of each step, timings left out.
        share: of the parameters that were trained, 0..1.
        skipped: steps that were not finite.
    """

    pairs: int
    excluded: int
    failed: int
    shards: int
    history: list[dict[str, Any]]
    share: float
    skipped: int = 0


class TaskBase(Fit[S]):
    """What a task says, method by method; `Task` (task.py) adds how it is started.

    Attributes:
        joint: a loss of one example needs the others of its batch. Then ranks gather and micro-batches are cached;
            else a step's loss is the mean over its micro-batches.
        moving: prefixes of parameter names that change without a gradient (averaged copies).
        population: what is trained on; there before `build`.
        model: what `build` gave.
        device: where to compute.
    """

    joint: ClassVar[bool] = False
    moving: ClassVar[tuple[str, ...]] = ()
    mixed_precision = True

    population: Any = None
    model: Any
    device: Any

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().column_names(), *self.settings.order_columns)))

    def reads(self) -> Reads:
        """What is read of a pair; nothing else is."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What `reads` depends on, e.g. the size of a tower's pictures; after seeding, before anything else."""

    def build(self) -> nn.Module:
        """Everything that is trained (`requires_grad`) and everything that is frozen, each in the mode it trains in."""
        raise NotImplementedError

    def start_from(self, folder: Path) -> None:
        """Take over the weights of `init`, which was made by the same task or by one of its kind."""
        from pairwright.components.training.start import load_weights

        load_weights(self.model, folder)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        """Tensors and lists with a row an example. Runs in the loader's threads: no state, no random stream."""
        raise NotImplementedError

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Named tensors with a row an example."""
        raise NotImplementedError

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Named scalars, `loss` being minimised; a tensor with a row an example is handed to `after_step`."""
        raise NotImplementedError

    def weight(self, batch: Batch) -> float:
        """What the mean over this micro-batch counts for: its examples; a captioner says its words."""
        return len(batch)

    def after_step(self, seen: Seen) -> None:
        """After a step was taken: clamp, move averaged copies, fill banks."""

    def after_epoch(self, epoch: int) -> None:
        """After an epoch's last step, counted from 0."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that `after_step` and `after_epoch` change and that is no parameter."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any] | None:
        """Write the model folder: config.json, model.safetensors, card.md. Returns metrics, if it measures any."""
        raise NotImplementedError
