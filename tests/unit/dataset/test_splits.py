"""No group crosses the evaluation splits, and nothing linked to them is trained on."""

import itertools
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.media.pdq import NEAR, hamming
from pairwright.components.dataset.splits import (
    DEV,
    LEFT_OUT,
    TEST,
    TRAIN,
    Candidate,
    DrawSettings,
    draw,
    drawn_elsewhere,
    group_roots,
    near_pairs,
    normalise,
)

ROOT = Path(__file__).parents[3]


def candidate(key: str, caption: str | None, picture: int, *, drawable: bool = True, **more) -> Candidate:
    """A candidate whose hash is decided by `picture`; pictures k and k + 0.5 would be near."""
    bits = np.random.default_rng(picture).integers(0, 256, 32, dtype=np.uint8)
    return Candidate(key, more.pop("category", "animals"), drawable, caption, more.pop("hash", bits), **more)


def flipped(hash: np.ndarray, bits: int) -> np.ndarray:
    flat = np.unpackbits(hash)
    flat[:bits] ^= 1
    return np.packbits(flat)


@st.composite
def populations(draw_from) -> list[Candidate]:
    count = draw_from(st.integers(20, 60))
    words = ["A cat.", "cat", "Dog", "a dog", "The letter S.", "the letter s", "", None] + [
        f"thing {i}" for i in range(40)
    ]
    found = []
    for index in range(count):
        picture = draw_from(st.integers(0, 40))
        base = candidate(str(index), draw_from(st.sampled_from(words)), picture)
        near = flipped(base.hash, draw_from(st.integers(0, NEAR)))
        found.append(
            Candidate(
                f"k{index}",
                draw_from(st.sampled_from(["animals", "symbols", "town"])),
                draw_from(st.booleans()) and bool(base.caption),
                base.caption,
                draw_from(st.sampled_from([near, None])),
                draw_from(st.sampled_from([None, None, "rocket"])),
                draw_from(st.sampled_from([near, None, candidate("", None, picture + 1).hash])),
            )
        )
    return found


def linked(a: Candidate, b: Candidate) -> bool:
    same_text = normalise(a.caption) != "" and normalise(a.caption) == normalise(b.caption)
    near = any(
        x is not None and y is not None and hamming(x[None], y[None])[0, 0] <= NEAR
        for x, y in ((a.hash, b.hash), (a.stored, b.stored))
    )
    return bool(same_text or near or (a.family and a.family == b.family))


@pytest.mark.slow
@given(populations())
@settings(max_examples=60, deadline=None)
def test_no_group_crosses(population: list[Candidate]) -> None:
    if not any(one.drawable for one in population):
        return
    splits = draw(population, DrawSettings(pairs=8, largest_group=3))
    places: dict[str, set[str]] = {}
    for name, group in zip(splits.split, splits.group, strict=True):
        if name != LEFT_OUT:
            places.setdefault(group, set()).add(name)
    assert all(len(names) == 1 for names in places.values())
    for (a, x), (b, y) in itertools.combinations(zip(population, splits.split, strict=True), 2):
        if x != y and LEFT_OUT not in (x, y):
            assert not linked(a, b), "the definition itself, pair by pair"
    assert all(population[i].drawable for i, name in enumerate(splits.split) if name in (DEV, TEST))
    assert [reason is not None for reason in splits.reason] == [name == LEFT_OUT for name in splits.split]


def test_same_candidates_same_draw_whatever_their_order() -> None:
    population = [candidate(f"k{i}", f"thing {i // 2}", i) for i in range(60)]
    first = draw(population, DrawSettings(pairs=10))
    again = draw(population[::-1], DrawSettings(pairs=10))
    # A group is named by its first member, so only who goes where is compared.
    assert {c.key for c, s in zip(population, first.split, strict=True) if s == DEV} or first.split.count(DEV) == 0
    assert first.split.count(DEV) == again.split.count(DEV) == 10
    assert draw(population, DrawSettings(pairs=10)) == first


def test_a_drawing_like_an_evaluation_picture_is_left_out_with_its_reason() -> None:
    stamps = [candidate(f"stamp{i}", f"thing {i}", i) for i in range(20)]
    drawings = [
        candidate("copy", "clip042", 500, drawable=False, hash=flipped(stamps[i].hash, 31)) for i in range(20)
    ] + [candidate("words", f"Thing  {i}!", 600 + i, drawable=False) for i in range(20)]
    splits = draw(stamps + drawings, DrawSettings(pairs=5))
    assert splits.split.count(DEV) == splits.split.count(TEST) == 5
    reasons = [reason.partition(":")[0] for reason in splits.reason if reason]
    assert sorted(reasons) == ["caption"] * 10 + ["picture"] * 10
    published = splits.composition(stamps + drawings)
    assert published["left_out"] == {"caption": 10, "picture": 10}
    assert sum(published["pairs"][TRAIN].values()) == 10 + 20


