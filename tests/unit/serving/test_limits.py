"""Limits: what a request multiplies is counted before it is made, and what is quoted is one line of text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("bentoml")

from PIL import Image

from pairwright.serving.encoder import Prompts
from pairwright.serving.limits import (
    MAX_PROMPT_PART_CHARS,
    MAX_PROMPTS,
    MAX_TEXT_CHARS,
    MAX_TOTAL_CHARS,
    Refusal,
    SlowImage,
    check_prompts,
    check_text,
    check_total,
    decode_image,
)

pytestmark = pytest.mark.platform


def status(check, *arguments):
    with pytest.raises(Refusal) as refused:
        check(*arguments)
    assert refused.value.reason == " ".join(refused.value.reason.split())
    refused.value.reason.encode()
    return refused.value.status


def test_a_text_is_whole_characters_within_bounds():
    assert check_text("a 💡") == "a 💡"
    assert status(check_text, " \n") == 422
    assert status(check_text, "a" * (MAX_TEXT_CHARS + 1)) == 413
    for half in ("\ud800", "a\udfff", "\udc00\ud800"):
        assert status(check_text, half) == 422


def test_texts_are_bounded_together():
    check_total(["a" * MAX_TEXT_CHARS] * (MAX_TOTAL_CHARS // MAX_TEXT_CHARS))
    assert status(check_total, ["a" * MAX_TEXT_CHARS] * (MAX_TOTAL_CHARS // MAX_TEXT_CHARS + 1)) == 413


@pytest.mark.parametrize(
    ("labels", "templates", "expected"),
    [
        (["a"] * 1000, ["{}"] * 32, 413),
        (["a" * 200] * 500, ["b" * 200 + "{}"] * 8, 413),
        (["a" * (MAX_PROMPT_PART_CHARS + 1)], ["{}"], 413),
        (["a"], ["b" * MAX_PROMPT_PART_CHARS + "{}"], 413),
        (["a"], ["no place\n"], 422),
        (["a"], ["{} and {}"], 422),
        (["a", ""], ["{}"], 422),
        (["a\ud800"], ["{}"], 422),
        (["a"], ["\ud800 {}"], 422),
    ],
)
def test_a_product_is_refused_before_it_is_made(labels, templates, expected):
    assert status(check_prompts, labels, templates) == expected


@given(
    st.lists(st.text("ab{}", min_size=1, max_size=9), min_size=1, max_size=9),
    st.lists(st.text("xy ", max_size=5).map(lambda text: f"{text}{{}}{text}"), min_size=1, max_size=5),
)
def test_prompts_are_every_label_in_every_template(labels, templates):
    check_prompts(labels, templates)
    prompts = Prompts(labels, templates)
    assert list(prompts) == [t.replace("{}", label) for label in labels for t in templates]
    assert prompts[1:3] == list(prompts)[1:3]
    assert len(prompts) <= MAX_PROMPTS


def test_a_picture_that_would_take_long_is_told_by_its_header():
    stream = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(stream, "PNG", compress_level=1)
    with pytest.raises(SlowImage):
        decode_image(stream.getvalue(), 64, 0.25)
    assert decode_image(stream.getvalue(), 64).shape[2] == 3
