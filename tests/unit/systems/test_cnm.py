"""CNM: four modules weighed at each word, by a controller that parts of speech teach until it knows them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.neural_modules import MODULES, ModuleDecoder
from pairwright.components.models.captioner.prefix import vectors_of
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.words import words_of
from pairwright.components.pretrain.captioners.captioner import measure
from pairwright.components.pretrain.captioners.cnm import (
    ATTRIBUTE,
    FUNCTION,
    NOTHING,
    OBJECT,
    RELATION,
    Cnm,
    CnmSettings,
    groups_of,
)
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here

PAIRS, PARTS, SIZE, SEEDS = 384, 4, 12, (0, 1, 2)
NOUNS, COLOURS = ("dog", "cat", "bus", "tree"), ("red", "blue", "green")
SMALL: dict[str, Any] = {
    "features": "parts.vector",
    "vectors": PARTS,
    "hidden": 32,
    "width": 32,
    "heads": 2,
    "max_words": 5,
    "least": 1,
    "steps": 45,
    "batch_size": 64,
    "warmup_steps": 5,
    "lr": 2e-2,
}


@cache
def planted(seed: int) -> tuple[np.ndarray, list[str]]:
    """Two coloured things in a column of four places, and which of them lies on the other."""
    random = np.random.default_rng(seed)
    looks = np.random.default_rng(99).normal(size=(len(NOUNS), SIZE))
    shades = np.random.default_rng(98).normal(size=(len(COLOURS), SIZE))
    parts, captions = 0.1 * random.normal(size=(PAIRS, PARTS, SIZE)), []
    for row in parts:
        (a, b), (c, d) = random.choice(len(NOUNS), 2, replace=False), random.integers(0, len(COLOURS), 2)
        top, bottom = sorted(random.choice(PARTS, 2, replace=False))
        above = random.random() < 0.5
        row[top if above else bottom] += looks[a] + shades[c]
        row[bottom if above else top] += looks[b] + shades[d]
        captions.append(f"{COLOURS[c]} {NOUNS[a]} {'above' if above else 'under'} {COLOURS[d]} {NOUNS[b]}")
    return parts.reshape(PAIRS, -1).astype(np.float32), captions


def population(seed: int) -> ArrayPopulation:
    return ArrayPopulation({"parts.vector": planted(seed)[0]}, {"alt": planted(seed)[1]})


def settings(**changes: Any) -> CnmSettings:
    return CnmSettings.parse(SMALL | changes, "test")


def built(**changes: Any) -> Cnm:
    task = Cnm(settings(**changes))
    task.population = population(0)
    torch.manual_seed(5)
    task.model = task.build()
    for weight in (one for one in task.model.parameters() if one.ndim == 2):
        torch.nn.init.normal_(weight, std=0.3)
    return task


def batch_of(task: Cnm, rows: int = 16, epoch: int = 0) -> Batch:
    examples = task.population.read(np.arange(rows), epoch, 0)
    return Batch(task.collate(examples), torch.arange(rows), examples.keys, epoch)


def decoder_of(model: Captioner) -> ModuleDecoder:
    assert isinstance(model.decoder, ModuleDecoder)
    return model.decoder


@cache
def trained(seed: int, linguistic: float = 1.0) -> Cnm:
    return fit_here(Cnm(settings(seed=seed, linguistic=linguistic)), population(seed)).task  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_controller_tells_parts_of_speech_on_pictures_it_never_saw(seed: int) -> None:
    task = trained(seed)
    task.population = population(seed + 100)
    steered, named = task._steered(), measure(task.model, task.population, task.settings)["nats_per_word"]
    features, captions = planted(seed + 100)
    task.population = ArrayPopulation({"parts.vector": np.roll(features, 1, 0)}, {"alt": captions})
    assert steered > 0.8
    assert named < measure(task.model, task.population, task.settings)["nats_per_word"] - 0.05  # told another's picture


@pytest.mark.slow
def test_untaught_the_controller_goes_its_own_way() -> None:
    task = trained(0, linguistic=0.0)
    assert task._steered() < 0.6


def test_weights_sum_to_one_and_a_forced_module_is_alone() -> None:
    task = built()
    model, decoder, batch = task.model, decoder_of(task.model), batch_of(task)
    x, there = model.begun({"image": batch["image"]}, batch["tokens"][:, :-1])
    heard: list[torch.Tensor] = []
    steps = [step.fused.register_forward_hook(lambda *seen: heard.append(seen[2])) for step in decoder.steps]
    logits, steering = decoder.read(x, there)
    assert torch.allclose(steering.softmax(-1).sum(-1), torch.ones(steering.shape[:-1]), atol=1e-6)
    heard.clear()
    for at, name in enumerate(MODULES):
        forced = torch.nn.functional.one_hot(torch.tensor(at), 4).float()
        heard.clear()
        alone, _ = decoder.read(x, there, forced=forced)
        for fused in heard:
            slots = fused.view(len(fused), 4, -1).abs().amax(-1) > 0
            assert slots.any(0).tolist() == [one == at for one in range(4)]
        assert not torch.allclose(alone, logits, atol=1e-3)
        with torch.no_grad():  # what other modules see changes nothing
            moved = {other: [p.clone() for p in getattr(decoder.steps[0], other).parameters()] for other in MODULES}
            for other in set(MODULES) - {name}:
                for weight in getattr(decoder.steps[0], other).parameters():
                    weight.add_(1.0)
            assert torch.equal(decoder.read(x, there, forced=forced)[0], alone)
            assert not torch.equal(decoder.read(x, there)[0], logits)
            for other, values in moved.items():
                for weight, value in zip(getattr(decoder.steps[0], other).parameters(), values, strict=True):
                    weight.copy_(value)
    for step in steps:
        step.remove()


def test_with_the_fused_path_detached_the_labels_reach_the_last_controller_alone() -> None:
    task = built()
    hooks = [step.fused.register_forward_hook(lambda *seen: seen[2].detach()) for step in decoder_of(task.model).steps]
    batch = batch_of(task)
    task.losses(task.encode(batch), batch)["linguistic"].backward()
    reached = {name for name, one in task.model.named_parameters() if one.grad is not None and bool(one.grad.any())}
    controllers = {name for name in reached if ".controller." in name or ".weigh." in name}
    assert controllers == {
        f"decoder.steps.1.{part}" for part in ("weigh.weight", "weigh.bias", *(f"controller.{w}" for w in LSTM))
    }
    for hook in hooks:
        hook.remove()
    task.model.zero_grad()
    task.losses(task.encode(batch), batch)["linguistic"].backward()
    assert bool(decoder_of(task.model).steps[0].weigh.weight.grad.any())


LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def test_from_its_last_epoch_on_and_at_weight_zero_the_loss_is_that_of_words_bit_for_bit() -> None:
    ways = {"taught": (built(), 0), "before": (built(until=20), 19), "after": (built(until=20), 20)}
    ways |= {"weightless": (built(linguistic=0.0), 0)}
    losses, gradients = {}, {}
    for name, (task, epoch) in ways.items():
        batch = batch_of(task, epoch=epoch)
        named = task.losses(task.encode(batch), batch)
        named["loss"].backward()
        losses[name] = named
        gradients[name] = {n: one.grad for n, one in task.model.named_parameters() if one.grad is not None}
    assert torch.equal(losses["after"]["loss"], losses["taught"]["words"])
    assert torch.equal(losses["weightless"]["loss"], losses["after"]["loss"])
    assert "linguistic" not in losses["after"]
    assert "linguistic" not in losses["weightless"]
    assert torch.equal(losses["before"]["loss"], losses["taught"]["words"] + losses["taught"]["linguistic"])
    weigh = "decoder.steps.1.weigh.weight"
    assert torch.equal(gradients["after"][weigh], gradients["weightless"][weigh])
    assert not torch.equal(gradients["taught"][weigh], gradients["after"][weigh])


@pytest.mark.parametrize(("sees", "moved"), [("released", False), ("all", True)])
def test_relations_move_the_first_controller_unless_it_sees_what_the_released_one_sees(sees: str, moved: bool) -> None:
    task = built(controller_sees=sees)
    decoder, batch = decoder_of(task.model), batch_of(task)
    x, there = task.model.begun({"image": batch["image"]}, batch["tokens"][:, :1])
    before = decoder.read(x, there)[1][:, 0, 0]
    with torch.no_grad():  # the global vector is of the parts themselves, and stays
        for weight in (*decoder.relations.parameters(), *decoder.steps[0].relation.parameters()):
            weight.add_(0.3)
    assert torch.equal(decoder.read(x, there)[1][:, 0, 0], before) is not moved


def test_a_batch_with_missing_parts_says_what_each_pair_says_alone_with_and_without_cache() -> None:
    task = built()
    model = task.model.eval()
    counts = np.array([4, 1, 3, 0, 2, 4])
    told = {"image": vectors_of(planted(0)[0][:6], PARTS, counts)}
    for search in ({}, {"search": "beam", "beams": 3}):
        wish = Decoding.parse(search, "test")
        together = model.generate(told, wish)
        assert together == [model.generate({"image": told["image"][at : at + 1]}, wish)[0] for at in range(6)]
    tokens = torch.tensor([[1, 5, 7, 4, 6]] * 6)
    whole, session, rows = model.logits(told, tokens), model.session(told), torch.tensor([2, 2, 0, 5, 1, 3])
    for time in range(4):
        assert torch.allclose(session.logits(), whole[:, time], atol=1e-5)
        session.append(tokens[:, time + 1])
    assert torch.allclose(session.select(rows).logits(), whole[rows, 4], atol=1e-5)
    assert bool(torch.isfinite(whole).all())
    other = told["image"].clone()
    other[1, 1:] = torch.nan
    assert torch.equal(model.logits({"image": other}, tokens)[1], whole[1])
    with pytest.raises(ModelError, match="parts of a picture"):
        decoder_of(model).read(torch.zeros(1, 3, 32), None)


def test_a_folder_gives_the_captions_back(tmp_path: Path) -> None:
    model = trained(0).model
    save_captioner(model, tmp_path, "# card")
    told = {"image": vectors_of(planted(1)[0][:20], PARTS)}
    assert load_captioner(tmp_path).generate(told) == model.generate(told)


def test_words_are_grouped_as_the_paper_groups_parts_of_speech() -> None:
    said = {"two": ATTRIBUTE, "large": ATTRIBUTE, "dogs": OBJECT, "are": RELATION, "slowly": RELATION}
    said |= {"chasing": RELATION, "the": OBJECT, "cat": OBJECT, "and": FUNCTION, "it": FUNCTION, "near": RELATION}
    groups = groups_of(["Two large dogs are slowly chasing the cat, and it, near", "cat"], 20)
    assert groups[0].tolist() == [*said.values(), FUNCTION]
    assert groups[1].tolist() == [OBJECT, FUNCTION, *[NOTHING] * (len(said) - 1)]
    assert groups_of(["a b c d"], 2).shape == (1, 3)


@given(st.text(max_size=40))
def test_every_word_has_one_group(text: str) -> None:
    assert groups_of([text], 99).shape[1] == len(words_of(text)) + 1


def test_what_the_modules_have_no_place_for_is_refused() -> None:
    for wrong in ({"control": "level.bin"}, {"mapping": "queries"}, {"fusion": 1}, {"lengths": 8}, {"prompt": "q"}):
        with pytest.raises(InvalidRecipe, match="parts alone"):
            settings(**wrong)
    with pytest.raises(InvalidRecipe, match="vectors"):
        settings(vectors=1)
