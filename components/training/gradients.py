"""Gradients of a batch in micro-batches: by accumulation, or by the gradient cache where losses need the joint batch.

The cache (Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"): encode every
micro-batch without a graph, take the joint losses' gradient with respect to what was encoded, then encode each
micro-batch again, with a graph and the same random numbers, and hand it its rows of that gradient. The result is
the gradient of the joint batch, dropout and all; only the activations of one micro-batch are ever kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pairwright.components.training.batch import Batch
from pairwright.components.training.precision import Precision
from pairwright.components.training.ranks.parallel import distributed, gather, own_rows, rows_of_ranks, total
from pairwright.components.training.ranks.replicated import Replicated

if TYPE_CHECKING:
    from pairwright.components.training.contract import TaskBase

Outputs = dict[str, Tensor]
Named = dict[str, Tensor]


def joint_gradients(
    task: TaskBase[Any],
    model: nn.Module,
    batch: Batch,
    joint: Batch,
    micro_batch: int,
    precision: Precision,
    ranks: Replicated | None = None,
) -> Named:
    """Gradients of losses over the joint batch of all ranks; what `losses` named, on it.

    Args:
        batch: this rank's examples; `joint` is what `joint_batch` says of everyone's.
    """
    ranks = ranks or Replicated()
    parts = batch.split(micro_batch)
    turns = ranks.turns(len(parts))
    if turns == 1:
        named = ranks.run(lambda: task.losses(_gathered(_encode(task, batch, precision)), joint))
        _backward(named["loss"], precision, ranks)
        return named
    streams, first = [], []
    with torch.no_grad(), _buffers_kept(model):
        for part in parts:
            streams.append(_random())
            first.append(ranks.run(partial(_encode, task, part, precision)))
        ends = _random()
        for _ in range(len(parts), turns):
            ranks.run(partial(_encode, task, parts[-1], precision))
    leaves = {name: torch.cat([one[name] for one in first]).detach() for name in first[0]}
    for leaf in leaves.values():
        leaf.requires_grad_(leaf.is_floating_point())
    named = ranks.run(lambda: task.losses(_gathered(leaves), joint))
    _backward(named["loss"], precision, ranks)
    start = 0
    for part, stream in zip(parts, streams, strict=True):
        _restore(stream)
        again = ranks.run(partial(_encode, task, part, precision))
        rows = slice(start, start + len(part))
        start += len(part)
        pairs = [(value, leaves[name].grad[rows]) for name, value in again.items() if _reached(value, leaves[name])]  # type: ignore[index]
        if pairs:
            ranks.backward([value for value, _ in pairs], [gradient for _, gradient in pairs], ())
    for _ in range(len(parts), turns):
        with _buffers_kept(model):
            again = ranks.run(partial(_encode, task, parts[-1], precision))
            ranks.backward((), (), [value for name, value in again.items() if _reached(value, leaves[name])])
    _restore(ends)  # as after the first pass: the second drew nothing new
    return named


def accumulated_gradients(
    task: TaskBase[Any], batch: Batch, micro_batch: int, precision: Precision, ranks: Replicated | None = None
) -> Named:
    """Gradients of a loss that is a mean: over examples, or over whatever `task.weight` counts."""
    ranks = ranks or Replicated()
    parts = batch.split(micro_batch)
    turns = ranks.turns(len(parts))
    weights = [float(task.weight(part)) for part in parts]
    here = sum(weights)
    everywhere = total({"weight": here})["weight"]
    world_size = torch.distributed.get_world_size() if distributed() else 1
    whole: dict[str, Tensor] = {}
    rows: dict[str, list[Tensor]] = {}
    for part, weight in zip(parts, weights, strict=True):
        outputs, named = ranks.run(partial(_both, task, part, precision))
        # Ranks' gradients are averaged afterwards, hence their number: the mean is over the joint batch.
        share = world_size * weight / everywhere if everywhere else 0.0
        _backward(named["loss"] * share, precision, ranks, tuple(outputs.values()))
        for name, value in named.items():
            if value.ndim:
                rows.setdefault(name, []).append(value.detach())
            else:
                whole[name] = whole.get(name, torch.zeros(())) + value.detach().float().cpu() * share
    for _ in range(len(parts), turns):
        with _buffers_kept(task.model):
            idle, _ = ranks.run(partial(_both, task, parts[-1], precision))
            ranks.backward((), (), tuple(idle.values()))
    return whole | {name: torch.cat(values) for name, values in rows.items()}


def joint_batch(batch: Batch) -> Batch:
    """Numbers and one-dimensional tensors of every rank's rows: what joint losses see of the batch; its own keys."""
    if not distributed():
        return batch
    fields = {
        name: gather(batch[name]) for name in batch.names if isinstance(batch[name], Tensor) and batch[name].ndim == 1
    }
    own = own_rows(rows_of_ranks(len(batch)))
    return Batch(fields, gather(batch.numbers), batch.keys, batch.epoch, own=own)


def _encode(task: TaskBase[Any], batch: Batch, precision: Precision) -> Outputs:
    with precision.autocast():
        outputs = task.encode(batch.to(precision.device))
    return {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}


def _both(task: TaskBase[Any], batch: Batch, precision: Precision) -> tuple[Outputs, Named]:
    moved = batch.to(precision.device)
    outputs = _encode(task, moved, precision)
    return outputs, task.losses(outputs, moved)


def _gathered(outputs: Outputs) -> Outputs:
    return {name: gather(value) for name, value in outputs.items()}


def _backward(loss: Tensor, precision: Precision, ranks: Replicated, outputs: Sequence[Tensor] = ()) -> None:
    scaled = [loss * precision.scale if precision.scale != 1.0 else loss] if loss.requires_grad else []
    ranks.backward(scaled, [None] * len(scaled), outputs)


def _reached(value: Tensor, leaf: Tensor) -> bool:
    return value.requires_grad and leaf.grad is not None


def _random() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _restore(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


class _buffers_kept:  # noqa: N801  used as a `with` statement's function
    """Inside, running statistics may move; afterwards they are as before, so that the second pass moves them once."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.kept = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers()]

    def __exit__(self, *_: Any) -> None:
        for buffer, value in self.kept:
            buffer.copy_(value)
