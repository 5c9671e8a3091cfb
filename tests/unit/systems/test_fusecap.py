"""FuseCap: what is seen is said, nothing else is, attributes stay with their boxes, and a captioner learns from it."""

from __future__ import annotations

import re
import time
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_captioners import SMALL_CAPTIONER
from things import scenes_datasets

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.ocr_text import OcrText, OcrTextSettings
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.text_backends.rules import compose
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings
from pairwright.components.recaption.captioners.label_caption import LabelCaption, LabelCaptionSettings
from pairwright.components.recaption.experts.region_colours import RegionColours, RegionColoursSettings
from pairwright.components.recaption.experts.regions import Regions, RegionsSettings
from pairwright.components.training.here import fit_here

FUNCTION_WORDS = frozenset(("a", "an", "the", "and", "of", "on", "in", "to", "with", "it", "is", "are"))
EXPERTS = {
    "labels": "boxes.labels",
    "label_scores": "boxes.scores",
    "attributes": "painted.names",
    "ocr": "ocr.text",
    "ocr_confidence": "ocr.confidence",
}


def content(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)} - FUNCTION_WORDS


def box(label: str, *attributes: str) -> dict[str, Any]:
    return {"label": label, "attributes": list(attributes)}


def told(caption: str, *boxes: dict[str, Any], **more: Any) -> str:
    return compose({"caption": caption, "boxes": list(boxes)} | more)


def batch(caption: str, **columns: Any) -> PairBatch:
    row = {"captions": [{"source": "alt", "text": caption, "lang": "en", "ordinal": 0}]}
    return PairBatch(np.zeros(1, np.int32), ["0"], [row], columns={name: [value] for name, value in columns.items()})


def fused(pairs: PairBatch, **changes: Any) -> list[str]:
    step = Fuse(FuseSettings.parse(EXPERTS | changes, "test"))
    step.setup("cpu")
    captions = step.caption(pairs)
    assert all(one is not None and one.note is None for one in captions)
    return [one.text for one in captions if one is not None]


# A sign and two shapes, drawn, read and seen


@cache
def street() -> PairBatch:
    """STOP over a red circle and a blue square, the square hardly sure; columns by the real experts."""
    image = np.full((256, 256, 3), 245, np.uint8)
    cv2.putText(image, "STOP", (50, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.circle(image, (70, 180), 40, (215, 30, 35), -1, cv2.LINE_AA)
    cv2.rectangle(image, (150, 140), (220, 215), (45, 80, 220), -1)
    corners = {"circle": (30, 140, 111, 221), "square": (150, 140, 221, 216), "ghost": (5, 5, 40, 40)}
    surely = {"circle": 0.9, "square": None, "ghost": 0.2}
    regions = [
        {
            "box": [value / 256 for value in at],
            "label": name,
            "score": surely[name],
            "caption": None,
            "source": "by hand",
        }
        for name, at in corners.items()
    ]
    pairs = batch("shapes beside the old road")
    pairs.images, pairs.sidecar[0]["regions"] = [image], regions
    pairs.columns |= {f"boxes.{name}": some for name, some in Regions(RegionsSettings()).score(pairs).items()}
    colours = RegionColours(RegionColoursSettings(boxes="boxes.boxes")).score(pairs)
    reader = OcrText(OcrTextSettings())
    reader.setup("cpu")
    read = reader.score(pairs)
    pairs.columns |= {"painted.names": colours["names"]}
    pairs.columns |= {"ocr.text": read["text"], "ocr.confidence": read["confidence"]}
    return pairs


def test_a_sign_two_shapes_and_the_caption_are_all_said_and_nothing_else() -> None:
    (text,) = fused(street())
    assert text == 'shapes beside the old road with a blue square and a red circle, with "STOP" on it'


@pytest.mark.parametrize(
    ("expert", "words"),
    [
        ("labels", {"red", "circle", "blue", "square"}),  # attributes of no box are nobody's
        ("attributes", {"red", "blue"}),
        ("ocr", {"stop"}),
    ],
)
def test_without_an_expert_exactly_its_words_are_gone(expert: str, words: set[str]) -> None:
    (whole,), (without,) = fused(street()), fused(street(), **{expert: None})
    assert content(whole) - content(without) == words
    assert content(without) <= content(whole)


def test_a_box_under_the_threshold_is_not_said_and_one_over_it_is() -> None:
    assert "ghost" not in fused(street())[0]
    assert "ghost" in fused(street(), min_probability=0.1)[0]


# Rules: for any evidence

words = st.text("abcdefghijklmnopqrst", min_size=3, max_size=6).filter(lambda word: word not in FUNCTION_WORDS)
colours = st.lists(st.sampled_from(["red", "blue", "green", "wooden", "striped"]), max_size=2, unique=True)
boxes = st.lists(st.builds(lambda label, some: box(label, *some), words, colours), max_size=4)
evidences = st.fixed_dictionaries(
    {"caption": st.lists(words, max_size=5).map(" ".join), "boxes": boxes, "text": st.just("") | words.map(str.upper)}
)


@settings(max_examples=150, deadline=None)
@given(evidences, st.data())
def test_recall_is_one_and_hallucination_zero_for_any_boxes(evidence: dict[str, Any], data: st.DataObject) -> None:
    if evidence["boxes"] and data.draw(st.booleans()):  # a caption that names what is seen
        evidence["caption"] += " a " + data.draw(st.sampled_from(evidence["boxes"]))["label"]
    text = content(compose(evidence))
    labels = content(" ".join(one["label"] for one in evidence["boxes"]))
    attributes = content(" ".join(name for one in evidence["boxes"] for name in one["attributes"]))
    needed = content(f"{evidence['caption']} {evidence['text']}") | labels
    assert needed <= text <= needed | attributes
    bare = [one | {"attributes": []} for one in evidence["boxes"]]
    assert content(compose(evidence | {"boxes": bare})) == needed


@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=2, max_size=4, unique=True), st.data())
def test_every_adjective_stands_before_its_own_noun_and_before_no_other(labels: list[str], data: st.DataObject) -> None:
    adjectives = data.draw(st.permutations(["red", "blue", "green", "wooden"]))
    seen = [box(label, adjective) for label, adjective in zip(labels, adjectives)]
    named = data.draw(st.lists(st.sampled_from(labels), unique=True, max_size=2))
    text = told(" and ".join(f"a {label}" for label in named), *seen)
    owners = {adjective: set(re.findall(rf"\b{adjective} (\w+)", text)) for adjective in adjectives[: len(labels)]}
    assert owners == {adjective: {label} for label, adjective in zip(labels, adjectives)}


