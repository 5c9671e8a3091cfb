"""Micro-batches: the cache gives the joint batch's gradient, accumulation a weighed mean's."""

from __future__ import annotations

import pytest
import torch
from toys import Pairs, Words, built

from pairwright.components.training.gradients import accumulated_gradients, joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.settings import TrainerSettings

CPU = torch.device("cpu")


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(one, other, atol=1e-6):
    assert one.keys() == other.keys()
    return all(torch.allclose(value, other[name], atol=atol) for name, value in one.items())


@pytest.mark.parametrize("micro", [1, 5, 6])
def test_cached_micro_batches_equal_the_big_batch_in_gradients(micro):
    """Where nothing is drawn: dropout off, statistics fixed."""
    found = {}
    for size in (0, micro):
        task = Pairs(TrainerSettings())
        model, batch = built(task)
        model.eval()
        named = joint_gradients(task, model, batch, batch, size, Precision("float32", CPU))
        found[size] = (float(named["loss"].detach()), gradients(model))
    assert found[0][0] == pytest.approx(found[micro][0], abs=1e-5)
    assert close(found[0][1], found[micro][1])
    assert len(found[0][1]) == 13


def test_with_dropout_the_cache_equals_the_same_micro_batches_kept_whole():
    """The second pass draws what the first drew: the gradient is that of one graph over all micro-batches."""
    task = Pairs(TrainerSettings())
    model, batch = built(task)
    torch.manual_seed(3)
    joint_gradients(task, model, batch, batch, 4, Precision("float32", CPU))
    cached, statistics = gradients(model), [b.clone() for b in model.buffers()]

    other = Pairs(TrainerSettings())
    model, batch = built(other)
    torch.manual_seed(3)
    parts = [other.encode(part) for part in batch.split(4)]  # in graphs of their own, all kept
    outputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    other.losses(outputs, batch)["loss"].backward()
    assert close(cached, gradients(model))
    assert all(torch.equal(a, b) for a, b in zip(statistics, model.buffers(), strict=True))  # moved once, not twice


def test_after_the_cache_random_numbers_go_on_as_if_there_had_been_one_pass():
    task = Pairs(TrainerSettings())
    model, batch = built(task)
    torch.manual_seed(3)
    for part in batch.split(4):
        task.encode(part)
    wanted = torch.rand(1).item()
    torch.manual_seed(3)
    joint_gradients(task, model, batch, batch, 4, Precision("float32", CPU))
    assert torch.rand(1).item() == wanted


def test_naive_accumulation_of_a_joint_loss_is_another_loss():
    task = Pairs(TrainerSettings())
    model, batch = built(task)
    model.eval()
    joint_gradients(task, model, batch, batch, 4, Precision("float32", CPU))
    joint = gradients(model)
    model.zero_grad()
    accumulated_gradients(task, batch, 4, Precision("float32", CPU))
    assert not close(joint, gradients(model), atol=1e-3)


@pytest.mark.parametrize("micro", [1, 5, 12])
def test_accumulation_weighs_micro_batches_by_what_they_count_for(micro):
    found = {}
    for size in (0, micro):
        task = Words(TrainerSettings())
        model, batch = built(task)
        named = accumulated_gradients(task, batch, size, Precision("float32", CPU))
        found[size] = (float(named["loss"].detach()), gradients(model), named["each"])
    assert found[0][0] == pytest.approx(found[micro][0], rel=1e-5)
    assert close(found[0][1], found[micro][1])
    assert torch.allclose(found[0][2], found[micro][2])


def test_a_loss_scale_scales_gradients_and_nothing_else():
    task = Words(TrainerSettings())
    model, batch = built(task)
    plain = Precision("float32", CPU)
    accumulated_gradients(task, batch, 5, plain)
    wanted = gradients(model)
    model.zero_grad()
    scaled = Precision("float32", CPU)
    scaled.scale = 1024.0
    accumulated_gradients(task, batch, 5, scaled)
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert float(found[0].abs().max()) > 100 * float(next(iter(wanted.values())).abs().max())
    scaled.unscale(found)
    assert close(wanted, gradients(model))
