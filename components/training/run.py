"""One training run, as a launcher starts it on every rank.

train(config, rank=0, world_size=1, report=print)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pairwright.components.dataset.examples.shard_population import open_population
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.training.checkpoint import seed_all
from pairwright.components.training.config import TrainConfig
from pairwright.components.training.precision import pick_device, resolve_precision
from pairwright.components.training.ranks.parallel import barrier
from pairwright.components.training.trainer import Report, Trainer


def train(config: Mapping[str, Any], rank: int, world_size: int, report: Report) -> dict[str, Any]:
    """Train one model and, on rank 0, write its folder. Returns the metrics of the last step taken.

    Args:
        config: `TrainConfig` as JSON.
        report: called on every rank with each step's metrics: step, steps, epoch, the named losses, lr, grad_norm.

    Raises:
        ModelError: three steps in a row were not finite, or a tower does not load.
        NotFinite: features or weights are not.
        WorkspaceError: the checkpoints are of another run, or cannot be written.
        InvalidRecipe: too few pairs, or a batch that does not divide by the workers.
    """
    told = TrainConfig.model_validate(config)
    if told.threads:
        torch.set_num_threads(told.threads)
    device = pick_device(told.device, rank)
    # `auto` is no precision: a checkpoint of a machine that has bf16 is another run's on one that has not.
    precision = resolve_precision(told.precision, device)
    task = told.make_task()
    task.device = device
    seed_all(task.settings.seed, 0)
    task.prepare()
    population = open_population(
        told.dataset,
        told.shards,
        store_root=told.store_root,
        steps={name: StepColumns(place.component, place.digest) for name, place in told.steps.items()},
        pairs=told.pairs,
        reads=task.reads(),
    )
    trainer = Trainer(
        task,
        population,
        checkpoints=Path(told.checkpoints),
        run=told.digest(task, precision),
        device=device,
        precision=precision,
        rank=rank,
        world_size=world_size,
    )
    last = trainer.train(report)
    if rank == 0:
        metrics = trainer.save(Path(told.folder))
        last = {**last, **metrics, "advice": trainer.advice}
    barrier()
    return last
