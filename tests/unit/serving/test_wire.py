"""Wire: a body within its bytes costs little to read, whatever is in it."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("bentoml")

from pairwright.serving import wire
from pairwright.serving.limits import MAX_BODY_BYTES, MAX_STRUCTURE, MIB, Refusal

pytestmark = pytest.mark.platform
WORST = {
    "lists": b'{"texts": [' + b"[]," * (MAX_STRUCTURE // 3) + b"[]]}",
    "numbers": b'{"texts": [' + b"1," * MAX_STRUCTURE + b"1]}",
    "keys": b"{" + b",".join(b'"k%d":1' % n for n in range(MAX_STRUCTURE // 2)) + b"}",
    "a long key": b'{"' + b"k" * (4 * MIB) + b'": 1}',
    "spaces": b" " * (MAX_BODY_BYTES // 2) + b"{}",
    "depth": b'{"texts": ' + b"[" * MAX_STRUCTURE,
    "digits": b'{"texts": ' + b"9" * (4 * MIB) + b"}",
    "exponents": b'{"texts": [' + b"1e999999999," * 10_000 + b"1]}",
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_body_of_its_size_is_refused_soon(name):
    started = time.perf_counter()
    with pytest.raises(Refusal) as refused:
        wire.Texts.parse(wire._json_object(WORST[name]))
    assert refused.value.status in (413, 422)
    assert time.perf_counter() - started < 2  # some 0.1 s on a machine of its own


def test_a_misspelt_key_is_named_before_what_it_leaves_missing():
    with pytest.raises(Refusal, match=r'unknown key "text"; did you mean "texts"\?'):
        wire.Texts.parse({"text": ["a"]})


def test_a_body_in_utf_16_or_with_a_repeated_key_is_read_as_json_is():
    assert wire._json_object(json.dumps({"texts": ["a"]}).encode("utf-16")) == {"texts": ["a"]}
    assert wire._json_object(b'{"k": 1, "k": 2}') == {"k": 2}
    assert wire._json_object(b"") == {}
