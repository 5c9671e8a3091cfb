"""Folders of pictures: captions are found wherever people put them, and nothing is passed over unsaid."""

from __future__ import annotations

import json
import os
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import alts_of, rows_of
from shapes import encoded

from pairwright.components.dataset.ingest import ingest
from pairwright.components.errors import DatasetError


def _pictures(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(number, 16))
    return root


def _read(root, tmp_path, **options):
    dataset = ingest("imagefolder", str(root), str(tmp_path / "out"), **options)
    return {row["key"]: row for row in rows_of(dataset)}, dataset.facts.get("notes", [])


def test_lines_of_one_picture_are_captions_of_one_pair(tmp_path):
    root = _pictures(tmp_path / "in", "0.jpg", "1.jpg")
    lines = [f"{n}.jpg,caption {k} of {n}" for k in range(5) for n in range(2)]
    (root / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines))
    rows, _ = _read(root, tmp_path)
    assert {key: alts_of(row) for key, row in rows.items()} == {
        str(n): [f"caption {k} of {n}" for k in range(5)] for n in range(2)
    }
    assert [one["ordinal"] for one in rows["0"]["captions"]] == [0, 1, 2, 3, 4]
    assert [one["text"] for one in json.loads(rows["1"]["meta"])] == [f"caption {k} of 1" for k in range(5)]


@pytest.mark.parametrize("name", ["a.txt", "a.jpg.txt", "a.caption", "a.TXT", "a.json"])
def test_a_file_beside_a_picture_is_its_caption(tmp_path, name):
    root = _pictures(tmp_path / "in", "sub/a.jpg")
    words = "a caption beside"
    (root / "sub" / name).write_text(json.dumps({"alt_text": words}) if name.endswith("json") else words)
    rows, notes = _read(root, tmp_path)
    assert (alts_of(rows["sub/a"]), notes) == ([words], [])


@pytest.mark.parametrize("name", ["metadata.jsonl", "METADATA.JSONL", "metadata_train.jsonl", "captions.jsonl"])
@pytest.mark.parametrize("column", ["file_name", "image", "File Name", "path"])
def test_tables_are_found_by_what_they_say(tmp_path, name, column):
    root = _pictures(tmp_path / "in", "a.jpg")
    (root / name).write_text(json.dumps({column: "a.jpg", "caption": "words"}))
    assert alts_of(_read(root, tmp_path)[0]["a"]) == ["words"]


def test_a_table_in_parquet_or_text_is_read_too(tmp_path):
    root = _pictures(tmp_path / "in", "a/0.jpg", "b/1.jpg")
    pq.write_table(pa.table({"file_name": ["0.jpg"], "text": [["one", "two"]]}), root / "a/metadata.parquet")
    (root / "b/captions.txt").write_text("image\tcaption\n1.jpg\tthree\n")
    rows, notes = _read(root, tmp_path)
    assert (alts_of(rows["a/0"]), alts_of(rows["b/1"]), notes) == (["one", "two"], ["three"], [])


def test_of_two_tables_one_is_read_and_the_other_is_said(tmp_path):
    root = _pictures(tmp_path / "in", "0.jpg", "train/9.jpg")
    (root / "metadata.jsonl").write_text(
        '{"file_name": "0.jpg", "text": "zero"}\n{"file_name": "train/9.jpg", "text": "from above"}'
    )
    (root / "metadata.csv").write_text("file_name,text\n0.jpg,zero again\n")
    (root / "train/metadata.jsonl").write_text('{"file_name": "9.jpg", "text": "from beside"}')
    rows, notes = _read(root, tmp_path)
    assert {key: alts_of(row) for key, row in rows.items()} == {"0": ["zero"], "train/9": ["from beside"]}
    assert "metadata.csv" in notes[0]
    assert notes[1].startswith("lines not read: 1")


def test_what_is_not_read_is_counted(tmp_path):
    root = _pictures(tmp_path / "in", "0.JPG")
    for name in ("a.svg", "b.svg", "c.zip", "list.csv"):
        (root / name).write_text("a,b\n1,2\n")
    rows, notes = _read(root, tmp_path)
    assert list(rows) == ["0"]
    assert notes[0] == "files not read: 2 .svg, 1 .zip"
    assert "list.csv" in notes[1]


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/images.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"holds no picture, but 1 \.zip; unpack archives first"):
        _read(tmp_path / "in", tmp_path)
    with pytest.raises(DatasetError, match=r"looks like no source we know; it holds 1 \.zip; unpack"):
        ingest("auto", str(tmp_path / "in"), str(tmp_path / "out"))


def test_names_are_matched_as_they_are_meant(tmp_path):
    composed = unicodedata.normalize("NFC", "é.jpg")
    root = _pictures(tmp_path / "in", composed, "sub/b.jpg", "c.jpg")
    names = [unicodedata.normalize("NFD", composed), "sub\\b.jpg", "./c.jpg"]
    (root / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": n, "text": "t"}) for n in names))
    rows, _ = _read(root, tmp_path)
    assert [(row["error"], alts_of(row)) for row in rows.values()] == [(None, ["t"])] * 3


def test_a_picture_that_is_a_link_out_of_the_folder_is_not_copied(tmp_path):
    root = _pictures(tmp_path / "in", "0.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    os.symlink("../secret.jpg", root / "1.jpg")
    os.symlink("nowhere.jpg", root / "2.jpg")
    os.symlink("..", root / "up")
    rows, _ = _read(root, tmp_path)
    assert {key: row["error"] for key, row in rows.items()} == {
        "0": None, "1": "unsafe_link", "2": "missing_file", "up": "unsafe_link",
    }  # fmt: skip
    assert b"secret" not in (tmp_path / "out/00000.tar").read_bytes()
    told = ingest("imagefolder", str(root), str(tmp_path / "told"), follow_links=True)
    assert any(row["key"] == "1" and row["error"] is None for row in rows_of(told))


def test_a_line_that_cannot_be_read_is_a_row_with_a_reason(tmp_path):
    root = _pictures(tmp_path / "in", "0.jpg", "1.jpg")
    (root / "metadata.csv").write_bytes(b"file_name,text\n0.jpg,caf\xe9\n1.jpg,one,two\n,none\n")
    rows, _ = _read(root, tmp_path)
    assert {key: row["error"] for key, row in rows.items()} == {
        "0": None,
        "1": None,
        "metadata_csv_3": "bad_metadata:line 3 has 3 fields, the header names 2",
        "metadata_csv_4": "bad_metadata:line 4 names no file",
    }
    assert (alts_of(rows["0"]), rows["0"]["labels"]) == (
        ["caf\ufffd"],
        [{"name": "caption_encoding", "value": "replaced"}],
    )


def test_a_column_that_nobody_has_names_the_nearest(tmp_path):
    root = _pictures(tmp_path / "in", "0.jpg")
    (root / "metadata.csv").write_text("datei,wort\n0.jpg,words\n")
    with pytest.raises(DatasetError, match=r'no column "datie"; did you mean "datei"\?'):
        _read(root, tmp_path, file_column="datie")
    with pytest.raises(DatasetError, match=r'no column "wrt"; did you mean "wort"\?'):
        _read(root, tmp_path, file_column="datei", caption_column="wrt")
    rows, _ = _read(root, tmp_path, file_column="datei", caption_column="wort")
    assert alts_of(rows["0"]) == ["words"]
