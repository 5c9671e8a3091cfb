"""Fluency on planted damage: sentences score high, keyword lists, shuffles and keyboard noise low."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.caption_fluency import (
    CaptionFluency,
    CaptionFluencySettings,
    fluency,
    word_order,
)

FLUENT = [
    "A red double-decker bus drives over an old stone bridge at night.",
    "This mug of white clay is made by hand and holds half a litre of tea.",
    "Blue cotton T-shirt",
    "Two dogs are playing in the snow while a girl looks on.",
    "An hour before dawn the boats leave the harbour.",
    "All of these shoes have been worn by a runner.",
    "What is that?",
    "A unicorn jumps over a European wall.",
    "The lights have been turned off.",
]
BROKEN = {
    "mug red ceramic gift kitchen coffee tea birthday office": "no function word",
    "bridge the over of a night drives old an at stone": "shuffled",
    "the of a and with the an": "only function words, in no order",
    "asdfgh qwerty sdfjk hjkl zxcvb mnbvc": "keyboard",
    "bus bus bus bus bus bus bus bus": "repeated",
    "A apple and an banana": "articles before the wrong sound",
    "A mug with a": "cut short",
    "12345": "no word",
    "": "nothing",
}


@pytest.mark.parametrize("text", FLUENT)
def test_sentences_and_plain_titles_are_fluent(text: str) -> None:
    assert fluency(text)["score"] >= 0.8


@pytest.mark.parametrize("text", BROKEN)
def test_each_kind_of_broken_text_is_not_fluent(text: str) -> None:
    assert fluency(text)["score"] <= 0.6


def sentences(n: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    parts = (
        ["A small", "The old", "One of the", "An orange", "This"], ["cat", "mug of clay", "bicycle", "shirt", "lamp"],
        ["is standing on", "was left behind", "looks like", "can be seen through", "lies next to"],
        ["the wooden table", "a window of the house", "an open book", "my bed", "some flowers in a vase"],
    )  # fmt: skip
    return [" ".join(str(random.choice(part)) for part in parts) for _ in range(n)]


def test_shuffled_sentences_score_below_real_ones() -> None:
    random = np.random.default_rng(0)
    real = sentences(100, 1)
    shuffled = [" ".join(random.permutation(text.split())) for text in real]
    good = np.array([fluency(text)["score"] for text in real])
    bad = np.array([fluency(text)["score"] for text in shuffled])
    auc = ((good[:, None] > bad[None]) + 0.5 * (good[:, None] == bad[None])).mean()
    assert auc > 0.85


def test_word_order_alone_is_what_a_shuffle_costs() -> None:
    assert word_order("a cat on the mat") == 1
    assert word_order("cat a the on mat") < 0.7
    assert word_order("red mug") == 1


def test_an_absent_caption_is_null() -> None:
    sidecar = [{"captions": []}, {"captions": [{"source": "alt", "text": "A red mug", "lang": None}]}]
    batch = PairBatch(np.arange(2, dtype=np.int32), ["a", "b"], sidecar)
    found = CaptionFluency(CaptionFluencySettings()).score(batch)
    assert found["score"][0] is None
    assert found["score"][1] == 1


@given(st.text(max_size=150))
def test_every_text_has_shares_between_0_and_1(text: str) -> None:
    assert all(0 <= value <= 1 for value in fluency(text).values())
