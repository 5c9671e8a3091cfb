"""MultiCapCLIP: concepts recalled as by brute force, noise in training alone, clips of any order, the language told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_captioners import SMALL_CAPTIONER
from small_encoders import ours
from torch.nn import functional as F  # noqa: N812
from vectors import unit

from pairwright.components.dataset.examples.example import Text
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.memory import Memory, pooled
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.text_only.concept_phrases import concept_phrases
from pairwright.components.pretrain.text_only.similar_captions import SimilarCaptions
from pairwright.components.pretrain.text_only.text_captioner import TextCaptioner, TextCaptionerSettings
from pairwright.components.recaption.captioners.prefix_captioner import PrefixCaptionerSettings, PrefixCaptions
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here

PAIRS, WIDTH, SEEDS = 256, 24, (0, 1, 2)
# The emoji corpus's own names.
NAMES = {
    "en": ("dog", "bus", "tree", "key", "cloud", "bread"),
    "de": ("Hund", "Bus", "Baum", "Schlüssel", "Wolke", "Brot"),
    "fr": ("chien", "bus", "arbre", "clé", "nuage", "pain"),
}
LANGUAGES = tuple(NAMES)
SMALL = SMALL_CAPTIONER | {
    "features": "captions.vector",
    "steps": 110,
    "noise": 0.1,
    "encoder": "builtin:planted",
    "concepts": NAMES["en"],
    "recalled": 2,
    "languages": LANGUAGES,
    "translations": ("translation@de", "translation@fr"),
}


MEANT = unit(np.random.default_rng(7).normal(size=(len(NAMES["en"]), WIDTH)))


class InPlantedSpace(TextCaptioner):
    """Whose encoder is the planted space."""

    def embedded(self, phrases: tuple[str, ...]) -> torch.Tensor:
        return torch.from_numpy(MEANT[[NAMES["en"].index(one) for one in phrases]])


class Planted:
    """Things' names in three languages, and pictures at an offset of them."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        offset = np.random.default_rng(8).normal(size=(1, WIDTH)) * 0.15
        self.thing = random.integers(0, len(MEANT), PAIRS)
        self.text = unit(MEANT[self.thing] + 0.03 * random.normal(size=(PAIRS, WIDTH)))
        self.image = unit(MEANT[self.thing] + offset + 0.12 * random.normal(size=(PAIRS, WIDTH)))

    def population(self) -> ArrayPopulation:
        texts = {
            source: [[Text(NAMES[lang][t], source, 0, lang)] for t in self.thing]
            for lang, source in zip(LANGUAGES, ("alt", "translation@de", "translation@fr"), strict=True)
        }
        return ArrayPopulation({"captions.vector": self.text}, texts)


@cache
def planted(seed: int) -> Planted:
    return Planted(seed)


def settings(**changes: Any) -> TextCaptionerSettings:
    return TextCaptionerSettings.parse(SMALL | changes, "test")


@cache
def trained(seed: int) -> Captioner:
    return fit_here(InPlantedSpace(settings(seed=seed)), planted(seed).population()).task.model  # type: ignore[no-any-return]


def asked(vectors: np.ndarray | torch.Tensor, lang: str) -> dict[str, torch.Tensor]:
    return {
        "image": torch.as_tensor(vectors),
        "language": torch.full((len(vectors),), LANGUAGES.index(lang) + 1),
    }


