"""Bytes as text: the one decoder of every source.

UTF-8 with its mark off; UTF-16 and UTF-32 by their mark; anything else is UTF-8 with U+FFFD for what
could not be read, and says so.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

REPLACED = "replaced"
# UTF-32's little-endian mark begins with UTF-16's, so it is asked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Decoded(NamedTuple):
    """A text and the encoding it was read by: utf-8, utf-8-sig, utf-16, utf-32, or "replaced"."""

    text: str
    encoding: str


def marked_encoding(data: bytes) -> str | None:
    """The encoding that the first bytes' mark names, or None where there is no mark."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def decode_text(data: bytes) -> Decoded:
    """The text of some bytes; never raises."""
    encoding = marked_encoding(data) or "utf-8"
    try:
        return Decoded(data.decode(encoding), encoding)
    except UnicodeDecodeError:
        return Decoded(data.decode(encoding, "replace"), REPLACED)


def storable(text: str) -> str:
    """Text without lone surrogates, which JSON can spell and Arrow cannot hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str, limit: int = 200) -> str:
    """A foreign message as one short line."""
    return storable(" ".join(text.split()))[:limit]


def parse_json(data: bytes) -> Any:
    """What a JSON text in any of these encodings says.

    Raises:
        ValueError: it is no JSON, or nested deeper than the parser bears.
    """
    try:
        return json.loads(decode_text(data).text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def as_json(value: Any) -> bytes:
    """A value as JSON that every reader takes: a date and its kin as text, NaN and bytes that are no text as null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_sayable)
    except (ValueError, TypeError):  # NaN, or a key that is no text
        text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=_sayable)
    return storable(text).encode()


def _sayable(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        text, encoding = decode_text(bytes(value))
        return None if encoding == REPLACED else text
    return str(value)


def _plain(value: Any) -> Any:
    """A value whose floats are finite and whose keys are texts."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
