"""The contrastive kernel against the papers' formulas, and across ranks."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.dual_encoders.contrastive import (
    Targets,
    contrastive_logits,
    positive_targets,
    sigmoid_loss,
    soft_cross_entropy,
    softmax_loss,
)
from pairwright.components.training.ranks.parallel import gather


def unit(rows: int, seed: int, width: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


IMAGE, TEXT = unit(6, 1), unit(6, 2)


def test_softmax_loss_is_clips_pseudocode() -> None:
    logits = 14.0 * IMAGE @ TEXT.T
    labels = torch.arange(6)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert torch.allclose(softmax_loss(IMAGE, TEXT, 14.0).mean(), expected, atol=1e-6)


def test_a_diagonal_of_positives_is_the_default() -> None:
    diagonal = Targets(torch.eye(6, dtype=torch.bool))
    assert torch.allclose(softmax_loss(IMAGE, TEXT, 14.0), softmax_loss(IMAGE, TEXT, 14.0, diagonal), atol=1e-6)
    assert torch.allclose(sigmoid_loss(IMAGE, TEXT, 10.0, -10.0), sigmoid_loss(IMAGE, TEXT, 10.0, -10.0, diagonal))


def test_sigmoid_loss_is_siglips_pseudocode() -> None:
    logits = 10.0 * IMAGE @ TEXT.T - 10.0
    labels = 2 * torch.eye(6) - torch.ones(6, 6)
    expected = -F.logsigmoid(labels * logits).sum() / 6
    assert torch.allclose(sigmoid_loss(IMAGE, TEXT, 10.0, -10.0).mean(), expected, atol=1e-6)


def test_siglips_start_makes_the_first_loss_small() -> None:
    first = sigmoid_loss(unit(256, 3), unit(256, 4), 10.0, -10.0).mean()
    cold = sigmoid_loss(unit(256, 3), unit(256, 4), 10.0, 0.0).mean()
    assert first < 12 < 100 < cold


def test_k_identical_texts_give_infonce_plus_log_k() -> None:
    # CCRK's identity: each image's target shared by K copies of its text costs exactly log K more.
    k = 3
    copies = TEXT.repeat_interleave(k, dim=0)
    shared = positive_targets(torch.eye(6, dtype=torch.bool).repeat_interleave(k, dim=1))
    many = soft_cross_entropy(contrastive_logits(IMAGE, copies, 14.0), shared)
    one = soft_cross_entropy(contrastive_logits(IMAGE, TEXT, 14.0), torch.eye(6))
    assert torch.allclose(many, one + math.log(k), atol=1e-5)


def test_targets_are_shared_evenly_and_sum_to_one() -> None:
    targets = positive_targets(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool))
    assert targets.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


def _gradients(images: torch.Tensor, texts: torch.Tensor, loss: str, local: bool = True) -> tuple[torch.Tensor, ...]:
    """Loss and gradients of two linear towers, the scale and the bias, on this rank's rows."""
    torch.manual_seed(0)
    a, b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-3.0, requires_grad=True)
    x, y = gather(F.normalize(a(images), dim=-1)), gather(F.normalize(b(texts), dim=-1))
    first = torch.distributed.get_rank() * len(images) if len(x) > len(images) else 0
    own = slice(first, first + len(images)) if local else slice(None)  # its own rows, or the whole loss on every rank
    each = softmax_loss(x, y, scale, own=own) if loss == "clip" else sigmoid_loss(x, y, scale, bias, own=own)
    value = each.mean()
    value.backward()
    bias_gradient = torch.zeros(()) if bias.grad is None else bias.grad
    assert scale.grad is not None
    return value.detach(), a.weight.grad, b.weight.grad, scale.grad, bias_gradient  # type: ignore[return-value]


def _rank(rank: int, world: int, port: int, loss: str, local: bool, out: str) -> None:
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    rows = slice(rank * 6 // world, (rank + 1) * 6 // world)
    found = _gradients(IMAGE[rows], TEXT[rows], loss, local)
    for value in found:
        dist.all_reduce(value)
        value /= world
    if rank == 0:
        torch.save(found, out)
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "world", "local"), [("clip", 2, True), ("siglip", 2, True), ("clip", 3, False)])
def test_ranks_equal_one_process_in_loss_and_gradients(loss: str, world: int, local: bool, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    out = str(tmp_path / "found.pt")
    ranks = [spawn.Process(target=_rank, args=(rank, world, port, loss, local, out)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    for joint, one in zip(torch.load(out, weights_only=True), _gradients(IMAGE, TEXT, loss), strict=True):
        assert (joint - one).abs().max() < 1e-5
