"""One decoder: the same text in any encoding that says what it is, and never an exception."""

from __future__ import annotations

import codecs
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.captions.text import as_json, decode_text, parse_json

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


@settings(deadline=None)
@given(TEXTS)
def test_a_text_is_the_same_in_every_encoding_with_its_mark(text):
    assert decode_text(codecs.BOM_UTF8 + text.encode()) == (text, "utf-8-sig")
    assert decode_text(text.encode("utf-16")) == (text, "utf-16")
    assert decode_text(text.encode("utf-32")) == (text, "utf-32")
    assert decode_text(codecs.BOM_UTF16_BE + text.encode("utf-16-be")) == (text, "utf-16")


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_text_and_sound_utf_8_is_itself(data):
    text, encoding = decode_text(data)
    assert encoding != "utf-8" or text.encode() == data


def test_what_is_no_utf_8_is_replaced_and_says_so():
    assert decode_text(b"caf\xe9") == ("caf\ufffd", "replaced")
    assert decode_text(codecs.BOM_UTF16_LE + b"a") == ("\ufffd", "replaced")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_is_read_in_every_encoding(encoding):
    assert parse_json('{"caption": "é"}'.encode(encoding)) == {"caption": "é"}


@pytest.mark.parametrize("data", [b"{", b"", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


FOREIGN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(FOREIGN)
def test_whatever_is_written_as_json_is_json_without_nan(value):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(as_json(value), parse_constant=refuse)


def test_nan_and_binary_are_null_and_a_text_in_bytes_is_a_text():
    assert as_json({"a": math.nan, "b": b"\x89PNG\xff", "c": b"words"}) == b'{"a": null, "b": null, "c": "words"}'
