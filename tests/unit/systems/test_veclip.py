"""VeCLIP: its mix is a pure function, whoever loads it; VeCap keeps the alt-text and adds what is seen; both teach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learning import heads_on, tiny_settings
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import Caption
from pairwright.components.dataset.captions.caption_mix import choose_sources, cycle_of, cycle_sources, key_hashes
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.text_backends.rules import words_of
from pairwright.components.recaption.captioners.vecap import VeCap, VeCapSettings
from pairwright.components.training.loader import Loader
from pairwright.components.training.order import Order

PAIRS, WIDTH, SEEDS = 240, 64, (0, 1, 2)
EVEN = {"alt": 0.5, "vecap": 0.5}
COLUMNS = {"alt": "text_alt.vector", "vecap": "text_vecap.vector"}


# -- the mix ----------------------------------------------------------------------------------------


def test_a_choice_is_a_pure_function_of_seed_epoch_and_key_half_and_half_and_every_key_meets_both() -> None:
    keys = [f"pair-{number}" for number in range(4000)]
    chosen = np.stack([choose_sources(0, epoch, key_hashes(keys), EVEN) for epoch in range(40)])
    assert abs(chosen.mean() - 0.5) < 3 * 0.5 / np.sqrt(chosen.size)
    assert (np.abs(chosen.mean(1) - 0.5) < 4 * 0.5 / np.sqrt(len(keys))).all()
    once = chosen[:20]
    assert np.ptp(once, axis=0).all(), "each of 4,000, where one in 2^18 would miss a source"
    assert (once != chosen[20:]).any(), "another epoch is another draw"
    alone = [int(choose_sources(0, 7, key_hashes([key]), EVEN)[0]) for key in keys[:50]]
    assert alone == chosen[7, :50].tolist()


@pytest.mark.parametrize("mix", ["draw", "cycle"])
def test_what_a_pair_says_is_the_same_for_any_number_of_workers_and_from_any_step(mix: str) -> None:
    population = texts_alone()

    def said(threads: int, ranks: int, first: int = 0) -> dict[tuple[int, str], str]:
        found = {}
        for rank in range(ranks):
            order = Order(population.sizes, 24, seed=5)
            loader = Loader(
                population,
                order,
                lambda examples: {"text": examples.captions(EVEN, mix)},
                seed=5,
                threads=threads,
                rank=rank,
                world_size=ranks,
            )
            for step, batch in loader.stream(first, 25 - first):
                found |= {(step, key): text for key, text in zip(batch.keys, batch["text"], strict=True)}
        return found

    one = said(1, 1)
    assert said(4, 1) == one
    assert said(2, 3) == one
    later = said(3, 1, first=11)
    assert later == {place: text for place, text in one.items() if place[0] >= 11}
    assert {text.partition(" ")[0] for text in one.values()} == {"alt", "vecap"}


def texts_alone() -> ArrayPopulation:
    return ArrayPopulation({}, {source: [f"{source} {n}" for n in range(PAIRS)] for source in EVEN})


@pytest.mark.parametrize(
    "weights", [{"a": 1, "b": 1}, {"a": 0.7, "b": 0.3}, {"a": 3, "b": 1}, {"a": 2, "b": 1, "c": 2}]
)
def test_by_turns_a_ratio_is_exact_of_every_pair_over_a_cycle_and_in_every_epoch_over_the_pairs(weights: Any) -> None:
    turns = cycle_of(weights)
    whole = sum(weights.values())
    wanted = np.array([round(len(turns) * weight / whole) for weight in weights.values()])
    numbers = np.arange(40 * len(turns))
    chosen = np.stack([cycle_sources(3, epoch, numbers, weights) for epoch in range(2 * len(turns))])
    for index, count in enumerate(wanted):
        assert ((chosen == index).sum(1) == 40 * count).all(), "each epoch"
        for first in range(len(turns)):  # any epochs in a row
            assert ((chosen[first : first + len(turns)] == index).sum(0) == count).all()
    assert len({tuple(row) for row in chosen[0].reshape(40, -1)}) > 1, "no rhythm that data could have, too"
    assert (cycle_sources(3, 1, numbers[::-1], weights) == chosen[1][::-1]).all()
    assert (cycle_sources(4, 1, numbers, weights) != chosen[1]).any()


def test_turns_are_spread_and_weights_without_a_cycle_are_refused() -> None:
    assert cycle_of({"a": 1, "b": 1}) == [0, 1]
    assert cycle_of({"a": 3, "b": 1}) == [0, 0, 1, 0]
    assert cycle_of({"a": 0.0, "b": 2.0}) == [1]
    gaps = np.diff(np.flatnonzero(np.array(cycle_of({"a": 0.7, "b": 0.3}) * 2) == 1))
    assert set(gaps.tolist()) == {3, 4}
    with pytest.raises(ValueError, match="no cycle of at most 100 turns"):
        cycle_of({"a": 0.123456, "b": 1 - 0.123456})
    with pytest.raises(InvalidRecipe, match="no cycle"):
        tiny_settings(captions={"alt": 0.123456, "vecap": 1.0}, text_features=COLUMNS, mix="cycle")


def test_by_turns_too_a_pair_without_a_source_takes_the_next() -> None:
    has = {"alt": np.arange(PAIRS) % 3 > 0, "vecap": np.arange(PAIRS) % 3 < 2}
    found = cycle_sources(0, 0, np.arange(PAIRS), EVEN, has)
    assert (found[~has["alt"]] == 1).all()
    assert (found[~has["vecap"]] == 0).all()
    both = has["alt"] & has["vecap"]
    assert (found[both] == cycle_sources(0, 0, np.arange(PAIRS), EVEN)[both]).all()


# -- VeCap ------------------------------------------------------------------------------------------


def written(alt: str | None, tags: Any = (), sure: Any = None, colours: Any = (), **said: Any) -> Caption | None:
    columns = {"tags.tags": [list(tags)], "tags.p": [sure or [1.0] * len(tags)], "colours.names": [list(colours)]}
    captions = [{"source": "alt", "text": alt, "lang": "en"}] if alt is not None else []
    captions += [{"source": "told", "text": said.pop("told"), "lang": "en"}] if "told" in said else []
    row = {"captions": captions, "regions": said.pop("boxes", None)}
    experts = {"tags": "tags.tags", "probabilities": "tags.p", "colours": "colours.names"}
    step = VeCap(VeCapSettings.parse(experts | said, "vecap"))
    step.setup("cpu")
    found = step.caption(PairBatch(np.arange(1), ["k"], [row], columns=columns))[0]
    assert found is None or found.status == (None if found.note else "ok")
    return found and replace(found, status=None)


def test_names_of_the_alt_text_stay_and_what_it_does_not_name_is_added() -> None:
    assert written("Opel Kadett, 1979", ["car", "grille"], colours=["red"]) == Caption(
        "Opel Kadett, 1979, showing a car and a grille in red"
    )
    assert written("a red car", ["car"], colours=["red"]) == Caption("a red car")
    assert written("a car.", colours=["red", "white"]) == Caption("a car, in red and white")
    assert written(None, ["car"]) == Caption("a car")
    assert written("Freedom", seen="told", told="A bell on a tower.") == Caption("Freedom, showing A bell on a tower")
    assert written(None, colours=["red"]) is None  # a colour alone is no caption
    assert written("IMG_2041.jpg", colours=["red"]) == Caption("IMG_2041.jpg", note="no_evidence")


def test_boxes_are_counted_and_what_is_unsure_is_no_concept() -> None:
    boxes = [{"label": "dog", "score": None}] * 2 + [{"label": "cat", "score": 0.3}, {"label": "owl", "score": 0.9}]
    assert written("Rex", boxes=boxes, regions=True) == Caption("Rex, showing two dogs and an owl")
    assert written("Rex", boxes=boxes) == Caption("Rex")
    assert written("Rex", ["bus", "tram"], [0.4, 0.8]) == Caption("Rex, showing a tram")


def test_every_content_word_is_the_alt_texts_or_a_concept_and_none_of_the_alt_text_is_lost() -> None:
    draw = np.random.default_rng(0)
    nouns, names = ["bus", "dog", "oak", "owl", "church"], ["Paris", "Rex", "Opel", "1979"]
    glue = {"showing", "and", "in", "a", "an"}
    for _ in range(200):
        alt = " ".join(draw.permutation(names + nouns)[: draw.integers(1, 5)])
        tags, colours = draw.permutation(nouns)[:3].tolist(), draw.permutation(["red", "blue", "grey"])[:2].tolist()
        found = written(alt, tags, colours=colours)
        assert found is not None
        assert words_of(alt) <= words_of(found.text)
        assert words_of(found.text) - glue == words_of(alt) | set(tags) | set(colours)


# -- what it teaches ----------------------------------------------------------------------------------


class Planted:
    """Pictures of a name and a thing; alt-text names one, VeCap says the thing too, and half of the alt-texts err.

    Vectors are sums of what a text says, so that a head can learn to read either.
    """

    def __init__(self, seed: int, wrong: float = 0.5) -> None:
        world, draw = np.random.default_rng(7), np.random.default_rng(seed)
        of_names, of_things = world.normal(size=(2, 20, WIDTH)), world.normal(size=(2, 8, WIDTH))
        self.name, self.thing = draw.integers(0, 20, PAIRS), draw.integers(0, 8, PAIRS)
        told = np.where(draw.random(PAIRS) < wrong, draw.integers(0, 20, PAIRS), self.name)
        noise = [0.3 * draw.normal(size=(PAIRS, WIDTH)) for _ in range(3)]
        self.image = of_names[0][self.name] + of_things[0][self.thing] + noise[0]
        self.alt = of_names[1][told] + noise[1]
        self.vecap = of_names[1][told] + of_things[1][self.thing] + noise[2]
        self.asked = of_names[1][self.name] + of_things[1][self.thing]

    def population(self) -> ArrayPopulation:
        columns = {"image_features.vector": self.image, COLUMNS["alt"]: self.alt, COLUMNS["vecap"]: self.vecap}
        return ArrayPopulation({name: value.astype(np.float32) for name, value in columns.items()})


def trained(planted: Planted, seed: int, **said: Any) -> Any:
    wish = {"dim": 16, "steps": 60, "batch_size": 48, "lr": 3e-3, "seed": seed, "text_features": COLUMNS}
    return heads_on(planted.population(), **wish, **said)


def recall_at_5(model: Any, held_out: Planted) -> float:
    """Share of queries of name and thing with a picture of both among the first five."""
    with torch.no_grad():
        image, text = (
            F.normalize(head(torch.from_numpy(of.astype(np.float32))), dim=1)
            for head, of in ((model.project_image, held_out.image), (model.project_text, held_out.asked))
        )
    first = (text @ image.T).topk(5).indices.numpy()
    right = (held_out.name[first] == held_out.name[:, None]) & (held_out.thing[first] == held_out.thing[:, None])
    return float(right.any(1).mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mix_of_both_finds_more_unseen_pictures_than_alt_text_alone(seed: int) -> None:
    planted, held_out = Planted(seed), Planted(100 + seed, wrong=0.0)
    alt = recall_at_5(trained(planted, seed, captions={"alt": 1.0}), held_out)
    mixed = recall_at_5(trained(planted, seed, captions=EVEN), held_out)
    assert mixed > alt + 0.1, (mixed, alt)


def test_a_weight_of_0_is_alt_text_alone_bit_for_bit_and_a_mix_is_not() -> None:
    planted = Planted(0)
    plain, none, some = (
        trained(planted, 0, captions=captions).state_dict()
        for captions in ({"alt": 1.0}, {"alt": 1.0, "vecap": 0.0}, EVEN)
    )
    assert all(torch.equal(plain[name], none[name]) for name in plain)
    assert not all(torch.equal(plain[name], some[name]) for name in plain)