def test_capped_category_does_not_dominate_and_large_groups_stay_in_training() -> None:
    letters = [candidate(f"l{i}", f"letter {i}", i, category="symbols") for i in range(60)]
    rest = [candidate(f"a{i}", f"animal {i}", 100 + i) for i in range(40)]
    flowers = [candidate(f"f{i}", "A flower.", 200 + i, category="plants") for i in range(6)]
    population = letters + rest + flowers
    splits = draw(population, DrawSettings(pairs=20, largest_group=4, capped=(("symbols", 0.1),)))
    symbols = [s for c, s in zip(population, splits.split, strict=True) if c.category == "symbols"]
    assert symbols.count(DEV) == symbols.count(TEST) == 2
    assert {s for c, s in zip(population, splits.split, strict=True) if c.caption == "A flower."} == {TRAIN}


def test_groups_are_transitive_and_a_missing_caption_or_picture_links_nothing() -> None:
    near = candidate("b", "two", 0, hash=flipped(candidate("a", "", 0).hash, 31))
    population = [
        candidate("a", "one", 0),
        near,
        candidate("c", "TWO.", 7),
        candidate("d", "", 8),
        candidate("e", "", 9, hash=None),
        candidate("f", None, 10, hash=None),
    ]
    assert group_roots(population) == [0, 0, 0, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "plain"),
    [("A flower.", "flower"), ("The letter Ü", "letter ü"), ("an_apple", "apple"), ("…", ""), (None, "")],
)
def test_normalised_captions(text: str | None, plain: str) -> None:
    assert normalise(text) == plain


@pytest.mark.parametrize(
    ("one", "other"),
    [("हिन्दी", "हांद"), ("คืน", "คน"), ("கோ", "கூ"), ("ба\u0301нка", "банка"), ("x\u030c", "x")],
)
def test_words_that_differ_in_marks_alone_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert normalise(one) == one, "and whole: a vowel sign ends no word"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("❤️", ""),
        ("1️⃣ one", "1 one"),
        ("\u0301a", "a"),
        ("e\u0301", "é"),
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया"),
    ],
)
def test_a_mark_without_a_letter_and_a_look_of_an_emoji_say_nothing(text: str, plain: str) -> None:
    assert normalise(text) == plain


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing_and_ascii_is_as_it_was(text: str) -> None:
    once = normalise(text)
    assert normalise(f"x {once}") == f"x {once}".strip()  # `x`: an article that stands second is none
    if text.isascii():
        assert once == _before_marks(text)


def _before_marks(caption: str) -> str:
    """As it was when the pinned corpora were drawn: marks dropped, and words broken at them."""
    words = re.sub(r"[^\w]+|_+", " ", unicodedata.normalize("NFKC", caption).casefold()).strip()
    return re.sub(r"^(?:an?|the|some)\s+", "", words)


@pytest.mark.parametrize("name", ["raw", "dev", "test", "emoji", "emoji-dev", "emoji-test"])
def test_the_captions_that_pinned_splits_were_drawn_by_read_as_they_did(name: str) -> None:
    root = ROOT / "data" / name
    if not (root / "dataset.json").exists():
        pytest.skip("the corpus is not pulled")
    drawn_by = [
        entry["text"]
        for _, table in open_dataset(str(root)).iter_sidecars(["captions"])
        for captions in table["captions"].to_pylist()
        for entry in captions or ()
        if entry["source"] != "translation"
    ]
    assert len(drawn_by) > 300
    assert all(normalise(text) == _before_marks(text) for text in drawn_by)


def test_near_pairs_finds_every_pair_across_blocks() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 256, (2100, 32), dtype=np.uint8)
    hashes[2050] = flipped(hashes[3], NEAR)
    hashes[1500] = flipped(hashes[1400], NEAR + 1)
    assert list(near_pairs(hashes)) == [(3, 2050)]


def test_a_split_is_of_the_data_it_was_drawn_with_and_of_whatever_its_maker_says_if_it_was_not_drawn() -> None:
    drawn = {"composition": {"pairs": {"dev": {"animals": 3}}}}
    raw, dev, exported = (
        Dataset(name, name, (), facts=facts)
        for name, facts in (("raw", drawn), ("dev", drawn), ("kept", drawn | {"exported_from": "d"}))
    )
    mine, my_dev = Dataset("mine", "mine", ()), Dataset("my_dev", "my_dev", ())
    other = Dataset("other", "other", (), facts={"composition": {"pairs": {"dev": {"animals": 4}}}})
    assert not drawn_elsewhere(dev, raw)
    assert not drawn_elsewhere(dev, exported)
    assert drawn_elsewhere(dev, mine)
    assert drawn_elsewhere(dev, other)
    assert not drawn_elsewhere(my_dev, mine)
    assert not drawn_elsewhere(my_dev, raw)
