"""How a task is trained: settings that every task's own settings extend.

    class MySettings(TrainerSettings): ...

So a recipe names them in one breath with the task's: `with: {source: alt, steps: 400, lr: 1e-3, average: 0.999}`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.dataset.examples.identity import PAIR, Identity
from pairwright.components.settings import ModelFolder, Settings

STEPS = 400  # where a recipe names neither steps nor epochs


class TrainerSettings(Settings):
    undigested: ClassVar[frozenset[str]] = frozenset({"parallel", "checkpoint_every", "threads", "ahead"})

    # How long, and over what.
    steps: int = Field(STEPS, ge=1, description="optimizer steps, where `epochs` is not given")
    epochs: float | None = Field(None, gt=0, description="passes over the data, instead of `steps`")
    batch_size: int = Field(256, ge=1, description="examples a step, over all workers")
    micro_batch: int = Field(0, ge=0, description="examples at once in memory; 0: all that a worker has of a batch")
    window: int = Field(0, ge=0, description="pairs shuffled together; 0: all of them, else shards through a buffer")
    distinct: Identity | None = Field(
        None, description="no joint batch holds two pairs of one, e.g. pair.caption.alt or near.group"
    )
    batches_of: Identity | None = Field(
        None, description="a joint batch holds pairs of one alone, e.g. pair.label.kind; those that lack it are one too"
    )
    seed: int = Field(0, ge=0)

    # The optimizer: AdamW.
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "constant", "cyclic"] = Field("cosine", description="after the warm-up")
    warmup_steps: int = Field(40, ge=0)
    cycles: int = Field(4, ge=1, description="of `cyclic`: the rate falls as a cosine, and starts again, this often")
    final_lr: float = Field(0.0, ge=0, le=1, description="share of `lr` that the rate falls to")
    weight_decay: float = Field(0.1, ge=0, description="on matrices; biases, norms and temperatures have none")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, gt=0, lt=1)
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    rates: dict[str, float] = Field({}, description="pattern of parameter names -> factor of `lr`; the first that fits")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of `lr` a layer, from a tower's last to its first")
    freeze: tuple[str, ...] = Field((), description="patterns of parameter names that are not trained")
    average: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged weights that are saved; 0: the last ones"
    )

    # Where it starts, and what it costs.
    init: ModelFolder | None = Field(None, description="model whose weights it starts from, e.g. `step:align`")
    recompute: bool = Field(False, description="activations of repeated layers are computed again for the gradient")
    patch_dropout: float = Field(0.0, ge=0, lt=1, description="share of a picture's patches left out in training")
    parallel: Literal["replicated", "sharded"] = Field(
        "replicated",
        description="of several workers: each holds all weights, or a share of weights, gradients and moments (FSDP2)",
    )
    compile: bool = Field(False, description="torch.compile, where it works; where not, it is said")
    checkpoint_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    threads: int = Field(2, ge=1, description="that read, decode and collate ahead of the training")
    ahead: int = Field(3, ge=1, description="batches made ahead")

    @property
    def order_columns(self) -> tuple[str, ...]:
        """Columns that say which examples come together."""
        return tuple(name for name in (self.distinct, self.batches_of) if name and not name.startswith(PAIR))

    @model_validator(mode="after")
    def _patterns_and_epochs(self) -> Self:
        import re

        for pattern in (*self.rates, *self.freeze):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f'"{pattern}" is no regular expression ({error})') from None
        if self.compile and self.parallel == "sharded":
            raise ValueError("compile: true works on replicated workers; leave out one of compile and parallel")
        return self
