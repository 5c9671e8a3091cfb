"""Planted damage: of the kind and at the rate asked for, never a caption that may be true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.captions.nouns import head_noun, with_noun
from pairwright.components.dataset.damage.damage import KINDS, damaged, plant
from pairwright.components.dataset.damage.damage_texts import Texts, plain
from pairwright.components.errors import InvalidRecipe

COLOURS, THINGS = ("red", "blue", "green", "black"), ("dog", "house", "truck", "apple", "violin", "umbrella")
CAPTIONS = [f"A {colour} {thing} by the road." for colour in COLOURS for thing in THINGS]
CATEGORIES = ["animal" if "dog" in text else "thing" for text in CAPTIONS]
TRANSLATIONS = [[f"Ein Ding Nummer {i}.", text] for i, text in enumerate(CAPTIONS)]


def planted(kind: str, rate: float = 0.5, seed: int = 0, **options: object) -> tuple[list[str | None], np.ndarray]:
    options = {"categories": CATEGORIES, "translations": TRANSLATIONS} | options
    return plant(CAPTIONS, kind, rate, np.random.default_rng(seed), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(rate=st.floats(0, 1), seed=st.integers(0, 5))
def test_damage_is_where_the_mask_says_and_as_much_as_was_asked_for(kind: str, rate: float, seed: int) -> None:
    out, mask = planted(kind, rate, seed)
    wanted = round(rate * len(CAPTIONS))
    assert wanted - (kind.startswith("swapped")) * 2 <= mask.sum() <= wanted  # one alone cannot be swapped
    changed = np.array([plain(a or "") != plain(b) for a, b in zip(out, CAPTIONS, strict=True)])
    assert (changed == mask).all()
    again, same = planted(kind, rate, seed)
    assert again == out
    assert (same == mask).all()


def test_a_swap_moves_captions_and_loses_none() -> None:
    out, mask = planted("swapped", 0.5)
    assert mask.sum() == 12
    assert sorted(map(str, out)) == sorted(CAPTIONS)


def test_a_swap_within_a_category_stays_in_it() -> None:
    out, mask = planted("swapped_within", 1.0)
    assert mask.all()
    assert all(("dog" in text) == ("dog" in str(new)) for text, new in zip(CAPTIONS, out, strict=True))


@settings(deadline=None, max_examples=30)
@given(
    groups=st.lists(st.integers(0, 5), min_size=24, max_size=24), seed=st.integers(0, 3), kind=st.sampled_from(KINDS)
)
def test_no_pair_gets_a_caption_of_its_group(groups: list[int], seed: int, kind: str) -> None:
    """Two dogs of one group may lend each other nothing, in any case or punctuation."""
    captions = [text.upper() if i % 2 else text for i, text in enumerate([*CAPTIONS[:12], *CAPTIONS[:12]])]
    texts = Texts(captions, CATEGORIES, TRANSLATIONS, groups)
    for row, text in enumerate(damaged(texts, kind, range(24), np.random.default_rng(seed))):
        assert text is None or plain(text) not in {plain(captions[i]) for i in range(24) if groups[i] == groups[row]}
        assert text is None or plain(text) != plain(captions[row])


def test_equal_captions_are_never_swapped_for_each_other() -> None:
    captions = ["a dog"] * 6 + ["A DOG!"] * 2
    out, mask = plant(captions, "swapped", 1.0, np.random.default_rng(0))
    assert out == captions
    assert not mask.any()


def test_a_pair_without_a_caption_is_left_alone_and_lends_none() -> None:
    out, mask = plant([*CAPTIONS, None, "", "?!"], "duplicated", 1.0, np.random.default_rng(0))
    assert out[-3:] == [None, "", "?!"]
    assert not mask[-3:].any()
    assert all(text for text in out[:-3])


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        ("truncated", lambda old, new: old.startswith(new) and len(new) < len(old)),
        ("shuffled", lambda old, new: sorted(old.split()) == sorted(new.split())),
        ("repeated", lambda old, new: new.count(old) >= 3),
        (
            "object_replaced",
            lambda old, new: 1 <= sum(a != b for a, b in zip(old.split(), new.split())) <= 2,
        ),
        ("wrong_language", lambda old, new: new.startswith("Ein Ding")),
        ("file_name", lambda old, new: " " not in new and "." in new),
        ("spliced", lambda old, new: new != old and new.endswith(old[-12:])),
        ("keyword_list", lambda old, new: new.split(", ") == sorted({*plain(old).split()})),
    ],
)
def test_each_kind_is_what_its_name_says(kind: str, holds: object) -> None:
    out, mask = planted(kind, 1.0)
    assert mask.all()
    assert all(holds(old, new) for old, new in zip(CAPTIONS, out, strict=True))  # type: ignore[operator]


def test_a_replaced_object_stays_in_its_category() -> None:
    out, _ = planted("object_replaced", 1.0)
    for category, new in zip(CATEGORIES, out, strict=True):
        if category == "thing":
            assert any(f" {thing} " in str(new) for thing in THINGS if thing != "dog")


def test_a_misspelt_kind_and_what_it_lacks_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidRecipe, match='did you mean "swapped"'):
        plant(CAPTIONS, "swaped", 0.1, rng)
    with pytest.raises(InvalidRecipe, match="needs categories"):
        plant(CAPTIONS, "swapped_within", 0.1, rng)
    with pytest.raises(InvalidRecipe, match="needs translations"):
        plant(CAPTIONS, "wrong_language", 0.1, rng)
    with pytest.raises(InvalidRecipe, match=r"\[0, 1\]"):
        plant(CAPTIONS, "swapped", 1.1, rng)


@pytest.mark.parametrize(
    ("caption", "head"),
    [
        ("A large metal mallet.", "mallet"),
        ("A pair of sunglasses.", "sunglasses"),
        ("The red fire truck with a ladder", "truck"),
        ("Bishop. Can only move diagonally", "Bishop"),
        ("A shamrock is a symbol of luck", "shamrock"),
        ("1234 ?!", None),
        ("", None),
    ],
)
def test_head_nouns_of_short_captions(caption: str, head: str | None) -> None:
    noun = head_noun(caption)
    assert (noun.text if noun else None) == head
    assert noun is None or caption[noun.start : noun.end] == noun.text


def test_a_new_noun_takes_the_article_and_the_case_it_needs() -> None:
    for caption, word, wanted in (
        ("A dog.", "apple", "An apple."),
        ("An apple.", "unicorn", "A unicorn."),
        ("Bishop. Moves.", "rook", "Rook. Moves."),
    ):
        noun = head_noun(caption)
        assert noun is not None
        assert with_noun(caption, noun, word) == wanted