@pytest.mark.parametrize("caption", ["", "a dog", "a dog chases a cat", "The cat sleeps near a dog.", "an old road"])
def test_an_attribute_moved_from_one_box_to_another_takes_its_adjective_with_it(caption: str) -> None:
    before, after = told(caption, box("dog", "red"), box("cat")), told(caption, box("dog"), box("cat", "red"))
    assert "red dog" in before.lower()
    assert "red cat" in after.lower()
    assert "red cat" not in before.lower()
    assert "red dog" not in after.lower()
    assert content(before) == content(after)


@pytest.mark.parametrize(
    ("caption", "seen", "said"),
    [
        ("a dog chases a cat", [box("dog", "red"), box("cat", "orange")], "a red dog chases an orange cat"),
        ("An owl on a branch", [box("owl", "brown")], "A brown owl on a branch"),
        ("Dog on a bench.", [box("dog", "red", "white")], "Red and white dog on a bench."),
        ("two small dogs", [box("dog", "red"), box("dog", "red")], "two small red dogs"),
        ("a dog", [box("dog", "red"), box("dog", "blue")], "a red dog with a blue dog"),
        # what cannot be told apart is bound to neither
        (
            "a dog behind a dog",
            [box("dog", "red"), box("dog", "blue")],
            "a dog behind a dog with a red dog and a blue dog",
        ),
        ("a dog house", [box("dog", "red")], "a dog house with a red dog"),  # a dog house is no dog
        ("a fire truck", [box("truck", "red"), box("fire truck", "red")], "a red fire truck with a red truck"),
        ("a green dog", [box("dog", "red")], "a green dog"),  # the caption's own word for it stands
        ("a red car and a dog", [box("dog", "red")], "a red car and a red dog"),
        ("the dog's bowl", [box("dog", "red")], "the dog's bowl with a red dog"),
        ("a hotdog", [box("dog", "red")], "a hotdog with a red dog"),
        ("", [box("apple", "green"), box("apple", "green")], "a green apple"),
    ],
)
def test_attributes_are_bound_as_english_has_it(caption: str, seen: list[dict[str, Any]], said: str) -> None:
    assert told(caption, *seen) == said


def test_a_caption_as_long_as_a_page_is_bound_in_no_time() -> None:
    caption, started = "a dog near a cat, " * 4000, time.perf_counter()
    text = told(caption, box("dog", "red"), box("cat", "orange"))
    assert text == ("a red dog near an orange cat, " * 4000).strip()
    assert time.perf_counter() - started < 10


def test_without_boxes_the_rules_say_what_they_said_before() -> None:
    known = {"caption": "red fire truck", "objects": ["ladder"], "text": "STOP", "colours": ["red", "white"]}
    assert (
        compose(known)
        == 'red fire truck with a ladder, with "STOP" on it, in red and white'
        == compose(known | {"boxes": []})
    )


# Scenes, about which everything is known


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> PairBatch:
    made: Dataset = scenes_datasets(tmp_path_factory.mktemp("scenes"), count=60, evaluation_count=6)[0]
    rows, images = [], []
    for shard, table in made.iter_sidecars():
        for row in table.to_pylist():
            rows.append(row)
            images.append(decode(shard.read_member(row["media"][0]), min_side=128).image)
    pairs = PairBatch(np.arange(len(rows), dtype=np.int32), [row["key"] for row in rows], rows, images=images)
    pairs.columns |= {f"boxes.{name}": some for name, some in Regions(RegionsSettings()).score(pairs).items()}
    pairs.columns["painted.names"] = RegionColours(RegionColoursSettings(boxes="boxes.boxes")).score(pairs)["names"]
    return pairs


