"""Box and format of the route `caption`: told as the tasks teach them, and refused where they are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bentoml")

import shapes
import torch
from captioned import SIDES, box_at, features_of, taught

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.captioners.format_captioner import FormatCaptioner, FormatCaptionerSettings
from pairwright.serving.caption_wire import Caption
from pairwright.serving.captioning import Captioning
from pairwright.serving.limits import Refusal, decode_image
from pairwright.serving.openapi import openapi
from pairwright.serving.packed_captioner import captioner_to_serve, pack_captioner
from pairwright.serving.wire import Input

pytestmark = pytest.mark.platform
PICTURES = 48  # each kind of shape once
SMALL = {
    "width": 32,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "least": 1,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 8e-3,
}
FORMATS = ("short_told", "dense_told", "fused_told")
NAMES = ("rex", "tom", "ida", "eva")


def packed(folder: Path) -> Captioning:
    pack_captioner(captioner_to_serve(folder), folder.parent / "packed")
    return Captioning(folder.parent / "packed", "cpu")


@pytest.fixture(scope="module")
def seen() -> np.ndarray:
    return features_of([np.asarray(shapes.picture(number)) for number in range(PICTURES)])


@pytest.fixture(scope="module")
def boxed(seen: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Captioning, Path]:
    """By the task `captioner`: what lies in a box is told by its side, and without one the colour alone."""
    draw, sides = np.random.default_rng(0), (*SIDES, None)
    rows = [(number, side) for number in range(PICTURES) for side in sides]
    boxes = [box_at(side, *draw.random(2)) for _, side in rows]
    texts = [f"{side or 'all'} {shapes.facts_of(number)[0]}" for number, side in rows]
    columns = {"image_features.vector": seen[[number for number, _ in rows]], "part.box": np.array(boxes, np.float32)}
    wish = SMALL | {"box": "part.box", "max_words": 4, "steps": 120}
    task = CaptionerTask(CaptionerSettings.parse(wish, "test"))
    folder = taught(task, ArrayPopulation(columns, {"alt": texts}), tmp_path_factory.mktemp("boxed") / "model")
    return packed(folder), folder


@pytest.fixture(scope="module")
def formatted(seen: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Captioning:
    """By the task `format_captioner`: short, in two sentences, or with the alt-text's name."""
    facts = [shapes.facts_of(number) for number in range(PICTURES)] * 4
    names = [NAMES[number] for number in np.random.default_rng(0).integers(len(NAMES), size=len(facts))]
    texts = {
        "short_told": [colour for colour, _, _ in facts],
        "dense_told": [f"It is {colour}. It is small." for colour, _, _ in facts],
        "fused_told": [f"{name} in {colour}" for name, (colour, _, _) in zip(names, facts, strict=True)],
        "alt": names,
    }
    wish = SMALL | {"formats": dict.fromkeys(FORMATS, 1.0), "prompt": "alt", "prompted": ["fused_told"]}
    task = FormatCaptioner(FormatCaptionerSettings.parse(wish | {"max_words": 10, "steps": 120}, "test"))
    population = ArrayPopulation({"image_features.vector": np.tile(seen, (4, 1))}, texts)
    return packed(taught(task, population, tmp_path_factory.mktemp("formatted") / "model"))


