"""Guided captioning: the flip worked out by hand, what g = 1 and g = 0 are, and what more guidance does to captions."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_captioners import SMALL_CAPTIONER
from spoken import WrittenSession, babble

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import save_captioner
from pairwright.components.models.decoding.beam import beam_search
from pairwright.components.models.decoding.sampling import greedy
from pairwright.components.models.decoding.session import Guided, guide
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask, measure
from pairwright.components.recaption.captioners.prefix_captioner import PrefixCaptionerSettings, PrefixCaptions
from pairwright.components.training.here import fit_here

PAIRS, WIDTH, SEEDS = 512, 12, (0, 1, 2)
KINDS = ("dog", "cat", "bus", "tree", "car", "cup", "hat", "key")
SMALL = SMALL_CAPTIONER | {"features": "x.vector", "steps": 240}


def logs(*probability: float) -> list[float]:
    return [math.log(p) for p in probability]


@pytest.mark.parametrize(("guidance", "said"), [(0.0, 1), (1.0, 1), (1.11, 1), (1.13, 2), (3.0, 2)])
def test_decoding_flips_from_the_generic_to_the_specific_at_the_g_worked_out_by_hand(
    guidance: float, said: int
) -> None:
    # p0(G, S) = (.8, .1), p1 = (.5, .4): a = ln 8, b = ln 1.25, and a / (a - b) = 1.120
    a, b = math.log(0.8 / 0.1), math.log(0.5 / 0.4)
    assert a / (a - b) == pytest.approx(1.120, abs=5e-4)

    def spoken(example: int, _: tuple[int, ...]) -> list[float]:  # 0 the end, 1 generic, 2 specific
        return logs(0.1, 0.5, 0.4) if example == 0 else logs(0.1, 0.8, 0.1)

    both = WrittenSession(spoken, [0, 1])  # with the picture, without it
    assert greedy(Guided(both, guidance), 0, 1).tolist() == [[said]]
    assert guide(*torch.tensor([logs(0.1, 0.5, 0.4), logs(0.1, 0.8, 0.1)]), a / (a - b))[1:].diff().abs() < 1e-6


SPOKEN = babble(6, seed=2)


def both_of(conditional: list[int], unconditional: list[int]) -> WrittenSession:
    return WrittenSession(SPOKEN, conditional + unconditional)


def test_g_1_is_the_conditional_token_by_token_and_g_0_is_independent_of_it() -> None:
    rows, without, others = list(range(8)), [9] * 8, list(range(20, 28))
    alone, blind = (greedy(WrittenSession(SPOKEN, of), 0, 6) for of in (rows, without))
    assert torch.equal(greedy(Guided(both_of(rows, without), 1.0), 0, 6), alone)
    for conditional in (rows, others):
        assert torch.equal(greedy(Guided(both_of(conditional, without), 0.0), 0, 6), blind)
    assert not torch.equal(alone, blind)
    beams = beam_search(Guided(both_of(rows, without), 1.0), 0, 6, 4)
    assert torch.equal(beams.tokens, beam_search(WrittenSession(SPOKEN, rows), 0, 6, 4).tokens)


def test_a_constant_added_to_one_sides_logits_changes_neither_greedy_nor_beams() -> None:
    def shifted(example: int, said: tuple[int, ...]) -> list[float]:
        return [one + (3.0 * len(said) if example == 9 else 0.0) for one in SPOKEN(example, said)]

    rows, without = list(range(8)), [9] * 8
    for width in (1, 4):
        plain, other = (
            beam_search(Guided(WrittenSession(spoken, rows + without), 2.0), 0, 5, width)
            for spoken in (SPOKEN, shifted)
        )
        assert torch.equal(plain.tokens, other.tokens)
        assert torch.allclose(plain.log_probability, other.log_probability, atol=1e-4)


@cache
def planted(seed: int) -> tuple[np.ndarray, np.ndarray, ArrayPopulation]:
    """Pictures of eight kinds, whose captions two times in three say no more than that."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, len(KINDS), PAIRS)
    features = random.normal(size=(len(KINDS), WIDTH))[kind] + 0.2 * random.normal(size=(PAIRS, WIDTH))
    captions = ["picture" if random.random() < 0.6 else KINDS[k] for k in kind]
    population = ArrayPopulation({"x.vector": features.astype(np.float32)}, {"alt": captions})
    return features.astype(np.float32), kind, population


@cache
def trained(seed: int, image_dropout: float = 0.5) -> Captioner:
    wish = settings(seed=seed, image_dropout=image_dropout)
    return fit_here(CaptionerTask(wish), planted(seed)[2]).task.model  # type: ignore[no-any-return]


def settings(**changes: Any) -> CaptionerSettings:
    return CaptionerSettings.parse(SMALL | changes, "test")


def said_at(model: Captioner, seed: int, guidance: float) -> list[str]:
    told = {"image": torch.from_numpy(planted(seed)[0])}
    return [
        texts[0] for texts in model.generate(told, Decoding(guidance=guidance, least=1))
    ]  # an end is as rare a word


