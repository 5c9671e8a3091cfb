"""Zero-shot audio captioning: the label a clip retrieves, the hard prompt it becomes, and one model for both sides.

What a similar caption's vector is exchanged for: test_multicapclip.py, whose exchange it is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from small_captioners import SMALL_CAPTIONER
from torch.nn import functional as F  # noqa: N812
from vectors import unit

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.media.log_mel import log_mel
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.memory import Memory
from pairwright.components.models.dual_encoders.heads import Heads
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.pretrain.text_only.text_captioner import TextCaptioner, TextCaptionerSettings
from pairwright.components.training.batch import Batch
from pairwright.components.training.heads import fit_heads
from pairwright.components.training.here import fit_here

RATE, PAIRS, WIDTH, SEEDS = 8_000, 256, 24, (0, 1, 2)


# -- a space of real sounds ------------------------------------------------------------------------

HERTZ = (220, 440, 880, 1760)
LABELS = ("a low tone", "concert pitch", "a high tone", "a shrill whistle")


def clip(hertz: float, seed: int) -> np.ndarray:
    """Half a second of a sine that is off by up to 3%, with noise, as the picture an image tower takes: RGB."""
    draw = np.random.default_rng(seed)
    t = np.arange(RATE // 2) / RATE
    samples = draw.uniform(0.2, 0.8) * np.sin(2 * np.pi * hertz * draw.uniform(0.97, 1.03) * t + draw.uniform(0, 6))
    picture = log_mel(samples + 0.01 * draw.normal(size=len(t)), RATE)
    return np.repeat(picture[:, :, None], 3, axis=2)


@cache
def space() -> tuple[Heads, Any, Any]:
    """Heads on two small towers, fitted on clips and their labels; and the towers."""
    image, text = load_image_tower("builtin:tiny-image"), load_text_tower("builtin:tiny-text")
    kinds = np.arange(160) % len(HERTZ)
    pictures = image.features([clip(HERTZ[kind], seed) for seed, kind in enumerate(kinds)])
    texts = text.features([LABELS[kind] for kind in kinds])
    return fit_heads(pictures, texts, dim=16, steps=300, lr=1e-2, groups=kinds.tolist()), image, text


def memory(k: int = 1) -> Memory:
    heads, _, text = space()
    return Memory("concepts", LABELS, heads.text(text.features(list(LABELS))), k)


def heard(hertz: float, seeds: range) -> torch.Tensor:
    heads, image, _ = space()
    return heads.image(image.features([clip(hertz, seed) for seed in seeds]))


@pytest.mark.parametrize(("hertz", "label"), list(zip(HERTZ, LABELS, strict=True)))
def test_a_clip_that_was_not_learnt_from_retrieves_the_label_of_its_pitch(hertz: float, label: str) -> None:
    found = memory().nearest(heard(hertz, range(1000, 1008)))[:, 0].tolist()
    assert [LABELS[at] for at in found] == [label] * 8


# -- a planted space: what the prompts are worth ---------------------------------------------------

EVENTS, WAYS = ("bell", "drum", "hiss", "horn", "rain", "bark"), ("loud", "soft", "near", "far")
WORDINGS = ("here", "now", "again", "outside")  # of one meaning; a sound has none
SMALL = SMALL_CAPTIONER | {"features": "captions.vector", "steps": 120, "noise": 0.05}
PROMPTED: dict[str, Any] = {
    "exchanged": 0.5,
    "similar": 3,
    "concepts": EVENTS,
    "recalled": 2,
    "told_as": "words",
    "phrase_words": 1,
    "encoder": "builtin:planted",
}
_SPACE = np.random.default_rng(11)
OF_EVENTS, OF_WAYS = unit(_SPACE.normal(size=(len(EVENTS), WIDTH))), unit(_SPACE.normal(size=(len(WAYS), WIDTH)))
OFFSET = 1.2 * unit(_SPACE.normal(size=(1, WIDTH)))
OF_WORDING = 0.8 * unit(_SPACE.normal(size=(96, WIDTH))).reshape(len(EVENTS), len(WAYS), len(WORDINGS), WIDTH)


class InPlantedSpace(TextCaptioner):
    """Whose encoder is the planted space."""

    def embedded(self, phrases: tuple[str, ...]) -> torch.Tensor:
        return torch.from_numpy(OF_EVENTS[[EVENTS.index(one) for one in phrases]])


class Planted:
    """Captions of an event and a way in four wordings, and sounds that lie apart from them."""

    def __init__(self, seed: int, pairs: int = PAIRS) -> None:
        random = np.random.default_rng(seed)
        self.event, self.way = random.integers(0, len(EVENTS), pairs), random.integers(0, len(WAYS), pairs)
        wording = random.integers(0, len(WORDINGS), pairs)
        meant = OF_EVENTS[self.event] + OF_WAYS[self.way]
        self.text = unit(meant + OF_WORDING[self.event, self.way, wording])
        self.sound = unit(meant + OFFSET + 0.2 * random.normal(size=meant.shape))
        self.meant = [f"{WAYS[w]} {EVENTS[e]}" for w, e in zip(self.way, self.event, strict=True)]
        self.captions = [f"{one} {WORDINGS[f]}" for one, f in zip(self.meant, wording, strict=True)]

    def population(self) -> ArrayPopulation:
        return ArrayPopulation({"captions.vector": self.text}, {"alt": self.captions})


@cache
def planted(seed: int) -> Planted:
    return Planted(seed)


@cache
def trained(seed: int, prompted: bool = True) -> Captioner:
    wish = TextCaptionerSettings.parse(SMALL | (PROMPTED if prompted else {}) | {"seed": seed}, "test")
    return fit_here(InPlantedSpace(wish), planted(seed).population()).task.model  # type: ignore[no-any-return]


def right(model: Captioner, vectors: np.ndarray, meant: list[str]) -> float:
    """Share of which the caption says what is meant, in whatever wording."""
    said = [" ".join(texts[0].split()[:2]) for texts in model.generate({"image": torch.from_numpy(vectors)})]
    return float(np.mean([text == one for text, one in zip(said, meant, strict=True)]))


@pytest.mark.slow
def test_of_sounds_never_heard_both_prompts_say_more_than_noise_alone_over_three_seeds() -> None:
    more = []
    for seed in SEEDS:
        unseen = Planted(100 + seed, 512)
        with_prompts, with_noise = (right(trained(seed, one), unseen.sound, unseen.meant) for one in (True, False))
        more.append(with_prompts - with_noise)
        assert with_prompts > 0.7  # 1 in 24 at random
    assert sum(one > 0 for one in more) >= 2, more
    assert np.mean(more) > 0.02, more
    assert right(trained(0), planted(0).text, planted(0).meant) > 0.95


def test_swapping_captions_for_sounds_changes_no_parameter() -> None:
    model = trained(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for vectors in (planted(0).text, planted(0).sound):
        model.generate({"image": torch.from_numpy(vectors)})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(one.requires_grad for one in model.parameters())


def test_the_hard_prompt_is_the_words_of_the_nearest_labels_the_nearest_first() -> None:
    model, x = trained(0), torch.from_numpy(planted(0).sound[:32])
    assert model.memory is not None
    told = model.memory(x)
    cosines = F.normalize(x, dim=1) @ torch.from_numpy(OF_EVENTS).T
    for tokens, row in zip(told.tolist(), cosines, strict=True):
        expected = [EVENTS[at] for at in row.argsort(descending=True)[:2].tolist()]
        assert model.tokens.decode([token for token in tokens if token >= 0]).split() == expected
    assert (model.memory(torch.full((1, WIDTH), torch.nan)) == -1).all()  # of no sound, no label


def test_the_label_that_is_told_is_heeded() -> None:
    model, unseen = trained(0), Planted(100)
    told, tokens = {"image": torch.from_numpy(unseen.sound)}, model.tokens.encode(unseen.captions, model.longest)
    nats = []
    for shift in (0, 1):  # the event's own name, and another's
        names = [EVENTS[(event + shift) % len(EVENTS)] for event in unseen.event]
        words = model.tokens.encode(names, 1)[:, 1:2]
        with torch.no_grad():
            logits = model.logits(told | {"concepts": words}, tokens[:, :-1])
        nats.append(float(model.nats(logits, tokens).sum(1).mean()))
    assert nats[1] > nats[0] + 0.02, nats


def test_in_training_labels_are_those_nearest_to_the_augmented_vector() -> None:
    task = InPlantedSpace(TextCaptionerSettings.parse(SMALL | PROMPTED | {"noise": 0.5}, "test"))
    task.population, task.device = planted(0).population(), "cpu"
    task.model = task.build()
    examples = task.population.read(np.arange(64), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(64), examples.keys)
    asked: list[torch.Tensor] = []
    task.model.memory.register_forward_hook(lambda _, x, out: asked.append(x[0]))
    task.encode(batch)
    assert (asked[0] - batch["image"]).norm(dim=1).min() > 0.1
    assert (batch["image"] != torch.from_numpy(planted(0).text[:64])).any(1).float().mean() > 0.3  # exchanged ones
