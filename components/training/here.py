"""Small fits, seconds on arrays: the same trainer in this process, without checkpoints and without Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pairwright.components.training.checkpoint import random_state, restore_random
from pairwright.components.training.contract import TaskBase
from pairwright.components.training.trainer import Trainer

Progress = Callable[[int, int, str], None]


def fit_here(task: TaskBase[Any], population: Any, device: str = "cpu", progress: Progress | None = None) -> Trainer:
    """Train a task on a population in memory; its modules are in `task.model`, in evaluation mode, locked.

    Random streams are as before when it returns: a fit inside another's work changes nothing but its own.

    Raises:
        ModelError: three steps in a row were not finite.
        InvalidRecipe: there are too few examples.
    """

    def report(metrics: dict[str, Any]) -> None:
        if progress is not None:
            said = f"loss {metrics['loss']:.3f}" if "loss" in metrics else "skipped"
            progress(metrics["step"], metrics["steps"], said)

    streams = random_state()
    try:
        trainer = Trainer(task, population, device=device)
        trainer.train(report)
    finally:
        restore_random(streams)
    task.model.eval().requires_grad_(False)
    return trainer
