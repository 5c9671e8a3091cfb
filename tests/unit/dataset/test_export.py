"""Export: a WebDataset the `webdataset` package iterates, a Parquet DuckDB reads, and nothing changed on the way."""

from __future__ import annotations

import tarfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import make_tar, pair, pairs

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.export import export
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.keys import safe_key
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError


def _members(*paths: str) -> dict[str, bytes]:
    found = {}
    for path in paths:
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def test_the_webdataset_package_iterates_what_we_export(shapes, tmp_path):
    from shapes import caption_text, encoded

    out = export(shapes(pairs=9, shards=2), str(tmp_path / "out"), shard_pairs=4)
    assert [shard.rows for shard in out.shards] == [4, 4, 1]
    samples = list(webdataset.WebDataset(str(tmp_path / "out/{00000..00002}.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{number:06d}" for number in range(9)]
    for number, sample in enumerate(samples):
        assert sample["jpg"] == encoded(number)
        assert sample["txt"].decode() == caption_text(number)
        assert sample["json"] == b'{"number": %d}' % number


def test_duckdb_reads_the_exported_parquet_and_its_byte_ranges_are_true(shapes, tmp_path):
    from shapes import encoded

    export(shapes(pairs=5, shards=1), str(tmp_path / "out"), shard_pairs=3)
    found = duckdb.sql(
        f"select key, caption, tar, \"offset\", size from '{tmp_path}/out/pairs.parquet' where caption like '%circle%'"
    ).fetchall()
    assert found
    for key, _, tar, offset, size in found:
        body = (tmp_path / "out" / tar).read_bytes()
        assert body[offset : offset + size] == encoded(int(key))
    ((count,),) = duckdb.sql(
        f"select count(*) from '{tmp_path}/out/0*.parquet' where captions[1].source = 'alt'"
    ).fetchall()
    assert count == 5


def test_only_kept_rows_leave_and_the_bytes_are_the_same(shapes, tmp_path):
    dataset = shapes(pairs=10, shards=2)
    kept = pa.table({"shard": [dataset.shards[1].digest, dataset.shards[0].digest], "row": [3, 1]})
    out = export(dataset, str(tmp_path / "out"), kept=kept)
    keys = out.shards[0].read_sidecar(["key"])["key"].to_pylist()
    assert keys == ["000001", "000008"]
    before = _members(*(shard.tar for shard in dataset.shards))
    assert _members(out.shards[0].tar) == {name: data for name, data in before.items() if name.split(".")[0] in keys}


def test_an_export_of_everything_exports_to_the_same_bytes_again(shapes, tmp_path):
    first = export(shapes(), str(tmp_path / "a"), shard_pairs=10)
    second = export(first, str(tmp_path / "b"), shard_pairs=10)
    assert first.digest == second.digest
    for one, two in zip(first.shards, second.shards, strict=True):
        assert Path(one.tar).read_bytes() == Path(two.tar).read_bytes()


def test_new_captions_join_the_old_and_the_first_in_priority_is_the_text(shapes, tmp_path):
    dataset = shapes(pairs=3, shards=1)
    out = export(
        dataset,
        str(tmp_path / "out"),
        caption_columns={"fused": lambda shard: ["new zero", None, "new two"]},
        caption_priority=("fused", "alt"),
    )
    members = _members(out.shards[0].tar)
    assert [members[f"00000{n}.txt"] for n in range(3)] == [b"new zero", members["000001.txt"], b"new two"]
    rows = out.shards[0].read_sidecar().to_pylist()
    old = dataset.shards[0].read_sidecar().to_pylist()
    assert members["000001.txt"].decode() == old[1]["captions"][0]["text"]
    for row, before in zip(rows, old, strict=True):
        assert row["captions"][: len(before["captions"])] == before["captions"]
    assert [one["text"] for one in rows[0]["captions"] if one["source"] == "fused"] == ["new zero"]


def test_a_captioner_steps_captions_are_exported_by_the_steps_name(shapes, tmp_path):
    dataset = shapes(pairs=4, shards=2)
    store, step = ColumnStore(str(tmp_path / "columns")), StepColumns("fuse", "d0")
    for number, shard in enumerate(dataset.shards):
        store.write(step, shard.digest, {"text": pa.array([f"new {number}", None])}, 2)
    view = ColumnsView(dataset, store, {"fused": step})
    out = export(dataset, str(tmp_path / "out"), columns=view, captions=["fused"])
    texts = duckdb.sql(f"select caption, caption_source from '{tmp_path}/out/pairs.parquet'").fetchall()
    assert texts[0] == ("new 0", "fused")
    assert texts[1][1] == "alt"
    assert texts[2] == ("new 1", "fused")
    assert _members(out.shards[0].tar)["000000.txt"] == b"new 0"
    with pytest.raises(DatasetError, match="pass `columns`"):
        export(dataset, str(tmp_path / "out2"), captions=["fused"])


def test_rows_with_an_error_stay_behind(tmp_path):
    tar = make_tar(tmp_path / "in/a.tar", [*pair("a", 0), ("b.jpg", b""), *pair("../c", 1)])
    out = export(ingest("webdataset", str(tar), str(tmp_path / "index")), str(tmp_path / "out"))
    assert set(_members(out.shards[0].tar)) == {"a.jpg", "a.txt", "a.json"}


def test_one_key_in_two_shards_keeps_both_pictures(tmp_path):
    make_tar(tmp_path / "in/00000.tar", pair("a", 0))
    make_tar(tmp_path / "in/00001.tar", pair("a", 1))
    out = export(ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index")), str(tmp_path / "out"))
    rows = out.shards[0].read_sidecar().to_pylist()
    assert [(row["key"], row["error"]) for row in rows] == [("a", None), ("00001/a", None)]
    assert {"name": "source_key", "value": "a"} in rows[1]["labels"]


def test_every_other_member_of_a_pair_comes_along(tmp_path):
    members = [*pair("a", 0), ("a.ogg", b"OggS"), ("a.cls", b"3"), ("a.seg.png", b"mask")]
    tar = make_tar(tmp_path / "in/a.tar", members)
    out = export(ingest("webdataset", str(tar), str(tmp_path / "index")), str(tmp_path / "out"))
    assert _members(out.shards[0].tar) == dict(members)


def test_a_clips_frames_keep_their_seconds(tmp_path):
    with ShardWriter(str(tmp_path / "in"), "clips") as writer:
        frames = [("frames", "frame", f"{at:04d}.png", b"%d" % at) for at in range(3)]
        writer.add(
            "a", frames, [caption("a clip")], shown={f"{at:04d}.png": (2.0 * at, 2.0 * at + 2) for at in range(3)}
        )
    out = export(writer.dataset, str(tmp_path / "out"))
    ((row,),) = [table.to_pylist() for _, table in out.iter_sidecars()]
    assert [(one["t0"], one["t1"]) for one in row["media"] if one["role"] == "frames"] == [(0, 2), (2, 4), (4, 6)]


def test_a_tar_that_changed_since_it_was_indexed_is_refused(tmp_path):
    tar = make_tar(tmp_path / "in/a.tar", pairs(2))
    dataset = ingest("webdataset", str(tar), str(tmp_path / "index"))
    make_tar(tar, pairs(30))
    with pytest.raises(DatasetError, match="changed since it was indexed"):
        export(dataset, str(tmp_path / "out"))
    with pytest.raises(DatasetError, match="is not a dataset"):
        open_dataset(str(tmp_path / "out"))


def test_the_dataset_is_never_exported_onto_itself(shapes):
    dataset = shapes(pairs=2, shards=1)
    with pytest.raises(DatasetError, match="name another DEST"):
        export(dataset, dataset.root)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(text, text, st.binary(min_size=1, max_size=900), st.none() | st.binary(max_size=60)),
        min_size=1,
        max_size=5,
        unique_by=lambda one: safe_key(one[0]),
    )
)
def test_key_bytes_caption_and_metadata_survive_write_index_export(rows, tmp_path_factory):
    root = tmp_path_factory.mktemp("trip")
    with ShardWriter(str(root / "a"), "d", pairs_per_shard=3) as writer:
        for key, words, data, meta in rows:
            writer.add(safe_key(key), [("image", "image", "jpg", data)], [caption(words)], meta=meta)
    indexed = ingest("webdataset", str(root / "a"), str(root / "index"))  # from the tars alone
    out = export(indexed, str(root / "out"), shard_pairs=2)
    found = _members(*(shard.tar for shard in out.shards))
    wanted = {}
    for key, words, data, meta in rows:
        wanted |= {f"{safe_key(key)}.jpg": data, f"{safe_key(key)}.txt": words.encode()}
        wanted |= {} if meta is None else {f"{safe_key(key)}.json": meta}
    assert found == wanted
