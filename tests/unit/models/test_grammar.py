"""Corruptions of captions, and the head that tells captions from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from paid import NAMES

from pairwright.components.dataset.captions.corruptions import CORRUPTIONS, DRAWS, corrupted
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import ModelError
from pairwright.components.models.grammar import load_grammar
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.grammar_head import (
    GrammarHead,
    GrammarHeadSettings,
    corruptions,
    teaches,
)
from pairwright.components.training.here import fit_here

OTHERS = ["green", "hat", "of"]
CAPTION = ["a", "small", "red", "boat", "on", "the", "blue", "sea"]
DRAWN = np.random.default_rng(0).random((200, DRAWS)).tolist()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_corruption_differs_from_its_caption_and_is_what_its_name_says(kind: str) -> None:
    made = [found for draws in DRAWN if (found := corrupted(CAPTION, kind, draws, OTHERS)) is not None]
    assert len(made) > 150
    assert all(found != CAPTION for found in made)
    assert len({tuple(found) for found in made}) > 20, "it is drawn"
    for found in made:
        if kind == "repeat":
            assert len(found) > len(CAPTION)
            assert set(found) == set(CAPTION)
            assert any(found[i : i + k] == found[i + k : i + 2 * k] for k in (1, 2, 3) for i in range(len(found)))
        elif kind == "remove":
            assert 0 < len(found) < len(CAPTION)
            assert list(dict.fromkeys(found)) == [word for word in CAPTION if word in found]
        elif kind == "insert":
            assert [word for word in found if word not in OTHERS] == CAPTION
            assert 1 <= len(found) - len(CAPTION) <= 2
        else:
            assert sorted(found) == sorted(CAPTION)
            moved = sum(a != b for a, b in zip(found, CAPTION, strict=True))
            assert moved == 2 if kind == "swap" else moved >= 2


@pytest.mark.parametrize("caption", [[], ["boat"], ["boat", "boat"], ["red", "boat"]])
def test_short_captions_are_corrupted_as_far_as_they_can_be_and_never_left_as_they_are(caption: list[str]) -> None:
    for kind in CORRUPTIONS:
        words = [caption, OTHERS]
        found = corruptions(words, [kind, kind], np.array(DRAWN[:2]))
        assert found[0] != caption
        assert found[0]


def population(count: int = 600) -> ArrayPopulation:
    """Captions of a grammar: a or the, an adjective and a noun."""
    random = np.random.default_rng(0)
    return ArrayPopulation({}, {"alt": [f"{random.choice(['a', 'the'])} {random.choice(NAMES)}" for _ in range(count)]})


def test_a_caption_has_label_1_its_corruption_label_0_and_a_tenth_teaches_nothing() -> None:
    task = GrammarHead(GrammarHeadSettings.parse({"tower": resolve_model("builtin:tiny-text")}, "test"))
    task.population, task.device = population(), torch.device("cpu")
    task.model = task.build()
    seen = task.population.read(np.arange(600), 0, 0)
    fields = task.collate(seen)
    assert fields["caption"] == seen.texts("alt")
    assert all(a != b for a, b in zip(fields["caption"], fields["corrupted"], strict=True))
    assert 0.05 < 1 - fields["teaches"].double().mean() < 0.15
    assert (teaches(task.population.read(np.arange(600), 5, 0)) == teaches(seen)).all(), "whatever the epoch"
    sure = {"right": torch.tensor([30.0, -30.0]), "wrong": torch.tensor([-30.0, 30.0])}
    told = {"teaches": torch.tensor([True, False])}
    from pairwright.components.training.batch import Batch

    batch = Batch(told, torch.arange(2), ["0", "1"])
    assert float(task.losses(sure, batch)["loss"]) < 1e-6, "the second teaches nothing, wrong as it is"
    told["teaches"] = torch.tensor([False, True])
    assert float(task.losses(sure, Batch(told, torch.arange(2), ["0", "1"]))["loss"]) == pytest.approx(30)


@pytest.mark.slow
def test_the_head_learns_to_tell_captions_it_never_saw_from_their_corruptions_and_loads_as_it_was(
    tmp_path: Path,
) -> None:
    small = {"steps": 80, "lr": 3e-3, "hidden": 128, "batch_size": 32, "warmup_steps": 5}
    wish = GrammarHeadSettings.parse({"tower": resolve_model("builtin:tiny-text")} | small, "test")
    trainer = fit_here(GrammarHead(wish), population())
    measured = trainer.save(tmp_path)
    assert measured["captions_measured"] > 30
    assert {f"told_{kind}" for kind in CORRUPTIONS} <= measured.keys()
    # What a mean over a tower's states shows; of the order of words this tower, which knows nothing, shows too little.
    assert measured["told_repeat"] > 0.85
    assert measured["told_insert"] > 0.7
    texts = ["a red dog", "dog dog dog dog red"]
    model = load_grammar(tmp_path)
    assert torch.equal(model.probability(texts), trainer.task.model.probability(texts))
    assert not any(one.requires_grad for one in model.parameters())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no grammar head"):
        load_grammar(tmp_path)
