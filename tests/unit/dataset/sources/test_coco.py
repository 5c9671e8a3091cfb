"""COCO's JSON as others write it: ids match, and what cannot be read is a reason."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested import alts_of, rows_of
from shapes import encoded

from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.sources.coco import id_of
from pairwright.components.errors import DatasetError


def _coco(root, images, annotations, files=range(4), **more):
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    for number in files:
        (root / "images" / f"{number}.jpg").write_bytes(encoded(number, 16))
    content = json.dumps({"images": images, "annotations": annotations, **more})
    (root / "annotations/captions_x.json").write_text(content)
    return root


def _images(ids):
    return [{"id": one, "file_name": f"{number}.jpg"} for number, one in enumerate(ids)]


def _captions(ids):
    return [{"id": number, "image_id": one, "caption": f"caption {number}"} for number, one in enumerate(ids)]


def _read(root):
    dataset = ingest("coco", str(root), str(root.parent / f"{root.name}-out"))
    return rows_of(dataset), dataset.facts


@pytest.mark.parametrize("written", [[0, 1, 2, 3], ["0", "1", "2", "3"], [0.0, 1.0, 2.0, 3.0]])
def test_ids_match_however_they_are_written(tmp_path, written):
    rows, _ = _read(_coco(tmp_path / "in", _images(range(4)), _captions(written)))
    assert [alts_of(row) for row in rows] == [[f"caption {number}"] for number in range(4)]


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}, float("nan"), "  "])
def test_what_is_no_id_matches_nothing(value):
    assert id_of(value) is None


def test_annotation_ids_of_any_kind_are_ordered_and_what_holds_no_caption_is_counted(tmp_path):
    annotations = [
        {"id": "10", "image_id": 0, "caption": "third"},
        {"id": 2, "image_id": 0, "caption": "second"},
        {"id": 1.0, "image_id": 0, "caption": "first"},
        {"id": None, "image_id": 0, "caption": ["last", "of a list"]},
        {"id": 5, "image_id": [0], "caption": "a list as an id"},
        {"id": 6, "image_id": 1, "caption": None},
        None,
        "x",
    ]
    rows, facts = _read(_coco(tmp_path / "in", _images([0, 1]), annotations))
    assert alts_of(rows[0]) == ["first", "second", "third", "last", "of a list"]
    assert facts["notes"] == ["annotations without a caption or a picture's id: 4"]


def test_an_id_of_several_pictures_is_a_reason_and_several_entries_of_a_picture_are_one_pair(tmp_path):
    rows, _ = _read(_coco(tmp_path / "ids", _images([7, 7, 2]), _captions([7, 2])))
    assert [row["error"] for row in rows] == ["bad_metadata:id 7 is of several pictures"] * 2 + [None]
    entries = [{"id": number, "file_name": "0.jpg"} for number in range(3)]
    rows, _ = _read(_coco(tmp_path / "names", entries, _captions(range(3))))
    assert [alts_of(row) for row in rows] == [["caption 0", "caption 1", "caption 2"]]


def test_pictures_are_found_wherever_they_begin_and_odd_names_are_reasons(tmp_path):
    many = _images(range(30))
    rows, _ = _read(_coco(tmp_path / "late", many, _captions(range(30)), files=range(25, 30)))
    assert [row["error"] for row in rows] == ["missing_file"] * 25 + [None] * 5
    names = ["../images/0.jpg", "./1.jpg", "http://example.org/2.jpg", "/etc/passwd", "../../x.jpg", 5, None]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)] + ["no entry"]
    rows, _ = _read(_coco(tmp_path / "odd", images, _captions(range(7))))
    assert [row["error"] for row in rows] == [
        None,
        None,
        "missing_file",
        "unsafe_path",
        "unsafe_path",
        *(f"bad_metadata:entry {number} of images names no file" for number in (5, 6, 7)),
    ]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ENTRY = ANY | st.fixed_dictionaries(
    {},
    optional={"id": ANY, "image_id": ANY, "caption": ANY, "file_name": st.just("0.jpg") | ANY, "license": ANY},
)


@settings(max_examples=40, deadline=None)
@given(images=st.lists(ENTRY, max_size=4), annotations=st.lists(ENTRY, max_size=4), licenses=ANY)
def test_any_json_is_rows_or_one_line(images, annotations, licenses, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    source = _coco(root / "in", images, annotations, files=[0], licenses=licenses)
    with contextlib.suppress(DatasetError):
        assert len(_read(source)[0]) <= len(images)