def said(model: Captioner, vectors: np.ndarray | torch.Tensor, lang: str) -> list[str]:
    return [texts[0] for texts in model.generate(asked(vectors, lang))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_language_told_is_the_language_spoken_of_pictures_that_were_never_seen(seed: int) -> None:
    unseen = Planted(100 + seed)
    for lang in LANGUAGES:
        names = [NAMES[lang][thing].lower() for thing in unseen.thing]
        found = said(trained(seed), unseen.image, lang)
        assert np.mean([one == name for one, name in zip(found, names, strict=True)]) > 0.8, lang  # a sixth at random


def memory(phrases: int = 200, k: int = 8, width: int = 16) -> Memory:
    vectors = unit(np.random.default_rng(1).normal(size=(phrases, width)))
    return Memory("concepts", [str(i) for i in range(phrases)], torch.from_numpy(vectors), k)


def test_what_is_recalled_is_what_brute_force_finds() -> None:
    held, x = memory(), np.random.default_rng(2).normal(size=(50, 16)).astype(np.float32)
    found = held.nearest(torch.from_numpy(x))
    for row, mine in zip(x, found.tolist(), strict=True):
        cosines = [float(row @ phrase) / float(np.linalg.norm(row)) for phrase in held.vectors.numpy()]
        assert mine == sorted(range(len(cosines)), key=lambda at: -cosines[at])[:8]
    assert torch.equal(held(torch.from_numpy(x)), held.vectors[found])
    nothing = held(torch.full((1, 16), torch.nan))
    assert bool(nothing.isnan().all())  # a pair without a picture is told of no concept


def test_a_clips_concepts_are_those_of_the_greatest_mean_similarity_in_any_order_of_its_frames() -> None:
    held, random = memory(), np.random.default_rng(3)
    frames = torch.from_numpy(unit(random.normal(size=(20 * 5, 16)))).view(20, 5, 16)
    mean = (frames @ held.vectors.T).mean(1)  # (n, phrases)
    expected = mean.sort(dim=1, descending=True, stable=True).indices[:, :8]
    assert torch.equal(held.nearest(pooled(frames)), expected)
    model = trained(0)
    clips = torch.from_numpy(unit(planted(0).image.repeat(4, 0) + 0.1 * random.normal(size=(4 * PAIRS, WIDTH))))
    clips = clips.view(PAIRS, 4, WIDTH)
    turned = clips[:, [2, 0, 3, 1]]
    assert said(model, clips, "de") == said(model, turned, "de")
    assert said(model, clips, "de") == said(model, pooled(clips), "de")
    lacking = torch.cat([clips, torch.full((PAIRS, 1, WIDTH), torch.nan)], 1)  # a frame that could not be read
    assert torch.allclose(pooled(lacking), pooled(clips), atol=1e-6)


def task_of(wish: TextCaptionerSettings, kind: type[TextCaptioner] = InPlantedSpace) -> TextCaptioner:
    task = kind(wish)
    task.population, task.device = planted(0).population(), "cpu"
    task.model = task.build()
    return task


def test_concepts_are_recalled_by_the_noised_vector_in_training_and_by_the_clean_one_afterwards() -> None:
    task = task_of(settings(noise=1.0))
    examples = task.population.read(np.arange(64), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(64), examples.keys)
    recalled: list[torch.Tensor] = []
    task.model.memory.register_forward_hook(lambda _, x, out: recalled.extend([x[0], out]))
    for _ in range(2):
        task.encode(batch)
    assert not torch.equal(recalled[0], recalled[2])  # drawn anew
    assert torch.allclose(recalled[0].norm(dim=1), torch.ones(64))
    assert torch.equal(recalled[1], task.model.memory.vectors[task.model.memory.nearest(recalled[0])])
    recalled.clear()
    for _ in range(2):
        task.model.generate(asked(planted(0).image[:64], "en"))
    assert torch.equal(recalled[0], torch.from_numpy(planted(0).image[:64]))
    assert torch.equal(recalled[0], recalled[2])


def test_concepts_are_heeded_and_nothing_of_the_memory_is_trained() -> None:
    model = trained(0)
    assert model.memory is not None
    assert torch.equal(model.memory.vectors, torch.from_numpy(MEANT))
    told = asked(planted(0).image[:64], "en")
    tokens = model.tokens.encode([NAMES["en"][t] for t in planted(0).thing[:64]], model.longest)[:, :-1]
    other = model.memory.vectors[(model.memory.nearest(told["image"]) + 1) % len(MEANT)]
    with torch.no_grad():
        own, changed = (model.logits(given, tokens) for given in (told, told | {"concepts": other}))
    assert (own.softmax(-1) - changed.softmax(-1)).abs().max() > 0.05


def test_each_caption_is_learnt_in_each_language_it_has_and_told_which_it_is() -> None:
    task = task_of(settings())
    counts = np.zeros(len(LANGUAGES))
    for epoch in range(12):
        batch = task.collate(task.population.read(np.arange(PAIRS), epoch, 0))
        for row, (lang, tokens) in enumerate(zip(batch["language"].tolist(), batch["tokens"].tolist(), strict=True)):
            counts[lang - 1] += 1
            name = NAMES[LANGUAGES[lang - 1]][planted(0).thing[row]]
            assert task.model.tokens.decode(tokens[1:]) == name.lower()
    assert np.abs(counts / counts.sum() - 1 / 3).max() < 0.03
    with pytest.raises(InvalidRecipe, match="need `languages`"):
        settings(languages=())


def test_the_bank_is_of_the_commonest_phrases_in_the_encoders_own_space(tmp_path: Path) -> None:
    texts = ["a red bus on the road", "the red bus", "a dog and a red bus by the road", "it is on"]
    assert concept_phrases(texts, 2) == ["red bus", "road"]
    assert concept_phrases(texts, 9) == ["red bus", "road", "dog"]
    assert concept_phrases(["very old wooden fishing boat"], 9) == ["wooden fishing boat"]
    ours(dim=WIDTH).save(tmp_path)
    wish = settings(concepts=4, encoder=resolve_model(str(tmp_path)), phrase_template="a picture of {}")
    task = task_of(wish, TextCaptioner)
    assert task.model.memory is not None
    held = task.model.memory.phrases
    assert held == tuple(concept_phrases([NAMES["en"][t] for t in planted(0).thing], 4))
    expected = ours(dim=WIDTH).encode_text([f"a picture of {one}" for one in held])
    assert torch.allclose(task.model.memory.vectors, expected, atol=1e-5)
    ours(dim=16).save(tmp_path / "narrow")
    with pytest.raises(InvalidRecipe, match="name the encoder that made the column"):
        task_of(settings(concepts=4, encoder=resolve_model(str(tmp_path / "narrow"))), TextCaptioner)


def test_a_folder_keeps_the_memory_and_the_step_speaks_the_language_asked_for(tmp_path: Path) -> None:
    save_captioner(trained(0), tmp_path, "# card")
    again, rows = load_captioner(tmp_path), planted(0).image[:16]
    assert again.memory is not None
    assert again.memory.phrases == NAMES["en"]
    wish = {"model": resolve_model(str(tmp_path)), "features": "p.vector", "level": "none", "lang": "fr"}
    step = PrefixCaptions(PrefixCaptionerSettings.parse(wish, "test"))
    step.setup("cpu")
    batch = PairBatch(np.arange(16), [str(i) for i in range(16)], [{}] * 16, columns={"p.vector": list(rows)})
    captions = step.caption(batch)
    assert [one.text if one else None for one in captions] == said(trained(0), rows, "fr")
    assert {one.lang for one in captions if one} == {"fr"}


def test_without_concepts_noise_and_translations_it_is_the_plain_captioner_bit_for_bit() -> None:
    own = ("noise", "encoder", "concepts", "recalled", "translations")
    shared = {name: value for name, value in SMALL.items() if name not in own} | {"steps": 8}
    population = planted(0).population()
    plain, none, some = (
        fit_here(task, population).task.model.state_dict()
        for task in (
            CaptionerTask(CaptionerSettings.parse(shared, "test")),
            InPlantedSpace(TextCaptionerSettings.parse(shared | {"noise": 0}, "test")),
            InPlantedSpace(settings(steps=8)),
        )
    )
    assert plain.keys() == none.keys() != some.keys()
    assert all(torch.equal(plain[name], none[name]) for name in plain)


def test_a_similar_captions_vector_is_one_of_the_n_nearest_that_say_something_else() -> None:
    random = np.random.default_rng(5)
    x = F.normalize(torch.from_numpy(random.normal(size=(40, 8)).astype(np.float32)), dim=1)
    texts = [str(i % 30) for i in range(40)]  # ten are said twice; the first of them is held
    held = SimilarCaptions(texts, x)
    assert len(held.vectors) == 30
    half = torch.arange(40) % 2 == 0
    for choice in (0.0, 0.5, 0.999):
        found = held.exchanged(texts, x, 3, half, torch.full((40,), choice))
        assert torch.equal(found[~half], x[~half])
        for row in range(0, 40, 2):
            cosines = {at: float(x[row] @ x[at]) for at in range(30) if texts[at] != texts[row]}
            nearest = sorted(cosines, key=lambda at: -cosines[at])[:3]
            assert torch.equal(found[row], x[nearest[int(choice * 3)]])
    task = task_of(settings(exchanged=0.5))
    rows = [task.collate(task.population.read(np.arange(PAIRS), epoch, 0))["image"] for epoch in (0, 1, 0)]
    moved = [(one != torch.from_numpy(planted(0).text)).any(1) for one in rows]
    assert 0.4 < moved[0].float().mean() < 0.6
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(rows[0], rows[2])  # a function of (seed, epoch, key)
