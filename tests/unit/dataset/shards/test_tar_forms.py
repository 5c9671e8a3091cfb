"""Every form of tar: each member's bytes are those Python's tarfile (or GNU tar) would unpack, or it has a reason."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import encoded
from tars import make_tar, pair, pairs

from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.integrity import checksum
from pairwright.components.dataset.shards.tar_index import index_tar
from pairwright.components.dataset.shards.tar_members import TarStream, followed
from pairwright.components.errors import DataChanged

FORMATS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = (
    tarfile.REGTYPE,
    tarfile.REGTYPE,
    tarfile.AREGTYPE,
    tarfile.CONTTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


@st.composite
def archives(draw) -> bytes:
    """One to three tars, one behind the other, of files, links, folders and pipes under names of every length."""
    names = st.builds(
        lambda folders, stem, suffix: "/".join([*folders, stem]) + suffix,
        st.lists(st.sampled_from([".", "a", "b" * 90, "é"]), max_size=2),
        st.one_of(st.sampled_from(["x", "y", "z"]), st.text("kä", min_size=1, max_size=80)),
        st.sampled_from([".jpg", ".txt", ".seg.png"]),
    )
    used = draw(st.lists(names, min_size=1, max_size=8, unique_by=os.path.normpath))
    body, written = b"", []
    for part in range(draw(st.integers(1, 3))):
        stream = io.BytesIO()
        form = draw(st.sampled_from(FORMATS))
        with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
            for name in used[part::3]:
                info = tarfile.TarInfo(name)
                info.type = draw(st.sampled_from(KINDS))
                data = draw(st.binary(max_size=1200)) if info.type in tarfile.REGULAR_TYPES else b""
                info.size = len(data)
                if info.type == tarfile.LNKTYPE:
                    info.linkname = draw(st.sampled_from([*written, "nothing.jpg"]))
                elif info.type == tarfile.SYMTYPE:
                    aim = draw(st.sampled_from([*used, "nothing.jpg", "/etc/hostname"]))
                    info.linkname = aim if aim.startswith("/") else os.path.relpath(aim, os.path.dirname(name) or ".")
                if info.type != tarfile.DIRTYPE:
                    written.append(name)
                tar.addfile(info, io.BytesIO(data))
        body += stream.getvalue()
    return body


def unpacked(body: bytes) -> dict[str, bytes | None]:
    """What tarfile reads of each member; None where it has no bytes."""
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(body), ignore_zeros=True) as tar:
        for member in tar.getmembers():
            if member.isdir():
                continue
            try:
                stream = tar.extractfile(member)
                found[member.name] = stream.read() if stream else None
            except (KeyError, RecursionError):  # a link to nothing, or in a circle
                found[member.name] = None
    return found


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(archives())
def test_members_are_those_tarfile_reads(body):
    tar = TarStream(io.BytesIO(body), "a.tar", lambda name, size: name.endswith(".txt"))
    members = followed(tar)
    assert tar.problem is None
    ours = {m.name: None if m.problem else body[m.offset : m.offset + m.size] for m in members}
    assert ours == unpacked(body)
    for member in members:
        if member.problem is None:
            assert member.crc32 == checksum(ours[member.name])
            assert member.data in (None, ours[member.name])


def test_links_carry_pictures_captions_and_reasons(tmp_path):
    path = tmp_path / "a.tar"
    links = {
        "soft.jpg": (tarfile.SYMTYPE, "later.jpg"),  # to what comes after it
        "soft.txt": (tarfile.SYMTYPE, "words.bin"),  # to a name that is no caption's
        "sub/up.jpg": (tarfile.SYMTYPE, "../first.jpg"),
        "twice.jpg": (tarfile.SYMTYPE, "soft.jpg"),
        "hard.jpg": (tarfile.LNKTYPE, "./first.jpg"),
        "out.jpg": (tarfile.SYMTYPE, "/etc/hostname"),
        "round.jpg": (tarfile.SYMTYPE, "round.jpg"),
        "gone.jpg": (tarfile.LNKTYPE, "nothing.jpg"),
    }
    files = {"words.bin": b"words of a link", "later.jpg": encoded(1, 48)}
    with tarfile.open(path, "w") as tar:
        for name, data in [("first.jpg", encoded(0, 48)), *links.items(), *files.items()]:
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname = data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    dataset = ingest("webdataset", str(path), str(tmp_path / "index"))
    rows = {row["key"]: row for row in dataset.shards[0].read_sidecar().to_pylist()}
    read = dataset.shards[0].read_member
    assert {key: row["error"] for key, row in rows.items() if row["error"]} == {
        "out": "dangling_link",
        "round": "dangling_link",
        "gone": "dangling_link",
        "words": "no_image",
    }
    pictures = {key: read(row["media"][0]) for key, row in rows.items() if row["error"] is None}
    first, later = encoded(0, 48), encoded(1, 48)
    assert pictures == {
        "first": first,
        "hard": first,
        "sub/up": first,
        "soft": later,
        "twice": later,
        "later": later,
    }
    assert [one["text"] for one in rows["soft"]["captions"]] == ["words of a link"]


@pytest.mark.parametrize("form", ["gnu", "posix 0.0", "posix 0.1", "posix 1.0"])
def test_a_sparse_member_is_a_row_with_its_reason_and_costs_no_other(tmp_path, form):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encoded(number, 48))
        (folder / f"{number}.txt").write_text(f"caption {number}")
    with (folder / "1.jpg").open("wb") as stream:  # more holes than one header block has room for
        for hole in range(60):
            stream.seek(hole * 65536)
            stream.write(b"data")
    name, _, version = form.partition(" ")
    options = [f"--format={name}", "--sparse", *([f"--sparse-version={version}"] if version else [])]
    files = [f"{n}.{suffix}" for n in range(3) for suffix in ("jpg", "txt")]
    subprocess.run(["tar", *options, "-cf", tmp_path / "a.tar", "-C", folder, *files], check=True)
    assert (tmp_path / "a.tar").stat().st_size < 400_000, "tar stored no holes"
    index = index_tar(str(tmp_path / "a.tar"))
    assert index.problem is None
    assert [(row["key"], row["error"]) for row in index.rows] == [("0", None), ("1", "sparse_member"), ("2", None)]
    assert [row["captions"][0]["text"] for row in index.rows] == ["caption 0", "caption 1", "caption 2"]
    body = (tmp_path / "a.tar").read_bytes()
    for row in (index.rows[0], index.rows[2]):
        medium = row["media"][0]
        assert body[medium["offset"] : medium["offset"] + medium["size"]] == encoded(int(row["key"]), 48)


def test_what_tar_of_a_folder_writes_has_the_keys_of_its_files(tmp_path):
    for name, data in [*pair("000000000", 0), *pair("sub/000000001", 1)]:
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    subprocess.run(["tar", "-cf", tmp_path / "a.tar", "-C", tmp_path / "files", "."], check=True)
    rows = {row["key"]: row for row in index_tar(str(tmp_path / "a.tar")).rows}
    assert sorted(rows) == ["000000000", "sub/000000001"]
    assert all(row["error"] is None and row["captions"] for row in rows.values())


def test_sizes_in_base_256_and_in_a_pax_record_are_read(tmp_path):
    data = encoded(0, 48)
    info = tarfile.TarInfo("a.jpg")
    info.size = len(data)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + len(data).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    padding = bytes(-len(data) % 512)
    other = tarfile.TarInfo("b.jpg")
    other.pax_headers = {"size": str(len(data))}
    other.size = 0
    pax = other.tobuf(tarfile.PAX_FORMAT)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + data + padding + pax + data + padding + bytes(1024))
    index = index_tar(str(path))
    assert index.problem is None
    body = path.read_bytes()
    places = [row["media"][0] for row in index.rows]
    assert [row["key"] for row in index.rows] == ["a", "b"]
    assert [body[one["offset"] : one["offset"] + one["size"]] for one in places] == [data, data]


def test_a_tar_that_was_repacked_is_refused_and_indexed_again_holds_the_same_pairs(tmp_path):
    members = pairs(5)
    tar = make_tar(tmp_path / "in/00000.tar", members)
    before = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    shard = before.shards[0]
    media = [row[0] for row in shard.read_sidecar(["media"])["media"].to_pylist()]
    groups = [members[at : at + 3] for at in range(0, len(members), 3)]
    make_tar(tar, [member for group in groups[::-1] for member in group])
    refused = 0
    for medium in media:
        try:
            assert shard.read_member(medium) == dict(members)[medium["member"]]
        except DataChanged:
            refused += 1
    assert refused >= 4
    again = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index")).shards[0]
    rows = again.read_sidecar().to_pylist()
    assert {row["key"] for row in rows} == {f"{n:05d}" for n in range(5)}
    assert all(again.read_member(row["media"][0]) == dict(members)[f"{row['key']}.jpg"] for row in rows)


def test_a_device_under_a_pictures_name_is_a_reason(tmp_path):
    path = Path(tmp_path / "a.tar")
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("pipe.jpg")
        info.type = tarfile.FIFOTYPE
        tar.addfile(info)
    assert [(row["key"], row["error"]) for row in index_tar(str(path)).rows] == [("pipe", "not_a_file")]