def labels_of(pairs: PairBatch) -> list[dict[str, str]]:
    return [{one["name"]: one["value"] for one in row["labels"]} for row in pairs.sidecar]


def test_boxes_are_named_by_the_colour_their_thing_was_painted_in(scenes: PairBatch) -> None:
    colour_of = [
        {labels["subject"]: labels["subject_colour"], labels["object"]: labels["object_colour"]}
        for labels in labels_of(scenes)
    ]
    right = [
        names[:1] == [colours[label]]
        for colours, labels, some in zip(
            colour_of, scenes.columns["boxes.labels"], scenes.columns["painted.names"], strict=True
        )
        for label, names in zip(labels, some, strict=True)
    ]
    assert len(right) >= 120
    assert np.mean(right) > 0.95


def test_captions_of_a_name_fused_with_boxes_say_what_the_scene_holds_and_almost_nothing_false(
    scenes: PairBatch,
) -> None:
    named = LabelCaption(LabelCaptionSettings(template="{subject}")).caption(scenes)
    scenes.extra_captions["named"] = [one.text for one in named if one is not None]
    texts = fused(scenes, source="named", ocr=None, ocr_confidence=None)
    false, facts = 0, 0
    for text, labels in zip(texts, labels_of(scenes), strict=True):
        assert {labels["subject"], labels["object"]} <= content(text)
        for part in ("subject", "object"):
            adjectives = re.findall(rf"(\w+) {labels[part]}\b", text)
            assert adjectives, text
            facts += 1
            false += adjectives[0] != labels[f"{part}_colour"]
    assert false / facts < 0.06


def test_a_pair_without_a_label_is_captioned_by_none() -> None:
    pairs = batch("a dog")
    pairs.sidecar[0]["labels"] = [{"name": "category", "value": "pets"}]
    step = LabelCaption(LabelCaptionSettings(template="a picture of {category}"))
    assert [one and one.text for one in step.caption(pairs)] == ["a picture of pets"]
    assert LabelCaption(LabelCaptionSettings(template="{category} by {artist}")).caption(pairs) == [None]


# What a captioner learns of it

PAIRS, WIDTH, SEEDS = 384, 16, (0, 1, 2)
NOUNS, PAINTS = ("dog", "cat", "bus", "tree", "cup", "hat"), ("red", "blue", "green", "pink")
SMALL = SMALL_CAPTIONER | {"features": "x.vector", "max_words": 6, "steps": 120, "batch_size": 32}


@cache
def planted(seed: int) -> tuple[np.ndarray, list[tuple[str, str]], list[str], list[str]]:
    """Pictures of a thing in a colour; what each shows; the captions they came with, and these fused with boxes.

    A fifth of the captions are of another picture, as on the web; none says a colour.
    """
    random = np.random.default_rng(seed)
    noun, paint = random.integers(len(NOUNS), size=PAIRS), random.integers(len(PAINTS), size=PAIRS)
    sides = random.normal(size=(len(NOUNS), WIDTH)), random.normal(size=(len(PAINTS), WIDTH))
    features = sides[0][noun] + sides[1][paint] + 0.2 * random.normal(size=(PAIRS, WIDTH))
    facts = [(NOUNS[n], PAINTS[p]) for n, p in zip(noun, paint, strict=True)]
    told_of = np.where(random.random(PAIRS) < 0.2, random.permutation(noun), noun)
    raw = [f"a {NOUNS[n]}" for n in told_of]
    rich = [told(text, box(name, colour)) for text, (name, colour) in zip(raw, facts, strict=True)]
    return features.astype(np.float32), facts, raw, rich


def facts_said(seed: int, fuse: bool) -> float:
    """Of a captioner trained on one kind of caption: share of unseen pictures told by noun and colour."""
    features, facts, raw, rich = planted(seed)
    half = PAIRS // 2
    population = ArrayPopulation({"x.vector": features[:half]}, {"alt": (rich if fuse else raw)[:half]})
    wish = CaptionerSettings.parse(SMALL | {"seed": seed}, "test")
    model: Captioner = fit_here(CaptionerTask(wish), population).task.model
    said = [texts[0] for texts in model.generate({"image": torch.from_numpy(features[half:])})]
    return float(np.mean([f"{paint} {noun}" in text for text, (noun, paint) in zip(said, facts[half:], strict=True)]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_captioner_trained_on_fused_captions_tells_unseen_pictures_facts_that_one_on_raw_captions_cannot(
    seed: int,
) -> None:
    assert facts_said(seed, fuse=True) > facts_said(seed, fuse=False) + 0.5
