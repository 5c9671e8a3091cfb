"""The same value gives the same captions, whatever the source."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested import rows_of
from shapes import encoded
from tars import make_tar

from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.sources.captions_of import (
    CaptionText,
    caption_fields,
    captions_of,
    encoding_labels,
    language_tag,
    record_captions,
)


def said(value):
    return [(one.text, one.lang) for one in captions_of(value)]


@pytest.mark.parametrize(
    ("value", "captions"),
    [
        ("one red box", [("one red box", None)]),
        (["a", None, ["b", "c"]], [("a", None), ("b", None), ("c", None)]),
        ({"en": "a box", "pt_br": ["uma", "caixa"]}, [("a box", "en"), ("uma", "pt-BR"), ("caixa", "pt-BR")]),
        ([("en", "a box"), ("de", None)], [("a box", "en")]),  # Arrow's map
        ({"text": "a box", "lang": "EN"}, [("a box", "en")]),
        ({"language": ["en", "de"], "translation": ["box", "Kiste"]}, [("box", "en"), ("Kiste", "de")]),
        ([{"caption": "a"}, {"caption": "b"}], [("a", None), ("b", None)]),
        (b"caf\xc3\xa9", [("café", None)]),
        ([b"one", bytearray(b"two"), memoryview(b"three")], [("one", None), ("two", None), ("three", None)]),
        ("box".encode("utf-16"), [("box", None)]),
        (np.array(["a", "b"]), [("a", None), ("b", None)]),
        (np.str_("a"), [("a", None)]),
        (pa.scalar(["a", "b"]), [("a", None), ("b", None)]),
        (17, [("17", None)]),
        (np.float32(1.5), [("1.5", None)]),
        (decimal.Decimal("1.50"), [("1.50", None)]),
        (datetime.date(2026, 1, 2), [("2026-01-02", None)]),
    ],
)
def test_a_value_gives_its_captions(value, captions):
    assert said(value) == captions


@pytest.mark.parametrize(
    "value",
    [
        None, math.nan, math.inf, np.float64("nan"), np.datetime64("NaT"), decimal.Decimal("NaN"), "", " \n", b"", b" ",
        [], {}, [None, ""], True, object(), {"url": "x", "alt_": "y"}, {"width": 3}, pa.scalar(None), [10**5000],
    ],
)  # fmt: skip
def test_what_is_no_text_gives_none(value):
    assert captions_of(value) == []


def test_a_depth_or_a_circle_ends():
    circle: list = ["a"]
    circle.append(circle)
    assert said(circle)[0] == ("a", None)
    deep: object = "x"
    for _ in range(5000):
        deep = [deep]
    assert captions_of(deep) == []


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["en", "de", "text", "caption", "lang", "x"]) | st.text(), inner)
        | st.tuples(inner, inner)
        | st.sets(st.text() | st.integers())
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(ANY)
def test_no_value_raises_and_what_it_gives_can_be_stored(value):
    found = captions_of(value)
    table = pa.table({"text": [one.text for one in found], "lang": [one.lang for one in found]})
    assert all(one.text.strip() for one in found)
    assert table.num_rows == len(found)
    assert captions_of(value) == found


@pytest.mark.parametrize(
    ("record", "captions"),
    [
        ({"caption": "", "text": "kept"}, [("kept", None)]),
        ({"title": "last", "captions": ["first"]}, [("first", None)]),
        ({" Alt-Text ": "spaced"}, [("spaced", None)]),
        ({"TEXT": "loud"}, [("loud", None)]),
        ({"caption_en": "a", "caption_zh-Hans": "b", "caption_id": 7}, [("a", "en"), ("b", "zh-Hans")]),
        ({"caption_id": 7, "text_ocr": "sign", "caption_url": "x"}, []),
        (["a", "b"], [("a", None), ("b", None)]),
        ("no record", []),
        (None, []),
    ],
)
def test_a_record_is_read_by_the_usual_names(record, captions):
    assert [(one.text, one.lang) for one in record_captions(record)] == captions


def test_a_field_that_is_named_is_the_only_one_read():
    assert [one.text for one in record_captions({"words": "w", "caption": "c"}, "words")] == ["w"]
    assert record_captions({"caption": "c"}, "words") == []


def test_the_columns_looked_in_are_those_a_record_is_read_by():
    assert caption_fields(["url", "Text", "caption_de", "width", "caption"]) == ["caption", "Text", "caption_de"]


@pytest.mark.parametrize(
    ("code", "tag"),
    [("pt_br", "pt-BR"), ("ZH-HANS", "zh-Hans"), ("eng_Latn", "eng-Latn"), ("xx", None), ("url", None), (7, None)],
)
def test_a_language_code_is_a_tag(code, tag):
    assert language_tag(code) == tag


def test_how_a_caption_was_read_is_a_label():
    assert encoding_labels(captions_of([b"caf\xe9", "plain"])) == [("caption_encoding", "replaced")]
    assert encoding_labels(captions_of("box".encode("utf-16"))) == [("caption_encoding", "utf-16")]
    assert encoding_labels([CaptionText("plain")]) == []


# What JSON can say, so that every source can carry it.
JSON_VALUES = [
    "plain words", ["one", "two"], {"en": "a box", "de": "ein Kasten"}, None, "", "   ", 17, [["nested"], "x"],
    "half \ud83d",
]  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same captions under one key each, as four sources write them."""
    root = tmp_path_factory.mktemp("same")
    lines = [json.dumps({"file_name": f"{n}.jpg", "caption": value}) for n, value in enumerate(JSON_VALUES)]
    (root / "folder").mkdir()
    (root / "beside").mkdir()
    members = []
    for n, line in enumerate(lines):
        (root / "folder" / f"{n}.jpg").write_bytes(encoded(n, 16))
        (root / "beside" / f"{n}.jpg").write_bytes(encoded(n, 16))
        (root / "beside" / f"{n}.json").write_text(line)
        members += [(f"{n}.jpg", encoded(n, 16)), (f"{n}.json", line.encode())]
    (root / "folder/metadata.jsonl").write_text("\n".join(lines))
    make_tar(root / "tars/0.tar", members)
    return root