def self_retrieved(texts: list[str], kind: np.ndarray) -> float:
    """Share of the pictures whose caption names their own kind."""
    return float(np.mean([KINDS[k] in text.split() for k, text in zip(kind, texts, strict=True)]))


def log_probability(model: Captioner, seed: int, texts: list[str]) -> float:
    """Mean log p(caption | picture)."""
    tokens = model.tokens.encode(texts, model.longest)
    with torch.no_grad():
        logits = model.logits({"image": torch.from_numpy(planted(seed)[0])}, tokens[:, :-1])
    return -float(model.nats(logits, tokens).sum(1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_more_guidance_names_more_pictures_by_captions_that_are_less_likely(seed: int) -> None:
    model, kind = trained(seed), planted(seed)[1]
    texts = {g: said_at(model, seed, g) for g in (1.0, 1.5, 3.0)}
    named = {g: self_retrieved(said, kind) for g, said in texts.items()}
    likely = {g: log_probability(model, seed, said) for g, said in texts.items()}
    assert named[1.0] < 0.2
    assert named[3.0] > 0.8
    assert named[1.0] <= named[1.5] <= named[3.0]
    assert likely[1.0] > likely[3.0] + 0.1
    assert likely[1.0] >= likely[1.5] >= likely[3.0]


def test_unguided_it_says_one_thing_of_all_and_other_pictures_change_nothing_at_g_0() -> None:
    model = trained(0)
    assert len(set(said_at(model, 0, 0.0))) == 1
    told = {"image": torch.from_numpy(planted(0)[0][::-1].copy())}
    assert [t[0] for t in model.generate(told, Decoding(guidance=0.0))] == said_at(model, 0, 0.0)


def test_that_share_of_the_pictures_is_left_out_and_another_one_each_epoch() -> None:
    task = CaptionerTask(settings(image_dropout=0.5))
    task.population = planted(0)[2]
    task.model = task.build()
    out = [
        task.collate(task.population.read(np.arange(PAIRS), epoch, 0))["image"].isnan().all(1).numpy()
        for epoch in (0, 1, 0)
    ]
    assert all(0.42 < share.mean() < 0.58 for share in out)
    assert (out[0] != out[1]).any()
    assert (out[0] == out[2]).all()


def test_no_dropout_is_the_plain_captioner_bit_for_bit_and_some_is_another() -> None:
    plain, none, some = (
        fit_here(CaptionerTask(settings(steps=12, **changes)), planted(0)[2]).task.model.state_dict()
        for changes in ({}, {"image_dropout": 0.0}, {"image_dropout": 0.5})
    )
    assert all(torch.equal(plain[name], none[name]) for name in plain)
    assert not all(torch.equal(plain[name], some[name]) for name in plain)


def test_without_its_picture_a_caption_costs_more_and_what_was_left_out_teaches_the_picture_nothing() -> None:
    found = measure(trained(0), planted(0)[2], settings(image_dropout=0.5))
    assert found["nats_per_word_without_image"] > found["nats_per_word"] + 0.1
    model = trained(0)
    tokens = model.tokens.encode(["dog"], 4)
    model.requires_grad_(True).zero_grad()
    model.nats(model.logits({"image": torch.full((1, WIDTH), torch.nan)}, tokens[:, :-1]), tokens).sum().backward()
    assert all(one.grad is None or not bool(one.grad.any()) for one in model.prefix.parameters())
    assert bool(model.decoder.words.weight.grad.any())
    model.requires_grad_(False)


def test_the_step_guides_as_its_recipe_says(tmp_path: Path) -> None:
    save_captioner(trained(0), tmp_path, "# card")
    rows = planted(0)[0][:40]

    def captions(**said: Any) -> list[str | None]:
        wish = {"model": resolve_model(str(tmp_path)), "features": "x.vector", "level": "none"} | said
        step = PrefixCaptions(PrefixCaptionerSettings.parse(wish, "test"))
        step.setup("cpu")
        keys = [str(i) for i in range(len(rows))]
        batch = PairBatch(np.arange(len(rows)), keys, [{} for _ in rows], columns={"x.vector": list(rows)})
        return [one.text if one else None for one in step.caption(batch)]

    assert captions() == said_at(trained(0), 0, 1.0)[:40]
    assert captions(decoding={"guidance": 3.0, "least": 1}) == said_at(trained(0), 0, 3.0)[:40]
    assert not any("picture" in str(text) for text in captions(decoding={"forbidden": ["picture"]}))
    beams = [
        captions(pick=pick, decoding={"search": "beam", "beams": 2, "groups": 2, "diversity": 5}) for pick in (0, 1)
    ]
    assert all(one != other for one, other in zip(*beams, strict=True))
    with pytest.raises(InvalidRecipe, match="count from 0"):
        captions(pick=2, decoding={"search": "beam", "beams": 2})
    with pytest.raises(InvalidRecipe, match="without a prompt"):
        captions(prompt="question")
