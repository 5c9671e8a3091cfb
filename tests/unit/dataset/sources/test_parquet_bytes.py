"""Pictures in Parquet, in whatever column type they come."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested import picture_of, rows_of
from shapes import encoded

from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.errors import DatasetError

HELD = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PICTURES = [encoded(n, 16) for n in range(3)]
TEXTS = pa.array([f"caption {n}" for n in range(3)])


def _write(root, **columns):
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": TEXTS, **columns}), root / "0.parquet")
    return root


def _read(root, **options):
    dataset = ingest("parquet", str(root), str(root.parent / "out"), **options)
    return dataset, rows_of(dataset)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"bytes": one, "path": None} for one in PICTURES], HELD),
        pa.array(PICTURES, pa.large_binary()),
        pa.array(PICTURES, pa.binary_view()),
        pa.array([base64.b64encode(one).decode() for one in PICTURES]),
        pa.array(["data:image/jpeg;base64," + base64.b64encode(one).decode() for one in PICTURES]),
        pa.array([list(one) for one in PICTURES], pa.list_(pa.uint8())),
        pa.array([[{"bytes": one, "path": None}] for one in PICTURES], pa.list_(HELD)),
    ],
    ids=lambda column: str(column.type)[:30],
)
@pytest.mark.parametrize("name", ["image", "what"])
def test_a_column_of_pictures_is_known_by_its_values(tmp_path, column, name):
    source = _write(tmp_path / "in", **{name: column})
    assert detect(str(source)) == "parquet"
    dataset, rows = _read(source)
    assert [row["error"] for row in rows] == [None] * 3
    assert picture_of(dataset, 2) == PICTURES[2]
    assert json.loads(rows[0]["meta"]) == {"text": "caption 0"}


def test_a_further_picture_is_a_medium_and_other_binary_is_left_out_and_said(tmp_path):
    pictures = pa.array([{"bytes": one, "path": "x.jpg"} for one in PICTURES], HELD)
    source = _write(tmp_path / "in", edited=pictures, image=pictures, blob=pa.array([b"\xff"] * 3))
    dataset, rows = _read(source)
    assert [(one["role"], one["member"]) for one in rows[0]["media"]] == [
        ("image", "000000000.jpg"),
        ("edited", "000000000.edited.jpg"),
    ]
    assert json.loads(rows[0]["meta"]) == {"text": "caption 0"}
    assert dataset.facts["notes"] == ["binary columns left out of the metadata: blob"]


def test_a_list_of_pictures_is_one_pair_with_all_of_them(tmp_path):
    column = pa.array([PICTURES[:2], PICTURES[2:], []], pa.list_(pa.binary()))
    _, rows = _read(_write(tmp_path / "in", images=column))
    assert [[(one["role"], one["ordinal"]) for one in row["media"]] for row in rows] == [
        [("image", 0), ("image", 1)],
        [("image", 0)],
        [],
    ]
    assert rows[2]["error"] == "no_image"


def test_a_path_without_bytes_is_read_from_beside_and_from_nowhere_else(tmp_path):
    source = tmp_path / "in"
    _write(
        source,
        image=pa.array(
            [{"bytes": None, "path": path} for path in ("0.jpg", str(tmp_path / "secret.jpg"), "../secret.jpg")], HELD
        ),
    )
    (source / "0.jpg").write_bytes(PICTURES[0])
    (tmp_path / "secret.jpg").write_bytes(PICTURES[1])
    _, rows = _read(source)
    assert [row["error"] for row in rows] == [None, "unsafe_path", "unsafe_path"]


def test_keys_come_from_their_column_and_a_misspelt_one_names_the_nearest(tmp_path):
    source = _write(tmp_path / "in", image=pa.array(PICTURES), id=pa.array(["a.1", None, "a.1"]))
    _, rows = _read(source, key_column="id")
    assert [(row["key"], row["error"]) for row in rows] == [
        ("a_1", None),
        ("000000001", None),
        ("a_1", "duplicate_key"),
    ]
    for option in ("key_column", "caption_column", "image_column"):
        with pytest.raises(DatasetError, match=r'no column "idd"; did you mean "id"\?'):
            _read(source, **{option: "idd"})


def test_img2datasets_parquet_form_says_what_failed(tmp_path):
    source = _write(
        tmp_path / "in",
        url=pa.array([f"http://example.org/{n}" for n in range(3)]),
        key=pa.array([f"{n:09d}" for n in range(3)]),
        status=pa.array(["success", "failed_to_download", "success"]),
        error_message=pa.array([None, "HTTP Error 404", None]),
        jpg=pa.array([PICTURES[0], None, PICTURES[2]], pa.binary()),
    )
    _, rows = _read(source)
    assert [(row["key"], row["error"], row["origin"]) for row in rows] == [
        ("000000000", None, "http://example.org/0"),
        ("000000001", "download_failed:HTTP Error 404", "http://example.org/1"),
        ("000000002", None, "http://example.org/2"),
    ]


VALUE = st.none() | st.text(max_size=8) | st.binary(max_size=8) | st.floats() | st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(st.none() | st.binary(max_size=30), min_size=3, max_size=3),
    column=st.one_of(
        [st.lists(st.none() | one, min_size=3, max_size=3) for one in (st.text(max_size=8), st.binary(max_size=8),
         st.floats(), st.lists(st.text(max_size=4) | st.none(), max_size=3), st.dates(), st.booleans())]
    ),
)  # fmt: skip
def test_any_cells_are_pairs_or_rows_with_a_reason(cells, column, tmp_path_factory):
    root = tmp_path_factory.mktemp("any") / "in"
    _write(root, image=pa.array(cells, pa.binary()), caption=pa.array(column))
    _, rows = _read(root)
    assert [row["error"] for row in rows] == [
        None if cell else "no_image" if cell is None else "empty_image" for cell in cells
    ]
    assert all(json.loads(row["meta"]) is not None for row in rows)
