"""Indexing tars: the byte ranges are true, whoever wrote the tar, and pairs are WebDataset's."""

from __future__ import annotations

import hashlib
import tarfile

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import make_tar, pair, pairs

from pairwright.components.dataset.shards.tar_index import index_tar, split_name
from pairwright.components.errors import DatasetError


def _range(path, medium):
    return path.read_bytes()[medium["offset"] : medium["offset"] + medium["size"]]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_byte_ranges_are_the_members_bytes_in_every_tar_format(tmp_path, form):
    long = "folder/" + "k" * (80 if form == tarfile.USTAR_FORMAT else 180)
    members = pairs(3) + pair(long, 3)
    path = make_tar(tmp_path / "a.tar", members, form)
    index = index_tar(str(path))
    assert index.problem is None
    assert index.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [row["key"] for row in index.rows] == ["00000", "00001", "00002", long]
    wanted = dict(members)
    for row in index.rows:
        image = row["media"][0]
        assert (image["role"], image["kind"]) == ("image", "image")
        assert _range(path, image) == wanted[image["member"]]
        assert row["meta"] == wanted[f"{row['key']}.json"]
        assert row["captions"][0]["text"].encode() == wanted[f"{row['key']}.txt"]
        assert row["origin"].startswith("http://example.org/")


def test_pairs_are_those_the_webdataset_package_iterates(tmp_path):
    members = [
        ("sub/a.b.jpg", b"1"),
        ("sub/a.txt", b"x"),
        ("c.JPG", b"2"),
        ("c.txt", b"y"),
        ("d.seg.png", b"3"),
        ("d.png", b"4"),
    ]
    path = make_tar(tmp_path / "a.tar", members)
    theirs = [
        (sample["__key__"], {suffix for suffix in sample if not suffix.startswith("__")})
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    ours = [(row["key"], row) for row in index_tar(str(path)).rows]
    assert [key for key, _ in ours] == [key for key, _ in theirs]
    assert [one["member"] for _, row in ours for one in row["media"]] == ["sub/a.b.jpg", "c.JPG", "d.seg.png", "d.png"]
    assert {one["role"]: one["member"] for one in ours[2][1]["media"]} == {"seg": "d.seg.png", "image": "d.png"}


def test_a_caption_in_the_json_is_the_alt_text_where_there_is_no_txt(tmp_path):
    body = b'{"caption": "half \\ud83d a pair", "license": "CC0", "author": "me"}'
    row = index_tar(str(make_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("a.json", body)]))).rows[0]
    assert row["captions"][0]["text"] == "half \ufffd a pair"
    assert (row["licence"], row["author"], row["meta"]) == ("CC0", "me", body)


def test_a_class_file_is_a_label_and_a_sound_is_another_medium(tmp_path):
    path = make_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("a.cls", b"7\n"), ("a.ogg", b"OggS")])
    row = index_tar(str(path)).rows[0]
    assert row["labels"] == [{"name": "class", "value": "7"}]
    assert [(one["role"], one["kind"]) for one in row["media"]] == [
        ("image", "image"),
        ("cls", "none"),
        ("speech", "audio"),
    ]


def test_a_hard_link_is_its_targets_bytes(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        (tmp_path / "x.jpg").write_bytes(b"picture")
        tar.add(tmp_path / "x.jpg", "x.jpg")
        link = tarfile.TarInfo("y.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "x.jpg"
        tar.addfile(link)
    rows = index_tar(str(path)).rows
    assert [_range(path, row["media"][0]) for row in rows] == [b"picture", b"picture"]


def test_parts_of_a_pair_that_stand_apart_are_joined(tmp_path):
    path = make_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"x"), ("b.txt", b"y")])
    assert [(row["key"], row["error"], row["captions"][0]["text"]) for row in index_tar(str(path)).rows] == [
        ("a", None, "x"),
        ("b", None, "y"),
    ]


def test_concatenated_tars_are_read_to_the_end(tmp_path):
    first, second = make_tar(tmp_path / "a.tar", pair("a", 0)), make_tar(tmp_path / "b.tar", pair("b", 1))
    both = tmp_path / "both.tar"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    index = index_tar(str(both))
    assert [row["key"] for row in index.rows] == ["a", "b"]
    assert index.problem is None


def test_a_compressed_tar_is_refused_with_the_remedy(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(DatasetError, match=r"compressed with gzip.*decompress it first"):
        index_tar(str(tmp_path / "a.tar"))


@settings(max_examples=200, deadline=None)
@given(st.text("ab./_", max_size=12))
def test_names_split_as_webdataset_splits_them(name):
    from webdataset.tariterators import base_plus_ext

    base = name.rpartition("/")[2]
    if not base.startswith("."):  # theirs takes ".x" below a folder for a key ending in "/"
        key, suffix = base_plus_ext(name)
        assert split_name(name) == (None if key is None else (key, suffix.lower())) or base.startswith("__")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_cut_keeps_every_pair_before_it_and_invents_none(data, tmp_path_factory):
    members = pairs(4)
    whole = make_tar(tmp_path_factory.mktemp("cut") / "a.tar", members)
    good = {row["key"]: row for row in index_tar(str(whole)).rows}
    body = whole.read_bytes()
    first_end = body.find(good["00000"]["meta"]) + len(good["00000"]["meta"])
    cut = data.draw(st.integers(first_end, len(body) - 1))  # from then on it is known what a pair consists of
    whole.write_bytes(body[:cut])
    index = index_tar(str(whole))
    ends = {row["key"]: row["meta"] and body.find(row["meta"]) + len(row["meta"]) for row in good.values()}
    kept = [row for row in index.rows if row["error"] is None]
    assert [row["key"] for row in kept] == [key for key, end in ends.items() if end <= cut]
    assert all(row == good[row["key"]] for row in kept)
    assert len(index.rows) - len(kept) <= 1
    last_end = max(end for end in ends.values())
    assert index.problem is not None or cut >= last_end


def test_a_clip_has_its_frames_in_order_and_its_subtitles_as_they_are_written(tmp_path):
    srt = b"1\n00:00:01,000 --> 00:00:02,000\nso, a dog\n\n2\n00:00:03,000 --> 00:00:04,000\nand a cat\n"
    frames = [(f"a.frames.{at:04d}.jpg", b"frame %d" % at) for at in range(3)]
    members = [("a.jpg", b"poster"), *frames, ("a.srt", srt), ("b.frames.0000.jpg", b"x"), ("b.vtt", b"WEBVTT\n")]
    path = make_tar(tmp_path / "a.tar", members)
    clip, bare = index_tar(str(path)).rows
    assert [(one["role"], one["kind"], one["ordinal"]) for one in clip["media"]] == [
        ("image", "image", 0), ("frames", "frame", 0), ("frames", "frame", 1), ("frames", "frame", 2),
    ]  # fmt: skip
    assert [_range(path, one) for one in clip["media"][1:]] == [data for _, data in frames]
    assert [(one["source"], one["text"]) for one in clip["captions"]] == [("subtitles", srt.decode())]
    assert bare["error"] is None, "a clip without a picture is a pair"
    assert bare["captions"][0]["source"] == "subtitles"
