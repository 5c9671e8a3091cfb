"""Small fits on arrays: the same trainer in this process, without Ray, with checkpoints where it is told a place.

kept = Kept.of(component, folder, matrix, captions)
fit_here(task, population, kept=kept.under("fold-0"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.component import Component
from pairwright.components.digest import op_digest
from pairwright.components.hashing import canonical
from pairwright.components.source_code import source_digest
from pairwright.components.training.checkpoint import random_state, restore_random
from pairwright.components.training.contract import TaskBase
from pairwright.components.training.trainer import Trainer

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Kept:
    """Where a fit's checkpoints lie, which outlives a kill, and the digest of all that decides its weights."""

    folder: Path
    run: str

    @classmethod
    def of(cls, component: Component, folder: Path, *data: Any) -> Kept:
        """Of a component and what it learns from: arrays, tensors on the CPU and whatever JSON holds."""
        hasher = hashlib.sha256(f"{op_digest(component)} {source_digest(__name__)}".encode())
        for part in _parts(data):
            hasher.update(len(part).to_bytes(8, "big") + part)
        return cls(folder, hasher.hexdigest())

    def under(self, name: str) -> Kept:
        """For one of several fits."""
        return Kept(self.folder / name, f"{self.run} {name}")


def _parts(data: Any) -> Iterator[bytes]:
    for one in data:
        array = np.asarray(one)
        if array.dtype == object or array.dtype.kind in "US":
            yield canonical(array.tolist()).encode()
        else:
            yield f"{array.dtype} {array.shape}".encode()
            yield np.ascontiguousarray(array).tobytes()


def fit_here(
    task: TaskBase[Any],
    population: Any,
    device: str = "cpu",
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> Trainer:
    """Train a task on a population in memory; its modules are in `task.model`, in evaluation mode, locked.

    Random streams are as before when it returns: a fit inside another's work changes nothing but its own.

    Args:
        kept: where it goes on after a kill; without one (a fit of seconds) it starts again.

    Raises:
        ModelError: three steps in a row were not finite.
        InvalidRecipe: there are too few examples.
        WorkspaceError: `kept` holds checkpoints of another fit.
    """

    def report(metrics: dict[str, Any]) -> None:
        if progress is not None:
            said = f"loss {metrics['loss']:.3f}" if "loss" in metrics else "skipped"
            progress(metrics["step"], metrics["steps"], said)

    streams = random_state()
    place: dict[str, Any] = {} if kept is None else {"checkpoints": kept.folder, "run": kept.run}
    try:
        trainer = Trainer(task, population, device=device, **place)
        trainer.train(report)
    finally:
        restore_random(streams)
    task.model.eval().requires_grad_(False)
    return trainer
