"""CoLLM: its slerp and its neighbours, three terms and no label, and composed queries that beat the averaged vector."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from composed import COLOURS, NOUNS, TINY, Planted, built, fitted
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.sources.scenes.grammar import ASKED
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.composed.collm import (
    TEMPLATES,
    Collm,
    CollmSettings,
    augmented,
    nearest_other,
    slerp,
)
from pairwright.components.pretrain.composed.task import contrast
from pairwright.components.training.batch import Batch
from pairwright.components.training.heads import fit_heads


def settings(**changes: Any) -> CollmSettings:
    wish: dict[str, Any] = {"dim": 32, "width": 32, "layers": 1, "heads": 2, "steps": 150, "batch_size": 54, "lr": 4e-3}
    wish |= {"warmup_steps": 5, "weight_decay": 0.01}
    return CollmSettings.parse(TINY | wish | changes, "test")


def captions_of(world: Planted, seed: int = 0) -> list[str]:
    """What is said of each picture: its noun, its colour, or both, as people leave things out."""
    kind = np.random.default_rng(seed).integers(0, 3, len(world.nouns))
    said = [(NOUNS[n], COLOURS[c], f"{COLOURS[c]} {NOUNS[n]}") for n, c in zip(world.nouns, world.colours, strict=True)]
    return [one[k] for one, k in zip(said, kind, strict=True)]


def population(world: Planted) -> ArrayPopulation:
    return world.population({"alt": captions_of(world)})


def batch_of(task: Collm, rows: int = 12) -> Batch:
    examples = task.population.read(np.arange(rows), 0, 0)
    return Batch(task.collate(examples), torch.arange(rows), examples.keys)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


# -- the reference that no one took -----------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_slerp_is_of_unit_length_and_divides_the_angle(alpha: float) -> None:
    a, b = unit(9, 5), unit(9, 5, seed=1)
    found = slerp(a, b, alpha)
    angle = torch.arccos((a * b).sum(1))
    assert torch.allclose(found.norm(dim=1), torch.ones(9, dtype=torch.float64))
    assert torch.allclose(torch.arccos((a * found).sum(1).clamp(-1, 1)), alpha * angle, atol=1e-6)
    assert torch.allclose(torch.arccos((b * found).sum(1).clamp(-1, 1)), (1 - alpha) * angle, atol=1e-6)


def test_slerp_of_the_same_vector_is_it_and_has_a_finite_gradient() -> None:
    a = unit(4, 6).requires_grad_(True)
    found = slerp(a, a.detach().clone(), 0.5)
    assert torch.allclose(found, a)
    found.sum().backward()
    assert torch.isfinite(a.grad).all()


def test_the_neighbour_is_the_nearest_other_and_never_itself() -> None:
    vectors = unit(20, 4)
    found = nearest_other(vectors)
    for row, at in enumerate(found.tolist()):
        others = [n for n in range(20) if n != row]
        assert at == max(others, key=lambda n: float(vectors[row] @ vectors[n]))
    twins = unit(3, 4).repeat_interleave(2, 0)
    assert nearest_other(twins).tolist() == [1, 0, 3, 2, 5, 4]
    assert nearest_other(unit(1, 4)).tolist() == [0]


def test_augmentation_changes_features_and_nothing_where_it_is_0() -> None:
    x = torch.randn(6, 64)
    assert torch.equal(augmented(x, 0.0, 0.0), x)
    assert not torch.allclose(augmented(x, 0.1, 0.0), x)
    assert (augmented(x, 0.0, 0.5) == 0).float().mean() == pytest.approx(0.5, abs=0.15)


# -- the texts ------------------------------------------------------------------------------------


def test_fifteen_templates_say_both_captions_and_none_is_a_frame_that_scenes_ask_with() -> None:
    assert len(set(TEMPLATES)) == 15
    assert all("{new}" in one and "{old}" in one for one in TEMPLATES)
    frames = {re.sub(r"\{\w+\}", "X", text) for split in ASKED.values() for text in split.values()}
    assert not frames & {re.sub(r"\{\w+\}", "X", text) for text in TEMPLATES}


def test_three_quarters_of_the_texts_are_made_by_a_template_drawn_anew_each_epoch() -> None:
    task = built(Collm(settings()), population(Planted(0, each=20)))
    drawn = [task.collate(task.population.read(np.arange(720), epoch, 0))["template"] for epoch in (0, 1)]
    assert (drawn[0] >= 0).float().mean() == pytest.approx(0.75, abs=0.05)
    assert set(drawn[0].tolist()) == {-1, *range(15)}
    assert not torch.equal(*drawn)
    plain = built(Collm(settings(templated=0.0)), population(Planted(0)))
    assert batch_of(plain)["template"].tolist() == [-1] * 12


def test_a_template_is_filled_by_the_own_and_the_neighbours_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    task = built(Collm(settings(templated=1.0, noise=0.0, dropout=0.0)), population(Planted(0)))
    batch = batch_of(task)
    said: list[list[str]] = []
    words = task._words
    monkeypatch.setattr(task, "_words", lambda texts: said.append(list(texts)) or words(texts))
    task.encode(batch)
    neighbour = nearest_other(task.model.image_projection(batch["image"])).tolist()
    for i, text in enumerate(said[0]):
        template = TEMPLATES[int(batch["template"][i])]
        assert text == template.format(new=batch["captions"][i], old=batch["captions"][neighbour[i]])
    assert said[1] == batch["captions"]


# -- the terms ------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_of_three_terms_to_the_same_targets_and_a_weight_of_0_leaves_one_out() -> None:
    task = built(Collm(settings(noise=0.0, dropout=0.0)), population(Planted(0)))
    batch = batch_of(task)
    outputs = task.encode(batch)
    named = task.losses(outputs, batch)
    parts = [
        contrast(outputs[name], outputs["target"], task.model.scale) for name in ("composed", "image_only", "text_only")
    ]
    assert torch.allclose(named["loss"], torch.stack(parts).mean())
    bare = built(Collm(settings(noise=0.0, dropout=0.0, image_only=0.0, text_only=0.0)), population(Planted(0)))
    left = bare.losses(bare.encode(batch), batch)
    assert torch.equal(left["loss"], named["composed"])
    assert set(left) == {"composed", "loss", "logit_scale"}


def test_targets_are_not_augmented_and_no_label_is_read() -> None:
    task = built(Collm(settings(noise=1.0)), population(Planted(0)))
    batch = batch_of(task)
    assert torch.equal(task.encode(batch)["target"][:, 0], task.model.image_projection(batch["image"]))
    reads = task.reads()
    assert (reads.labels, reads.columns, reads.texts) == ((), ("image_features.vector",), ("alt",))


def test_every_part_of_the_network_learns_and_the_towers_do_not() -> None:
    task = built(Collm(settings()), population(Planted(0)))
    batch = batch_of(task)
    task.losses(task.encode(batch), batch)["loss"].backward()
    silent = [name for name, p in task.model.named_parameters() if p.grad is None or float(p.grad.abs().sum()) == 0]
    assert silent == []
    assert not any(p.requires_grad for tower in (task.image_tower, task.text_tower) for p in tower.parameters())


def test_the_query_is_the_language_models_and_reads_both() -> None:
    net = built(Collm(settings()), population(Planted(0))).model
    image, words = torch.randn(4, 64), (torch.randn(4, 5, 64), torch.ones(4, 5, dtype=torch.bool))
    query = net.query(image, words)
    assert torch.allclose(query.norm(dim=1), torch.ones(4), atol=1e-5)
    assert not torch.allclose(query, net.image_query(image), atol=1e-3)
    assert not torch.allclose(query, net.text_query(words), atol=1e-3)
    padded = torch.cat([words[0], 9 * torch.ones(4, 2, 64)], 1), F.pad(words[1], (0, 2))
    assert torch.allclose(query, net.query(image, padded), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_label_it_beats_the_averaged_vector_where_a_text_names_what_goes_and_what_comes(seed: int) -> None:
    """Where a text names the new value alone, the average is the better query here: the recipe says so, too."""
    taught, world = Planted(seed, each=1), Planted(seed + 100)
    wish = {"text_tower": resolve_model("builtin:minilm"), "alpha": 0.8, "steps": 200, "batch_size": 36}
    task = fitted(Collm(settings(seed=seed, **wish)), population(taught))
    net, image, reference = task.model, torch.from_numpy(world.vectors), torch.from_numpy(world.references)
    before = world.colours[world.references]
    asked = [f"make the {COLOURS[old]} one {COLOURS[new]}" for old, new in zip(before, world.colours, strict=True)]
    with torch.no_grad():
        targets, words = net.target(image), task.words(asked)
        both = world.r1(net.query(image[reference], words), targets)
        text, picture = world.r1(net.text_query(words), targets), world.r1(net.image_query(image[reference]), targets)
    features = task.text_tower.features(captions_of(taught)).clone()
    heads = fit_heads(taught.vectors, features, dim=32, steps=200, batch_size=36, lr=4e-3, seed=seed)
    v, t = heads.image(world.vectors), heads.text(task.text_tower.features(asked).clone())
    averaged = world.r1(F.normalize(v[reference] + t, dim=-1), v[:, None])
    assert both > averaged + 0.05, (both, averaged)
    assert both > max(text, picture), (both, text, picture)
