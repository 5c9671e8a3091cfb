"""The trainer's parts: schedules, groups of parameters, freezing, averages, precision, layers computed again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pairwright.components.errors import ModelError
from pairwright.components.training.average import Average
from pairwright.components.training.checkpoint import task_state
from pairwright.components.training.parameters import freeze, frozen_hash, parameter_groups, trained
from pairwright.components.training.precision import Precision, resolve_precision
from pairwright.components.training.schedule import learning_rate
from pairwright.components.training.speed import compiled, dropped_patches, recomputed

CPU = torch.device("cpu")


class Tower(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)) for _ in range(depth)])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)


def test_a_cosine_rises_linearly_and_falls_to_its_end():
    rates = [learning_rate(s, peak=2.0, warmup_steps=10, steps=110, final=0.1) for s in range(111)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == pytest.approx(2.0)
    assert rates[110] == pytest.approx(0.2)
    assert rates[60] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))


def test_cycles_start_again_at_the_peak_and_end_at_the_bottom():
    rates = [learning_rate(s, peak=1.0, warmup_steps=0, steps=40, schedule="cyclic", cycles=4) for s in range(40)]
    assert [s for s in range(40) if rates[s] == 1.0] == [0, 10, 20, 30]
    assert all(rates[end - 1] == pytest.approx(min(rates)) for end in (10, 20, 30, 40))
    assert learning_rate(40, peak=1.0, warmup_steps=0, steps=40, schedule="cyclic", cycles=4) == 0
    assert learning_rate(7, peak=1.0, warmup_steps=0, steps=40, schedule="constant") == 1.0


def test_layer_decay_is_a_power_of_the_layers_above():
    factors = {}
    model = nn.ModuleDict({"tower": Tower()})
    by_id = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, 0.1, layer_decay=0.5)
    for group in groups:
        factors |= {by_id[id(p)]: group["factor"] for p in group["params"]}
    assert factors["tower.head.weight"] == 1
    assert [factors[f"tower.layers.{n}.0.weight"] for n in range(3)] == [0.25, 0.5, 1]
    assert factors["tower.embed.weight"] == 0.125
    assert sum(len(group["params"]) for group in groups) == len(list(Tower().parameters()))


def test_biases_and_norms_never_decay_and_the_first_pattern_that_fits_counts():
    model = Tower()
    groups = parameter_groups(model, 0.1, rates={"head": 10.0, "head.bias": 99.0, "embed": 0.0})
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim >= 2 else 0.0)
    of = {id(p): group["factor"] for group in groups for p in group["params"]}
    assert (of[id(model.head.weight)], of[id(model.head.bias)], of[id(model.embed.weight)]) == (10.0, 10.0, 0.0)


@pytest.mark.parametrize(
    "use", [lambda: parameter_groups(Tower(), 0.1, rates={"haed": 2.0}), lambda: freeze(Tower(), ("haed",))]
)
def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_name(use):
    with pytest.raises(ModelError, match=r'"haed" fits no .*did you mean "head'):
        use()


def test_freezing_is_proven_by_a_hash_and_what_moves_is_outside_it():
    model = nn.ModuleDict({"tower": Tower(), "anchor": Tower().requires_grad_(False)})
    freeze(model, (r"tower\.layers", "embed"))
    assert set(trained(model)) == {"tower.head.weight", "tower.head.bias"}
    before = frozen_hash(model, ("anchor.",))
    with torch.no_grad():
        model["anchor"].head.bias += 1
        model["tower"].head.bias += 1
    assert frozen_hash(model, ("anchor.",)) == before
    with torch.no_grad():
        model["tower"].layers[2][0].bias[0] += 1e-6
    assert frozen_hash(model, ("anchor.",)) != before


def test_the_average_is_its_formula_is_applied_and_taken_back_and_restored():
    model = nn.Linear(3, 1, bias=False)
    average = Average(model, decay=0.9)
    wanted, first = model.weight.detach().clone(), model.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model.weight += 0.1
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * model.weight.detach()
    last = model.weight.detach().clone()
    assert not torch.allclose(last, first)
    with average.applied():
        assert torch.allclose(model.weight, wanted, atol=1e-5)
    assert torch.equal(model.weight, last)
    other = Average(model, decay=0.9)
    other.restore(average.state())
    assert other.steps == 30
    with other.applied():
        assert torch.allclose(model.weight, wanted, atol=1e-5)


def test_float16_halves_its_scale_on_infinity_and_counts_it_apart():
    precision = Precision("float16", CPU)
    assert precision.scale == 65536
    assert precision.found_infinite()
    assert (precision.scale, precision.scaled_down) == (32768, 1)
    for _ in range(2000):
        precision.taken()
    assert precision.scale == 65536
    other = Precision("float16", CPU)
    other.restore(precision.state())
    assert other.state() == precision.state()
    for _ in range(16):
        precision.found_infinite()
    assert not precision.found_infinite()  # at a scale of 1 it is the training's own infinity
    assert not Precision("bfloat16", CPU).found_infinite()
    assert resolve_precision("auto", CPU) == "float32"


def test_layers_computed_again_give_the_same_gradients_dropout_and_all():
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        model = Tower().train()
        if again:
            recomputed(model)
        torch.manual_seed(1)
        model(torch.ones(5, 4)).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b) for a, b in zip(*found, strict=True))
    assert math.isfinite(float(found[0][0].sum()))


def test_patches_are_left_out_anew_each_time_and_the_class_token_never():
    class Patches(nn.Module):
        patch_tokens = 1  # a class token stands before the patches

        def forward(self, x):
            return x

    model = nn.Sequential(Patches())
    numbered = torch.arange(17.0).repeat(8, 1)[..., None].expand(-1, -1, 3)
    hooks = dropped_patches(model, 0.75)
    torch.manual_seed(0)
    first, second = model(numbered), model(numbered)
    assert first.shape == (8, 5, 3)
    assert bool((first[:, 0] == 0).all())
    assert not torch.equal(first, second)
    assert bool((first[:, 1:, 0].diff(dim=1) > 0).all())  # in their order, none twice
    assert len({tuple(row) for row in first[..., 0].tolist()}) > 1
    for hook in hooks:
        hook.remove()
    assert torch.equal(model(numbered), numbered)
    with pytest.raises(ModelError, match="ViT"):
        dropped_patches(Tower(), 0.5)


def test_where_nothing_can_be_compiled_it_is_said_and_training_goes_on(monkeypatch, caplog):
    def refuse(self):
        raise RuntimeError("no compiler here\nand more")

    monkeypatch.setattr(nn.Module, "compile", refuse)
    compiled(Tower())
    assert caplog.messages == ["training goes on without torch.compile: no compiler here"]


def test_a_task_remembers_tensors_and_numbers_and_is_told_what_else_it_may_not() -> None:
    kept = task_state({"bank": torch.arange(3), "average": 0.25, "count": 4, "done": True}, "focal")
    assert {name: value.tolist() for name, value in kept.items()} == {
        "bank": [0, 1, 2],
        "average": 0.25,
        "count": 4,
        "done": True,
    }
    with pytest.raises(ModelError, match='state_dict of focal: "names" is a list; give a tensor or a number'):
        task_state({"names": ["a"]}, "focal")
