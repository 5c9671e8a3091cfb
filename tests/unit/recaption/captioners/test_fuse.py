"""FuseCap's properties (SEED_SYSTEMS.md, row 2), held by the rule engine."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.text_backends import RuleTextModel, open_text_model
from pairwright.components.models.text_backends.protocol import with_evidence
from pairwright.components.models.text_backends.rules import compose
from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings

# Function words of English: what remains of a caption without them is its content.
FUNCTION_WORDS = {
    "a",
    "an",
    "the",
    "and",
    "or",
    "of",
    "on",
    "in",
    "at",
    "to",
    "with",
    "it",
    "its",
    "is",
    "are",
    "by",
    "for",
    "from",
}
EXPERTS = {
    "tags": "tags.tags",
    "probabilities": "tags.probabilities",
    "ocr": "ocr.text",
    "colours": "colours.names",
}


def content(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)} - FUNCTION_WORDS


def batch(alts: list[str | None], **columns: list) -> PairBatch:
    sidecar = [
        {"captions": [] if alt is None else [{"source": "alt", "text": alt, "lang": "en", "ordinal": 0}]}
        for alt in alts
    ]
    keys = [str(i) for i in range(len(alts))]
    return PairBatch(np.arange(len(alts), dtype=np.int32), keys, sidecar, columns=columns)


def street(alt: str | None = "Red fire truck") -> PairBatch:
    return batch(
        [alt],
        **{
            "tags.tags": [["fire engine", "ladder", "umbrella"]],
            "tags.probabilities": [[0.7, 0.6, 0.1]],
            "ocr.text": ["STOP"],
            "colours.names": [["red", "white"]],
        },
    )


def fused(pairs: PairBatch, **values: object) -> list[Caption | None]:
    component = Fuse(FuseSettings.parse({**EXPERTS, **values}, "fuse"))
    component.setup("cpu")
    return list(component.caption(pairs))


def one(pairs: PairBatch, **values: object) -> str:
    caption = fused(pairs, **values)[0]
    assert caption is not None
    assert caption.note is None
    return caption.text


def test_fused_text_contains_the_sign_every_likely_label_and_the_caption() -> None:
    text = one(street())
    assert '"STOP"' in text
    assert "fire engine" in text
    assert "ladder" in text
    assert content("Red fire truck") <= content(text)


def test_a_label_below_the_threshold_is_not_used() -> None:
    assert "umbrella" not in one(street())
    assert "umbrella" in one(street(), min_probability=0.05)


def test_no_content_word_comes_from_outside_the_evidence() -> None:
    assert content(one(street())) == {"red", "fire", "truck", "engine", "ladder", "stop", "white"}


@pytest.mark.parametrize(
    ("expert", "words"), [("tags", {"engine", "ladder"}), ("ocr", {"stop"}), ("colours", {"white"})]
)
def test_without_an_expert_exactly_its_words_are_gone(expert: str, words: set[str]) -> None:
    without = {expert: None} | ({"probabilities": None} if expert == "tags" else {})
    assert content(one(street())) - content(one(street(), **without)) == words
    assert content(one(street(), **without)) <= content(one(street()))


words = st.text("abcdefghijklmnop", min_size=2, max_size=6).filter(lambda word: word not in FUNCTION_WORDS)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)
evidences = st.fixed_dictionaries(
    {
        "caption": st.one_of(st.just(""), phrases),
        "objects": st.lists(phrases, max_size=4),
        "text": st.one_of(st.just(""), phrases.map(str.upper), st.just('SAY "HI"')),
        "colours": st.lists(st.sampled_from(["red", "blue", "grey"]), max_size=3, unique=True),
    }
)


@settings(max_examples=300, deadline=None)
@given(evidences)
def test_recall_is_one_and_hallucination_zero_for_any_evidence(evidence: dict) -> None:
    text = compose(evidence)
    union = content(" ".join([evidence["caption"], evidence["text"], *evidence["objects"], *evidence["colours"]]))
    assert content(text) == union
    assert evidence["text"] in text


@settings(max_examples=200, deadline=None)
@given(evidences, st.sampled_from(["objects", "text", "colours"]))
def test_disabling_any_expert_removes_exactly_its_own_words(evidence: dict, expert: str) -> None:
    rest = {name: value for name, value in evidence.items() if name != expert}
    own = evidence[expert] if isinstance(evidence[expert], str) else " ".join(evidence[expert])
    others = " ".join(value if isinstance(value, str) else " ".join(value) for value in rest.values())
    empty = "" if expert == "text" else []
    gone = content(compose(evidence)) - content(compose(evidence | {expert: empty}))
    assert gone == content(own) - content(others)


def test_it_reads_as_english() -> None:
    assert one(street()) == 'Red fire truck with a fire engine and a ladder, with "STOP" on it, in red and white'
    assert compose({"objects": ["umbrella", "sunglasses", "unicycle"]}) == "an umbrella, sunglasses and a unicycle"
    assert compose({"caption": "A dog.", "objects": [], "text": "", "colours": []}) == "A dog."
    assert compose({"caption": "A red dog.", "colours": ["red"]}) == "A red dog."


def test_noise_around_a_caption_goes_and_a_good_caption_stays() -> None:
    none = {"tags": None, "probabilities": None, "ocr": None, "colours": None}
    assert one(street("Clipart by Nicu Buculei - jigsaw_red_10"), **none) == "jigsaw red"
    assert one(street("A lighthouse at dusk."), **none) == "A lighthouse at dusk."


def test_a_picture_without_a_caption_is_described_by_the_experts() -> None:
    assert one(street(None)) == 'a fire engine and a ladder, with "STOP" on it, in red and white'


def test_without_evidence_the_original_stands_in_with_a_note() -> None:
    pairs = batch(["IMG_20190412.jpg", None], **{name: [None, None] for name in EXPERTS.values()})
    assert fused(pairs) == [Caption("IMG_20190412.jpg", note="no_evidence"), None]


def test_a_file_name_stands_in_for_a_title_that_says_nothing() -> None:
    pairs = street("Clipart by Nicu Buculei - fc23")
    pairs.sidecar[0]["captions"].append({"source": "file_name", "text": "old_house-03.png", "lang": None, "ordinal": 0})
    assert one(pairs).startswith("old house with a fire engine")
    assert "house" not in one(pairs, spare_sources=[])


def test_colours_alone_are_no_caption() -> None:
    pairs = street("Various Cliparts")
    assert fused(pairs, tags=None, probabilities=None, ocr=None) == [Caption("Various Cliparts", note="no_evidence")]


@pytest.mark.parametrize(("text", "confidence"), [("STOP", 0.6), ("2 7", 0.99), ("X", None)])
def test_text_that_was_hardly_read_is_not_quoted(text: str, confidence: float | None) -> None:
    pairs = street()
    pairs.columns |= {"ocr.text": [text], "ocr.confidence": [confidence]}
    assert text not in one(pairs, ocr_confidence="ocr.confidence")


def test_a_document_is_not_quoted() -> None:
    pairs = street()
    pairs.columns["ocr.text"] = ["page " * 100]
    assert "page" not in one(pairs)


def test_a_misspelt_text_model_is_one_line_that_names_the_key() -> None:
    with pytest.raises(InvalidRecipe, match="concurency"):
        FuseSettings.parse(
            {"text_model": {"uses": "openai", "url": "http://x/v1", "model": "m", "concurency": 2}}, "steps.fused"
        )
    with pytest.raises(InvalidRecipe, match="must hold no key"):
        FuseSettings.parse({"text_model": {"uses": "openai", "url": "http://k:s@x/v1", "model": "m"}}, "steps.fused")


def test_a_component_may_have_rules_of_its_own() -> None:
    model = open_text_model(RuleTextModel(), rules=lambda evidence: f"two {evidence['noun']}s")
    assert [one.text for one in model.complete([with_evidence("Say it.", {"noun": "cat"})])] == ["two cats"]
