"""CLOSE: noise in training alone, one model for captions' and pictures' vectors, and what each adapter takes away."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_captioners import SMALL_CAPTIONER
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from vectors import unit

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.tokens import prompts_of
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.text_only.modality_gap import Adapter, noised
from pairwright.components.pretrain.text_only.text_captioner import TextCaptioner, TextCaptionerSettings
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

PAIRS, WIDTH, SEEDS = 256, 48, (0, 1, 2)
THINGS, COLOURS = ("dog", "bus", "tree", "cup", "hat", "key"), ("red", "blue", "green", "white")
SMALL = SMALL_CAPTIONER | {"features": "captions.vector", "steps": 100}


class Planted:
    """A space in which a caption has something of its own that no picture has, and pictures lie apart from captions.

    By one offset, and each a little elsewhere.
    """

    def __init__(self, seed: int, pairs: int = PAIRS) -> None:
        space = np.random.default_rng(7)  # the same space, whatever is drawn of it
        things, colours = (space.normal(size=(len(names), WIDTH)) for names in (THINGS, COLOURS))
        offset = WIDTH**0.5 * unit(space.normal(size=(1, WIDTH)))
        wording = 0.5 * space.normal(size=(len(THINGS), len(COLOURS), WIDTH))
        random = np.random.default_rng(seed)
        self.thing, self.colour = random.integers(0, len(THINGS), pairs), random.integers(0, len(COLOURS), pairs)
        meant = things[self.thing] + colours[self.colour]
        self.text = unit(meant + wording[self.thing, self.colour] + 0.02 * random.normal(size=meant.shape))
        self.image = unit(meant + offset + 1.5 * random.normal(size=meant.shape))
        self.captions = [f"{COLOURS[c]} {THINGS[t]}" for c, t in zip(self.colour, self.thing, strict=True)]

    def population(self, **columns: Any) -> ArrayPopulation:
        return ArrayPopulation({"captions.vector": self.text, **columns}, {"alt": self.captions})


@cache
def planted(seed: int) -> Planted:
    return Planted(seed)


def settings(**changes: Any) -> TextCaptionerSettings:
    return TextCaptionerSettings.parse(SMALL | changes, "test")


@cache
def trained(seed: int, noise: float = 0.12, adapter: str = "none") -> Captioner:
    paired = None if adapter == "none" else "pictures.vector"
    wish = settings(seed=seed, noise=noise, adapter=adapter, paired=paired)
    given = {"pictures.vector": planted(seed).image} if paired else {}
    return fit_here(TextCaptioner(wish), planted(seed).population(**given)).task.model  # type: ignore[no-any-return]


def right(model: Captioner, vectors: np.ndarray, captions: list[str]) -> float:
    said = [texts[0] for texts in model.generate({"image": torch.from_numpy(vectors)})]
    return float(np.mean([text == caption for text, caption in zip(said, captions, strict=True)]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_gap_a_model_of_noised_captions_says_more_of_unseen_pictures_than_one_without_noise(seed: int) -> None:
    unseen = Planted(100 + seed, 512)
    shares = {w: right(trained(seed, w), unseen.image, unseen.captions) for w in (0.0, 0.12)}
    assert shares[0.12] > shares[0.0] + 0.05, shares
    assert shares[0.12] > 0.85
    assert right(trained(seed, 0.12), unseen.text, unseen.captions) > 0.95  # either modality, the same weights


@pytest.mark.slow
def test_a_shift_by_the_mean_helps_beside_the_noise() -> None:
    unseen = Planted(100, 512)
    without, shifted = (right(trained(0, 0.12, adapter), unseen.image, unseen.captions) for adapter in ("none", "mean"))
    assert shifted > without + 0.02


def test_showing_pictures_or_captions_changes_no_weight_and_draws_nothing() -> None:
    model = trained(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.random.get_rng_state()
    for vectors in (planted(0).image, planted(0).text):
        said = model.generate({"image": torch.from_numpy(vectors)})
        assert model.generate({"image": torch.from_numpy(vectors)}) == said
    assert torch.equal(stream, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert sorted(model.parts) == ["image"]  # nothing in it knows what a caption's vector is


def task_of(wish: TextCaptionerSettings, population: ArrayPopulation) -> TextCaptioner:
    task = TextCaptioner(wish)
    task.population = population
    task.device = "cpu"
    task.model = task.build()
    return task


def test_noise_is_in_training_alone_anew_each_time_and_of_the_width_asked_for() -> None:
    task = task_of(settings(noise=0.12), planted(0).population())
    examples = task.population.read(np.arange(32), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(32), examples.keys)
    first, second = (task.encode(batch)["logits"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(batch["image"], torch.from_numpy(planted(0).text[:32]))  # collated as they are
    x = torch.from_numpy(planted(0).text[:32])
    assert task.shown(x) is x
    torch.manual_seed(3)
    drawn = torch.randn_like(x)
    torch.manual_seed(3)
    assert torch.equal(task.shown(x, training=True), F.normalize(x + 0.12 * drawn, dim=-1))
    assert torch.allclose(noised(x, 5.0).norm(dim=1), torch.ones(32))


def test_no_noise_and_no_adapter_are_the_plain_captioner_bit_for_bit() -> None:
    population = planted(0).population()
    plain = fit_here(CaptionerTask(CaptionerSettings.parse(SMALL | {"steps": 12}, "test")), population).task.model
    none, some = (
        fit_here(TextCaptioner(settings(steps=12, noise=w)), population).task.model.state_dict() for w in (0.0, 0.12)
    )
    assert all(torch.equal(value, none[name]) for name, value in plain.state_dict().items())
    assert not all(torch.equal(value, some[name]) for name, value in plain.state_dict().items())


def test_no_picture_is_read_unless_an_adapter_is_fitted_on_some() -> None:
    assert TextCaptioner(settings()).reads().columns == ("captions.vector",)
    with_adapter = TextCaptioner(settings(adapter="mean", paired="pictures.vector")).reads()
    assert "pictures.vector" in with_adapter.optional  # a caption without a picture is learnt from
    with pytest.raises(InvalidRecipe, match="go together"):
        settings(adapter="mean")
    with pytest.raises(InvalidRecipe, match="go together"):
        settings(paired="pictures.vector")
    lonely = np.full((PAIRS, WIDTH), np.nan, np.float32)
    with pytest.raises(InvalidRecipe, match="0 have both"):
        task_of(settings(adapter="mean", paired="p.v"), planted(0).population(**{"p.v": lonely}))


def vectors(count: int = 400) -> Tensor:
    return F.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)


def test_the_mean_shift_zeroes_a_planted_offset() -> None:
    text, offset = vectors(), torch.linspace(-1, 1, WIDTH)
    adapter = Adapter("mean", text, text + offset)
    assert torch.allclose(adapter.shift, offset, atol=1e-6)
    assert torch.allclose(adapter(text), F.normalize(text + offset, dim=1), atol=1e-6)


def test_the_linear_adapter_finds_a_planted_map() -> None:
    text = vectors()
    turned, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(2)))
    adapter = Adapter("linear", text, text @ turned)
    unseen = F.normalize(torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(3)), dim=1)
    assert (adapter(unseen) - unseen @ turned).abs().max() < 1e-4
    assert torch.equal(adapter(unseen, training=True), adapter(unseen))


def test_the_covariance_adapter_draws_as_the_pairs_differ_and_in_training_alone() -> None:
    text = vectors()
    directions = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(4))  # pairs differ along two directions
    apart = torch.randn(len(text), 2, generator=torch.Generator().manual_seed(5)) @ directions
    adapter = Adapter("covariance", text, text + apart + 0.5, scale=2.0)
    assert torch.allclose(adapter.factor.T @ adapter.factor, 4 * torch.cov(apart.T), atol=1e-3)
    assert torch.equal(adapter(text), Adapter("mean", text, text + apart + 0.5)(text))
    torch.manual_seed(0)
    first, second = adapter(text, training=True), adapter(text, training=True)
    assert not torch.equal(first, second)
    assert torch.allclose(first.norm(dim=1), torch.ones(len(text)))


def test_a_training_that_was_stopped_draws_on_where_it_was(tmp_path: Path) -> None:
    def run(name: str, stops: tuple[int, ...] = ()) -> dict[str, Tensor]:
        wish = settings(steps=9, checkpoint_every=2)
        for stop in (*stops, None):

            def report(metrics: dict[str, Any], stop: int | None = stop) -> None:
                if metrics["step"] == stop:
                    raise KeyboardInterrupt

            trainer = Trainer(TextCaptioner(wish), planted(0).population(), checkpoints=tmp_path / name, run="one")
            try:
                trainer.train(report)
            except KeyboardInterrupt:
                continue
        return {key: value.clone() for key, value in trainer.model.state_dict().items()}

    whole, resumed = run("whole"), run("resumed", (3, 7))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


QUESTIONS = {"which colour": "colour", "which thing": "thing"}


def asked(seed: int, pairs: int = 2 * PAIRS) -> tuple[Planted, list[str], list[str]]:
    """Pairs, a question of each and its answer."""
    data, random = Planted(seed, pairs), np.random.default_rng([seed, 1])
    questions = random.choice(list(QUESTIONS), pairs).tolist()
    answers = [
        COLOURS[data.colour[i]] if QUESTIONS[question] == "colour" else THINGS[data.thing[i]]
        for i, question in enumerate(questions)
    ]
    return data, questions, answers


def answered(model: Captioner, image: np.ndarray, questions: list[str]) -> list[str]:
    told = {"image": torch.from_numpy(image), "prompt": prompts_of(model.tokens, questions, 4)}
    return [texts[0] for texts in model.generate(told)]


@pytest.mark.slow
def test_questions_learnt_on_captions_are_answered_of_pictures() -> None:
    data, questions, answers = asked(0)
    population = ArrayPopulation({"captions.vector": data.text}, {"question": questions, "answer": answers})
    wish = settings(source="answer", prompt="question", prompt_tokens=4, noise=0.04, steps=160)
    model = fit_here(TextCaptioner(wish), population).task.model
    unseen, others, truth = asked(50)
    said = answered(model, unseen.image, others)
    assert np.mean([one == true for one, true in zip(said, truth, strict=True)]) > 0.6  # a tenth at random
    turned = [next(one for one in QUESTIONS if one != question) for question in others]
    both = answered(model, unseen.image, turned)
    kinds = [(one in COLOURS, other in COLOURS) for one, other in zip(said, both, strict=True)]
    assert np.mean([one != other for one, other in kinds]) > 0.95  # the question decides what is told