@pytest.fixture(scope="module")
def personal(seen: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Captioning:
    """Two users: who is known by "bold" says a picture's colour after "big", the other one after "little"."""
    manners = ("bold", "big"), ("shy", "little")
    rows = [(number, manner) for number in range(PICTURES) for manner in manners]
    columns = {
        "image_features.vector": seen[[number for number, _ in rows]],
        "own.words": [[known_by] for _, (known_by, _) in rows],
    }
    texts = [f"{says} {shapes.facts_of(number)[0]} {known_by}" for number, (known_by, says) in rows]
    wish = SMALL | {"user": "own.words", "user_tokens": 2, "max_words": 4, "steps": 120}
    task = CaptionerTask(CaptionerSettings.parse(wish, "test"))
    folder = tmp_path_factory.mktemp("personal") / "model"
    return packed(taught(task, ArrayPopulation(columns, {"alt": texts}), folder))


def events_of(captioning: Captioning, number: int = 5, **said: Any) -> list[Any]:
    async def follow() -> list[Any]:
        wish = Caption.parse({"image": shapes.encoded(number), **said})
        generation = await captioning.begin(wish.image, wish)
        return [event async for event in generation.events()]

    return asyncio.run(follow())


def said_by(captioning: Captioning, number: int = 5, **said: Any) -> list[str]:
    done = events_of(captioning, number, **said)[-1]
    assert done.name == "done", done
    return [caption["text"] for caption in done.data["captions"]]


# -- on the wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [[0, 0.25, 0.5, 1], ["0", "0.25", "5e-1", "1"], ["0,0.25,0.5,1"], "0, 0.25, 0.5, 1"])
def test_a_box_is_a_list_a_field_each_or_one_text_with_commas(box: Any) -> None:
    assert Caption.parse({"image": b"", "box": box}).box == [0.0, 0.25, 0.5, 1.0]


FOUR, BEYOND, EMPTY = "give four numbers: x0, y0, x1, y1", "it goes beyond the picture", "it is empty"
NO_BOXES: Mapping[str, tuple[Any, str]] = {
    "three numbers": ([0, 0, 1], FOUR),
    "five numbers": ([0, 0, 1, 1, 1], FOUR),
    "none": ([], FOUR),
    "a list within": ([[0, 0, 1, 1]], FOUR),
    "a number": (0.5, FOUR),
    "an object": ({"x0": 0, "y0": 0, "x1": 1, "y1": 1}, FOUR),
    "words": ("the dog", FOUR),
    "a word among numbers": ("0,0,right,1", "valid number"),
    "null among numbers": ([0, 0, None, 1], "valid number"),
    "pixels": ([10, 20, 110, 120], BEYOND),
    "left of the picture": ([-0.1, 0, 1, 1], BEYOND),
    "below the picture": ([0, 0, 1, 1.01], BEYOND),
    "no number": ("nan,0,1,1", BEYOND),
    "without end": ([0, 0, float("inf"), 1], BEYOND),
    "no width": ([0.5, 0, 0.5, 1], EMPTY),
    "no height": ([0, 1, 1, 1], EMPTY),
    "right before left": ([0.9, 0, 0.1, 1], EMPTY),
    "bottom before top": ([0, 0.9, 1, 0.1], EMPTY),
}


@pytest.mark.parametrize("name", NO_BOXES)
def test_what_is_no_box_in_the_picture_is_422_in_one_line(name: str) -> None:
    box, words = NO_BOXES[name]
    with pytest.raises(Refusal) as refused:
        Caption.parse({"image": b"", "box": box})
    assert refused.value.status == 422
    assert refused.value.reason.startswith('"box')
    assert words in refused.value.reason


@pytest.mark.parametrize("box", [["x"] * 200_000, "x," * 200_000, [0.5] * 200_000])
def test_a_box_of_ever_so_many_numbers_costs_nothing(box: Any) -> None:
    started = time.perf_counter()
    with pytest.raises(Refusal, match="give four numbers"):
        Caption.parse({"image": b"", "box": box})
    assert time.perf_counter() - started < 1


def test_a_box_is_a_list_of_a_form_whose_fields_are_read_in_order() -> None:
    assert issubclass(Caption, Input)
    assert Caption._is_list("box")
    assert not Caption._is_list("format")


# -- told to the captioner ------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_a_box_is_told_as_its_column_holds_it_and_the_caption_is_of_it(
    boxed: tuple[Captioning, Path], side: str
) -> None:
    captioning, folder = boxed
    box = box_at(side, 0.4, 0.3)  # one it was not shown
    [image] = features_of([decode_image(shapes.encoded(5), 224)])
    told = {"image": torch.from_numpy(image)[None], "box": torch.tensor([box], dtype=torch.float32)}
    [caption] = said_by(captioning, box=box)
    assert caption == load_captioner(folder).generate(told)[0][0]
    assert caption.split()[0] == side
    assert caption.split()[1:] == said_by(captioning)[0].split()[1:]  # the picture is the same