@pytest.mark.parametrize(
    ("kind", "name"), [("imagefolder", "folder"), ("imagefolder", "beside"), ("webdataset", "tars")]
)
def test_every_source_reads_the_same_value_alike(sources, tmp_path, kind, name):
    found = {
        row["key"]: [(one["text"], one["lang"]) for one in row["captions"] if one["source"] == "alt"]
        for row in rows_of(ingest(kind, str(sources / name), str(tmp_path / "out")))
    }
    assert found == {str(n): said(value) for n, value in enumerate(JSON_VALUES)}


ARROW_COLUMNS = {
    "string_view": pa.array(["a", None], pa.string_view()),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "binary": pa.array([b"caf\xe9", None], pa.binary()),
    "list_binary": pa.array([[b"a", b"b"], None], pa.list_(pa.binary())),
    "large_list": pa.array([["a", None], []], pa.large_list(pa.string())),
    "struct": pa.array([{"en": "a", "de": "b"}, None]),
    "map": pa.array([[("en", "a")], []], pa.map_(pa.string(), pa.string())),
    "double": pa.array([1.5, math.nan]),
    "timestamp": pa.array([2**62, None], pa.timestamp("ms")),  # beyond Python's calendar
    "broken_utf8": pa.array([b"\xe9a", b"b"], pa.binary()).view(pa.string()),
}  # fmt: skip
ARROW_TEXTS = {
    "string_view": ["a"], "dictionary": ["a"], "binary": ["caf\ufffd"], "list_binary": ["a", "b"], "large_list": ["a"],
    "struct": ["a", "b"], "map": ["a"], "double": ["1.5"], "timestamp": [], "broken_utf8": ["\ufffda"],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ARROW_COLUMNS))
def test_every_column_type_of_parquet_gives_its_captions(name, tmp_path):
    pictures = pa.array([encoded(n, 16) for n in range(2)], pa.binary())
    pq.write_table(pa.table({"image": pictures, "text": ARROW_COLUMNS[name]}), tmp_path / "a.parquet")
    rows = rows_of(ingest("parquet", str(tmp_path / "a.parquet"), str(tmp_path / "out")))
    assert [one["text"] for one in rows[0]["captions"]] == ARROW_TEXTS[name]
    assert [row["error"] for row in rows] == [None, None]
    assert all(json.load(io.BytesIO(row["meta"])) is not None for row in rows)


CELLS = st.none() | st.text() | st.binary() | st.floats() | st.lists(st.text() | st.none(), max_size=3)


@settings(max_examples=15, deadline=None)
@given(values=st.lists(CELLS, min_size=1, max_size=4))
def test_any_json_line_is_a_pair_or_a_row_with_a_reason(values, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    (root / "in").mkdir()
    (root / "in/0.jpg").write_bytes(encoded(0, 16))
    lines = [json.dumps({"file_name": "0.jpg", "text": value}, default=repr).encode() for value in values]
    lines += [value for value in values if isinstance(value, bytes) and b"\n" not in value and value.strip()]
    (root / "in/metadata.jsonl").write_bytes(b"\n".join(lines))
    rows = rows_of(ingest("imagefolder", str(root / "in"), str(root / "out")))
    assert all(row["error"] is None or row["error"].startswith("bad_metadata") for row in rows if row["key"] != "0")
    assert next(row["error"] for row in rows if row["key"] == "0") is None
