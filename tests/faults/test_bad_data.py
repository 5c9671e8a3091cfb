"""Bad data: a row with a reason or one clear error; never a traceback, never a lost good pair."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapes import encoded
from tars import make_tar, pair, pairs

from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.why import why


def _ingest(tar: Path, kind: str = "webdataset"):
    dataset = ingest(kind, str(tar), str(tar.parent / "index"))
    rows = [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]
    assert dataset.rows == len(rows)
    return dataset, rows


def _good(rows):
    return [row["key"] for row in rows if row["error"] is None]


def test_a_truncated_tar_keeps_every_whole_pair(tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pairs(10))
    body = tar.read_bytes()
    tar.write_bytes(body[: body.index(b"00007.txt") + 700])  # within the caption of the eighth
    dataset, rows = _ingest(tar)
    assert _good(rows) == [f"{number:05d}" for number in range(7)]
    assert [(row["key"], row["error"]) for row in rows[7:]] == [("00007", "truncated")]
    assert "cut short at byte" in dataset.shards[0].problem


def test_what_a_truncated_tar_lost_is_estimated_from_its_neighbours(tmp_path):
    for number in range(3):
        make_tar(tmp_path / f"in/{number:05d}.tar", pairs(10))
    cut = tmp_path / "in/00001.tar"
    body = cut.read_bytes()
    cut.write_bytes(body[: body.index(b"00004.jpg")])  # between two pairs
    dataset = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert [(shard.rows, shard.unknown) for shard in dataset.shards] == [(10, 0), (4, 6), (10, 0)]
    assert dataset.unknown == 6
    view = ColumnsView(dataset, ColumnStore(f"{tmp_path}/columns"), {})
    said = r'is called "00007x", but it may be one of the pairs lost with 00001 \(.*\), some 6 as .*: restore the tar'
    with pytest.raises(DatasetError, match=said):
        why([], view, "00007x")


def test_a_damaged_header_costs_its_own_member_only(tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pairs(6))
    body = bytearray(tar.read_bytes())
    at = body.index(b"00002.jpg")
    body[at : at + 100] = b"\xff" * 100
    tar.write_bytes(body)
    dataset, rows = _ingest(tar)
    assert _good(rows) == ["00000", "00001", "00003", "00004", "00005"]
    assert [(row["key"], row["error"]) for row in rows if row["error"]] == [("00002", "no_image")]
    assert "damaged at byte" in dataset.shards[0].problem


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_member_that_climbs_out_is_a_row_with_a_reason_and_writes_nothing(tmp_path, name):
    tar = make_tar(tmp_path / "in/00000.tar", pair("a", 0) + pair(name, 1) + pair("b", 2))
    before = set(tmp_path.rglob("*"))
    _, rows = _ingest(tar)
    assert _good(rows) == ["a", "b"]
    assert [row["error"] for row in rows] == [None, "unsafe_member", None]
    new = set(tmp_path.rglob("*")) - before
    assert all("index" in path.parts for path in new)


def test_a_zero_byte_image_is_a_row_with_a_reason(tmp_path):
    tar = make_tar(
        tmp_path / "in/00000.tar", [*pair("a", 0), ("b.jpg", b""), ("b.txt", b"nothing to see"), *pair("c", 1)]
    )
    _, rows = _ingest(tar)
    assert _good(rows) == ["a", "c"]
    assert rows[1]["error"] == "empty_image"
    assert rows[1]["captions"][0]["text"] == "nothing to see"


def test_duplicate_keys_keep_the_first_and_name_the_second(tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pair("a", 0) + pair("b", 1) + pair("a", 2))
    _, rows = _ingest(tar)
    assert [(row["key"], row["error"]) for row in rows] == [("a", None), ("b", None), ("a", "duplicate_key")]


@pytest.mark.parametrize("body", [b"", bytes(1024), bytes(10240)])
def test_an_empty_shard_beside_good_ones_loses_nothing(tmp_path, body):
    make_tar(tmp_path / "in/00000.tar", pairs(3))
    (tmp_path / "in/00001.tar").write_bytes(body)
    make_tar(tmp_path / "in/00002.tar", pairs(2))
    dataset = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert [shard.rows for shard in dataset.shards] == [3, 0, 2]
    assert (dataset.shards[1].problem is None) == bool(body)


def test_a_caption_in_broken_utf8_stays_a_pair_and_its_bytes_survive_export(tmp_path):
    from pairwright.components.dataset.export import export

    broken = b"caf\xe9 \xff on the left"
    tar = make_tar(tmp_path / "in/00000.tar", [*pair("a", 0, broken), *pair("b", 1)])
    dataset, rows = _ingest(tar)
    assert _good(rows) == ["a", "b"]
    assert rows[0]["captions"][0]["text"] == "caf\ufffd \ufffd on the left"
    assert {"name": "caption_encoding", "value": "replaced"} in rows[0]["labels"]
    again = export(dataset, str(tmp_path / "out"))
    assert broken in Path(again.shards[0].tar).read_bytes()


def test_a_gif_a_text_named_jpg_and_a_file_without_suffix_are_no_trouble_to_ingest(tmp_path):
    members = [
        ("a.gif", encoded(0, 48, "GIF")),
        ("a.txt", b"x"),
        ("b.jpg", b"<html>no picture</html>"),
        ("README", b"hello"),
    ]
    _, rows = _ingest(make_tar(tmp_path / "in/00000.tar", members))
    assert _good(rows) == ["a", "b"]  # that b is no picture is found, with its reason, when it is decoded


def test_a_huge_json_stays_in_the_tar_and_its_pair_is_good(tmp_path):
    body = b'{"caption": "' + b"x" * (3 << 20) + b'"}'
    tar = make_tar(tmp_path / "in/00000.tar", [("a.jpg", encoded(0, 48)), ("a.txt", b"short"), ("a.json", body)])
    dataset, rows = _ingest(tar)
    assert _good(rows) == ["a"]
    assert rows[0]["meta"] is None
    kept = next(one for one in rows[0]["media"] if one["role"] == "json")
    assert dataset.shards[0].read_member(kept) == body


def test_json_nested_beyond_reason_is_kept_as_bytes(tmp_path):
    body = b"[" * 100_000
    _, rows = _ingest(make_tar(tmp_path / "in/00000.tar", [("a.jpg", encoded(0, 48)), ("a.json", body)]))
    assert rows[0]["meta"] == body
    assert rows[0]["error"] is None


def test_names_in_no_known_encoding_stay_distinct(tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pair("caf\udce9", 0) + pair("caf\udce8", 1))
    _, rows = _ingest(tar)
    assert len(set(_good(rows))) == 2


def test_a_missing_source_is_one_clear_line(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no \.tar file") as caught:
        ingest("webdataset", str(tmp_path / "nowhere"), str(tmp_path / "out"))
    assert "\n" not in str(caught.value)


def test_the_folder_being_read_is_never_written(tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pairs(2))
    with pytest.raises(DatasetError, match="never written"):
        ingest("webdataset", str(tar.parent), str(tar.parent / "index"))
    assert list(tar.parent.iterdir()) == [tar]
