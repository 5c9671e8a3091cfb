"""Requests made from an OpenAPI document alone: what it calls valid, and what is anything at all.

Of JSON Schema it knows what our document uses; a keyword it does not know is an error, so that the
document cannot promise what is not tried.
"""

from __future__ import annotations

import base64
import io
from typing import Any

from hypothesis import strategies as st
from PIL import Image

SAID = {"title", "description", "default", "example", "examples", "contentEncoding", "contentMediaType"}
KNOWN = SAID | {"type", "properties", "required", "additionalProperties", "oneOf", "anyOf", "$ref", "items", "format"}
KNOWN |= {"minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum", "pattern", "enum"}
MOST = 6  # items of a list; longer ones are for tests of limits


def pictures() -> st.SearchStrategy[bytes]:
    return st.builds(_picture, st.integers(1, 24), st.integers(1, 24), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]))


def _picture(width: int, height: int, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (width * 10, height * 10, 99)).save(stream, kind)
    return stream.getvalue()


def valid(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What fits a schema; of format `byte` base64 of pictures, of `binary` pictures, of `box` one that is not empty."""
    if "$ref" in schema:
        return valid(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    assert set(schema) <= KNOWN, f"unknown keywords {set(schema) - KNOWN}"
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(valid(one, document) for one in schema["anyOf"]))
    if schema["type"] == "object":
        return _objects(schema, document)
    if schema["type"] == "array":
        items = valid(schema["items"], document)
        if schema.get("format") == "box":
            return _boxes(items)
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", MOST), MOST))
    kinds = {"string": _texts, "integer": _integers, "number": _numbers}
    kinds |= {"boolean": lambda _: st.booleans(), "null": lambda _: st.none()}
    return kinds[schema["type"]](schema)


def _objects(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: valid(one, document) for name, one in schema["properties"].items()}
    choices = []
    for one in schema.get("oneOf", [{"required": []}]):
        others = {name for other in schema.get("oneOf", []) for name in other["required"]} - set(one["required"])
        needed = {*schema.get("required", []), *one["required"]}
        free = {name: fields[name] for name in fields if name not in needed | others}
        choices.append(st.fixed_dictionaries({name: fields[name] for name in sorted(needed)}, optional=free))
    return st.one_of(*choices)


def _boxes(shares: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    """x0, y0, x1, y1, of which x0 < x1 and y0 < y1."""
    sides = st.lists(shares, min_size=2, max_size=2, unique=True).map(sorted)
    return st.tuples(sides, sides).map(lambda both: [both[0][0], both[1][0], both[0][1], both[1][1]])


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if schema.get("format") == "byte":
        return pictures().map(lambda data: base64.b64encode(data).decode())
    if schema.get("format") == "binary":
        return pictures()
    longest = schema.get("maxLength", 50)
    made = st.from_regex(schema["pattern"]) if "pattern" in schema else st.text(max_size=min(longest, 50))
    return made.filter(lambda text: schema.get("minLength", 0) <= len(text) <= longest and _is_text(text))


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _integers(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    return st.integers(schema.get("minimum"), schema.get("maximum"))


def _numbers(schema: dict[str, Any]) -> st.SearchStrategy[float]:
    return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)


def anything() -> st.SearchStrategy[Any]:
    """Any JSON, lone surrogates included, under the names our routes know and others."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
    names = (
        st.sampled_from(
            ["texts", "images", "image", "text", "labels", "templates", "top", "k", "exact", "search", "captions"]
        )
        | st.text()
    )
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
