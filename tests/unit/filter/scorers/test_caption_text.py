"""caption_text on planted captions: each kind of damage has its column, and a good caption has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.caption_text import (
    BOILERPLATE,
    CaptionText,
    CaptionTextSettings,
    boilerplate_kind,
    caption_facts,
    file_name_likeness,
)
from pairwright.components.filter.words.shop_phrases import SHOP_BOILERPLATE

GOOD = [
    "A red double-decker bus on a bridge at night",
    "a photo of a bee on a flower by the river",
    "Ein roter Bus steht auf der Brücke",
    "A drawing of two dogs playing chess",
    "Illustration by the sea: a lighthouse in fog",
    "赤いバスが橋の上にある",
    "A bald eagle.",
    "the created world by night",
]


def batch(texts: list[str | None], authors: list[str | None] | None = None) -> PairBatch:
    captions = [[] if t is None else [{"source": "alt", "text": t, "lang": None}] for t in texts]
    authors = authors or [None] * len(texts)
    rows = [{"captions": c, "author": a} for c, a in zip(captions, authors, strict=True)]
    return PairBatch(np.arange(len(texts), dtype=np.int32), [str(i) for i in range(len(texts))], rows)


@pytest.mark.parametrize("text", GOOD)
def test_a_caption_that_says_something_is_not_boilerplate_nor_a_file_name(text: str) -> None:
    assert boilerplate_kind(text) is None
    assert file_name_likeness(text) == 0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Clipart by Jean Dupont", "author"),
        ("clip art by: ryanlerch", "author"),
        ("by liftarn", "author"),
        ("Untitled", "untitled"),
        ("untitled drawing 3", "untitled"),
        ("No title", "untitled"),
        ("New Document 1", "untitled"),
        ("image", "generic"),
        ("A drawing", "generic"),
        ("picture of", "generic"),
        ("Created with Inkscape", "tool"),
        ("Created with Sodipodi (http://www.sodipodi.com)", "address"),
        ("openclipart.org", "web"),
        ("Click to enlarge", "web"),
        ("Copyright 2004. All rights reserved.", "web"),
        ("https://example.org/x.png", "address"),
    ],
)
def test_boilerplate_is_named_by_its_kind(text: str, kind: str) -> None:
    assert boilerplate_kind(text) == kind


SHOP = [
    ("Free shipping on all orders over $50", "delivery"),
    ("Ships within 3-5 business days", "delivery"),
    ("30-day money-back guarantee", "delivery"),
    ("50% OFF - limited time offer!", "offer"),
    ("Sale $19.99", "offer"),
    ("Add to cart", "call"),
    ("Buy now", "call"),
    ("See product description", "call"),
    ("Out of stock", "stock"),
    ("SKU: 12-345-B", "label"),
    ("Product image", "label"),
    ("Free returns. Shop now. Only 3 left in stock!", "delivery"),
]


@pytest.mark.parametrize(("text", "kind"), SHOP)
def test_a_shops_phrases_are_boilerplate_in_a_shop(text: str, kind: str) -> None:
    facts = caption_facts(text, phrases=SHOP_BOILERPLATE + BOILERPLATE)
    assert facts["boilerplate_kind"] == kind
    assert facts["boilerplate_share"] == 1.0


@pytest.mark.parametrize(
    "text",
    [
        *GOOD,
        "Blue cotton T-shirt with short sleeves",
        "Buy your mother a red mug",
        "A ship in a bottle, 20 cm long",
        "Order of the Phoenix, hardcover",
        "A stock pot of steel with a glass lid",
    ],
)
def test_a_products_description_is_not_boilerplate(text: str) -> None:
    facts = caption_facts(text, phrases=SHOP_BOILERPLATE + BOILERPLATE)
    assert not facts["boilerplate"]
    assert facts["boilerplate_share"] < 0.5


def test_a_clip_art_called_sale_is_a_caption_until_a_shop_says_otherwise() -> None:
    plain = CaptionText(CaptionTextSettings()).score(batch(["Sale"]))
    shop = CaptionText(CaptionTextSettings(shop=True)).score(batch(["Sale"]))
    assert (plain["boilerplate"], shop["boilerplate"]) == ([False], [True])


def test_the_share_of_boilerplate_counts_the_words_it_covers() -> None:
    phrases = SHOP_BOILERPLATE + BOILERPLATE
    half = caption_facts("A red mug. Add to cart", phrases=phrases)
    assert half["boilerplate_share"] == pytest.approx(0.5)
    assert not half["boilerplate"]
    assert caption_facts("A red mug of clay", phrases=phrases)["boilerplate_share"] == 0


def test_the_authors_name_alone_is_boilerplate() -> None:
    assert boilerplate_kind("Francesco Rollandin") is None
    assert boilerplate_kind("francesco rollandin ", "Francesco Rollandin") == "author"
    columns = CaptionText(CaptionTextSettings()).score(batch(["Bob", "Bob"], ["Bob", None]))
    assert columns["boilerplate"] == [True, False]


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("IMG_1234", 1),
        ("DSC00012.JPG", 1),
        ("red car.png", 1),
        ("3f2b8c9d1e", 1),
        ("cat_on_a_mat_01", 0.9),
        ("clipart1234", 0.8),
        ("red-sports-car", 0.7),
        ("redCarOnRoad", 0.6),
        ("architetto_francesco roll", 0.5),
        ("cat 02", 0.3),
    ],
)
def test_file_names_are_recognised(text: str, least: float) -> None:
    assert file_name_likeness(text) >= least


@pytest.mark.parametrize("text", ["buy now buy now buy now buy now", "aaaaaaaaaaaaaaaaaaaa", "cat cat cat cat cat"])
def test_repetition_is_seen_in_words_and_in_characters(text: str) -> None:
    assert caption_facts(text)["repetition"] > 0.5
    assert caption_facts("a red bus on a long bridge at night")["repetition"] < 0.1


def test_an_empty_caption_has_no_characters_and_an_absent_one_is_null() -> None:
    columns = CaptionText(CaptionTextSettings()).score(batch(["", "  ", None]))
    assert columns["chars"] == [0, 0, None]
    assert columns["words"] == [0, 0, None]
    assert columns["boilerplate"] == [False, False, None]
    assert columns["quality"] == [0.0, 0.0, None]


def test_quality_prefers_the_caption_a_person_would() -> None:
    def quality(text: str) -> float:
        return caption_facts(text)["quality"]

    best = quality("A red double-decker bus drives over an old stone bridge at night")
    assert best > quality("red bus") > quality("red_bus_02") > quality("IMG_1234.jpg")
    assert quality("red bus") > quality("Clipart by John Smith")
    assert best > quality("bus bus bus bus bus bus bus bus bus bus bus bus")


@given(st.text(max_size=200))
def test_every_text_has_shares_between_0_and_1_and_quality_too(text: str) -> None:
    facts = caption_facts(text)
    for name in ("unique_words", "repetition", "alphabetic", "file_name_likeness", "boilerplate_share", "quality"):
        assert 0 <= facts[name] <= 1
    assert facts["boilerplate"] == (facts["boilerplate_kind"] is not None)


def test_no_caption_takes_long_to_judge() -> None:
    """Regular expressions must not backtrack exponentially on hostile captions."""
    import time

    start = time.perf_counter()
    for hostile in (
        "a_" * 5000,
        "image " * 2000,
        "by " * 3000,
        "-".join("a" * 3000),
        "created with " * 1000,
        "A" * 9999,
        "free " * 2000,
        "ships in 1 " * 1000,
        "$1," * 3000,
        "only 1 " * 2000,
    ):
        caption_facts(hostile)
        caption_facts(hostile, phrases=SHOP_BOILERPLATE + BOILERPLATE)
    assert time.perf_counter() - start < 5