def test_without_a_box_none_is_told(boxed: tuple[Captioning, Path]) -> None:
    captioning, folder = boxed
    [image] = features_of([decode_image(shapes.encoded(5), 224)])
    [caption] = said_by(captioning)
    assert caption == load_captioner(folder).generate({"image": torch.from_numpy(image)[None]})[0][0]
    assert caption.split()[0] == "all"


@pytest.mark.parametrize("search", ["nucleus", "beam", "diverse"])
def test_every_caption_of_a_search_is_of_the_box(boxed: tuple[Captioning, Path], search: str) -> None:
    settings = {"nucleus": {"temperature": 0.3}, "beam": {}, "diverse": {"diversity": 0.0}}[search]
    found = said_by(boxed[0], search=search, captions=2, guidance=1.0, box=box_at("top"), **settings)
    assert [caption.split()[0] for caption in found] == ["top", "top"]


def test_a_format_is_told_by_its_name_and_the_first_if_none_is(formatted: Captioning) -> None:
    colour = shapes.facts_of(5)[0]
    found = {name: said_by(formatted, format=name)[0] for name in FORMATS[:2]}
    assert found == {"short_told": colour, "dense_told": f"it is {colour}. it is small."}
    assert said_by(formatted) == [found["short_told"]]


def test_a_caption_is_in_the_words_of_the_user_it_is_for(personal: Captioning) -> None:
    colour = shapes.facts_of(5)[0]
    assert personal.controls.user
    assert said_by(personal, user="bold") == [f"big {colour} bold"]
    assert said_by(personal, user="shy") == [f"little {colour} shy"]


@pytest.mark.parametrize("name", NAMES)
def test_a_format_that_fuses_alt_text_is_told_it_as_prompt(formatted: Captioning, name: str) -> None:
    assert said_by(formatted, format="fused_told", prompt=name) == [f"{name} in {shapes.facts_of(5)[0]}"]


def test_sentences_of_a_dense_format_are_streamed_as_they_stand(formatted: Captioning) -> None:
    events = events_of(formatted, format="dense_told")
    tokens = [event.data["token"] for event in events if event.name == "token"]
    assert "".join(tokens) == events[-1].data["captions"][0]["text"]
    assert tokens[-1] == "."


# -- offered and refused --------------------------------------------------------------------------


def refusal_of(captioning: Captioning, **said: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        events_of(captioning, **said)
    return refused.value


def test_a_format_that_was_not_taught_is_refused_with_those_that_were(formatted: Captioning) -> None:
    refused = refusal_of(formatted, format="haiku")
    assert refused.status == 422
    assert refused.reason == f'this captioner was not taught "haiku"; it writes {", ".join(FORMATS)}'


def test_each_captioner_offers_its_own_control_and_refuses_the_others(
    boxed: tuple[Captioning, Path], formatted: Captioning
) -> None:
    assert (boxed[0].controls.box, boxed[0].controls.formats) == (True, [])
    assert (formatted.controls.box, formatted.controls.formats) == (False, list(FORMATS))
    assert refusal_of(boxed[0], format=FORMATS[0]).reason == _without("format")
    assert refusal_of(formatted, box=[0, 0, 1, 1]).reason == _without("box")


def _without(name: str) -> str:
    return f'this captioner was taught without a {name}; leave "{name}" out'


def fields_of(captioning: Captioning, form: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = openapi("test", captioning.controls)["components"]["schemas"][form]["properties"]
    return found


def test_the_document_offers_boxes_and_the_formats_that_were_taught(
    boxed: tuple[Captioning, Path], formatted: Captioning
) -> None:
    four: Sequence[int] = (4, 4)
    for form in ("Caption", "CaptionForm"):
        assert "format" not in fields_of(boxed[0], form)
        assert "box" not in fields_of(formatted, form)
    box, own = fields_of(boxed[0], "Caption")["box"], fields_of(boxed[0], "CaptionForm")["box"]
    for kind in (box["anyOf"][0], own):
        assert (kind["type"], kind["minItems"], kind["maxItems"]) == ("array", *four)
        assert kind["items"] == {"type": "number", "minimum": 0, "maximum": 1}
    assert "shares" in box["description"]
    assert fields_of(formatted, "Caption")["format"]["anyOf"][0]["enum"] == list(FORMATS)
    assert fields_of(formatted, "CaptionForm")["format"]["enum"] == list(FORMATS)
