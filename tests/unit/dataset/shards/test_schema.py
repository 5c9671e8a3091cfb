"""Contract 1: schemas have versions; a newer one is refused with a remedy, an older one migrated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tars import flip

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.dataset.shards.schema import CAPTION, MEDIA, SIDECAR, SIDECAR_VERSION, migrate_sidecar
from pairwright.components.dataset.shards.sidecar import (
    caption,
    medium,
    region,
    row,
    shard_digest,
    sidecar_table,
    write_sidecar,
)
from pairwright.components.errors import ColumnError, DataChanged, DatasetError
from pairwright.components.hashing import file_sha256


def _rewrite(path: str, change) -> None:
    table = change(pq.read_table(path))
    pq.write_table(table, path)


def _as_version(version: int):
    return lambda table: table.replace_schema_metadata({"schema_version": str(version)})


def test_a_sidecar_of_a_newer_release_is_refused_with_the_remedy(shapes):
    shard = shapes(pairs=2, shards=1).shards[0]
    _rewrite(shard.sidecar, _as_version(SIDECAR_VERSION + 1))
    shard = replace(shard, sidecar_sha256=file_sha256(shard.sidecar))
    with pytest.raises(ColumnError, match=r"schema version 4, this release reads up to 3; upgrade pairwright"):
        shard.read_sidecar()


def test_a_column_file_of_a_newer_release_is_refused_with_the_remedy(shapes, tmp_path):
    shard = shapes(pairs=2, shards=1).shards[0]
    store, step = ColumnStore(str(tmp_path / "columns")), StepColumns("c", "d")
    store.write(step, shard.digest, {"x": pa.array([1, 2])}, 2)
    path = store.path(step, shard.digest)
    _rewrite(path, _as_version(99))
    record = storage.read_json(path + ".json") | {"bytes": storage.size_of(path), "sha256": file_sha256(path)}
    storage.write_json(path + ".json", {name: value for name, value in record.items() if name != "check"})
    with pytest.raises(ColumnError, match="upgrade pairwright"):
        store.read(step, shard)


def test_a_dataset_manifest_of_a_newer_release_is_refused_with_the_remedy(shapes):
    dataset = shapes(pairs=2, shards=1)
    path = f"{dataset.root}/dataset.json"
    storage.write_json(path, storage.read_json(path) | {"manifest_version": 99})
    with pytest.raises(DatasetError, match="newer release; upgrade pairwright"):
        open_dataset(dataset.root)


@pytest.mark.parametrize("columns", [None, ["key", "labels", "captions"]])
def test_a_sidecar_of_version_0_is_migrated_with_nothing_lost(shapes, columns):
    shard = replace(shapes(pairs=3, shards=1).shards[0], sidecar_sha256="")
    before = shard.read_sidecar(columns)
    newer = ["labels", "group", "author"]
    _rewrite(shard.sidecar, lambda table: table.drop_columns(newer).replace_schema_metadata(None))
    after = shard.read_sidecar(columns)
    assert after.schema.names == (columns or SIDECAR.names)
    for name in after.schema.names:
        assert after.schema.field(name).type == SIDECAR.field(name).type
        if name in newer:
            assert after[name].null_count == 3
        else:
            assert after[name].equals(before[name])


def _as_first_release(shard):
    """The shard as release 1 wrote it: no checksums in the sidecar, no hash of the sidecar in the manifest."""
    media = pa.list_(pa.struct([field for field in MEDIA if field.name != "crc32"]))

    def older(table):
        rows = [[{k: v for k, v in one.items() if k != "crc32"} for one in row] for row in table["media"].to_pylist()]
        at = table.schema.get_field_index("media")
        return _as_version(1)(table.set_column(at, "media", pa.array(rows, media)))

    _rewrite(shard.sidecar, older)
    return replace(shard, sidecar_sha256="")


@pytest.mark.parametrize("columns", [None, ["key", "media"]])
def test_a_sidecar_of_version_1_is_read_and_its_tar_checked_as_a_whole(shapes, columns):
    today = shapes(pairs=3, shards=1).shards[0]
    before = today.read_sidecar(columns)
    shard = _as_first_release(today)
    after = shard.read_sidecar(columns)
    assert after.schema.field("media").type == SIDECAR.field("media").type
    assert after["key"].equals(before["key"])
    media = [row[0] for row in after["media"].to_pylist()]
    checked = [row[0] for row in before["media"].to_pylist()]
    assert media == [one | {"crc32": None} for one in checked]
    assert [shard.read_member(one) for one in media] == [today.read_member(one) for one in checked]
    flip(Path(shard.tar), media[2]["offset"])
    with pytest.raises(DataChanged, match="changed since it was indexed"):
        shard.read_member(media[0])


def test_checksums_leave_the_shards_digest_as_it_was(shapes):
    shard = shapes(pairs=3, shards=1).shards[0]
    table = _as_first_release(shard).read_sidecar()
    assert shard_digest(file_sha256(shard.tar), table) == shard.digest


def _as_version_2(shard):
    """The sidecar as the release before regions wrote it."""
    _rewrite(shard.sidecar, lambda table: _as_version(2)(table.drop_columns(["regions"])))
    return replace(shard, sidecar_sha256=file_sha256(shard.sidecar))


def test_a_sidecar_of_version_2_is_migrated_and_its_shard_keeps_its_digest(shapes):
    shard = shapes(pairs=3, shards=1).shards[0]
    before = _as_version_2(shard)
    table = before.read_sidecar()
    assert table.schema.names == SIDECAR.names
    assert table["regions"].to_pylist() == [None] * 3
    assert before.read_sidecar(["key", "regions"]).column_names == ["key", "regions"]
    assert shard_digest(file_sha256(shard.tar), table) == shard.digest
    assert before.is_whole()


# Made by the release before regions had a column, of the same rows.
DIGEST_BEFORE_REGIONS = "94957ff7daff82c5c1e8cf17e4adfa50"


def test_shards_of_the_release_before_regions_keep_their_names():
    rows = [
        row("a", [medium("image", "image", 0, "a.jpg", 512, 9, 7)], [caption("x", lang="en")], [("l", "v")], group="g"),
        row("b", error="no_image"),
    ]
    assert shard_digest("tar", sidecar_table(rows)) == DIGEST_BEFORE_REGIONS


@pytest.mark.parametrize("box", [(0, 0, 1), (0.5, 0, 0.5, 1), (0, 0, 1.2, 1), (-0.1, 0, 1, 1), (0, 0, float("nan"), 1)])
def test_a_region_that_is_no_box_in_the_picture_is_refused(box):
    with pytest.raises(DatasetError, match=r"shares 0\.\.1"):
        region(box, "cat")


def test_todays_sidecar_is_left_as_it_is():
    table = sidecar_table([row("a")])
    assert migrate_sidecar(table, SIDECAR_VERSION) is table


def test_a_written_sidecar_declares_its_version_and_reads_back_equal(tmp_path):
    rows = [
        row(
            "k",
            [medium("image", "image", 0, "k.jpg", 512, 9, 7)],
            [caption("t", "translation", 1, "de", "p")],
            [("a", "b")],
            licence="CC0-1.0",
            author="me",
            origin="o",
            group="g",
            meta=b"\xff\0",
            error="e",
            regions=[region((0.25, 0, 1, 0.5), "cat", 0.5, 1, "detector"), region((0, 0, 0.5, 1), "dog")],
        ),
        row("nobody looked"),
        row("none were found", regions=[]),
    ]
    table = sidecar_table(rows)
    write_sidecar(table, str(tmp_path / "s.parquet"))
    read = pq.read_table(tmp_path / "s.parquet")
    assert read.schema.metadata[b"schema_version"] == b"3"
    assert read.to_pylist() == rows


def test_a_shards_digest_sees_every_value_and_the_order_of_rows():
    rows = [row("a", captions=[caption("x")], meta=b"1"), row("b")]
    base = shard_digest("tar", sidecar_table(rows))
    changes = [
        ("tar2", rows),
        ("tar", rows[::-1]),
        ("tar", [rows[0] | {"meta": b"2"}, rows[1]]),
        ("tar", [rows[0] | {"captions": [caption("x", lang="en")]}, rows[1]]),
        ("tar", [rows[0], rows[1] | {"error": "e"}]),
        ("tar", [rows[0] | {"meta": None}, rows[1]]),
        ("tar", [rows[0] | {"regions": []}, rows[1]]),
        ("tar", [rows[0] | {"regions": [region((0, 0, 1, 1), "x")]}, rows[1]]),
    ]
    digests = [shard_digest(tar, sidecar_table(changed)) for tar, changed in changes]
    assert len({base, *digests}) == len(digests) + 1


def test_a_shards_digest_does_not_depend_on_how_parquet_is_laid_out(shapes):
    dataset = shapes(pairs=6, shards=1)
    shard = dataset.shards[0]
    _rewrite(shard.sidecar, lambda table: pa.concat_tables([table.slice(0, 2), table.slice(2)]))
    table = replace(shard, sidecar_sha256="").read_sidecar()
    assert shard_digest(file_sha256(shard.tar), table) == shard.digest


def test_a_sidecar_with_rows_missing_is_refused(shapes):
    shard = shapes(pairs=3, shards=1).shards[0]
    with pytest.raises(DatasetError, match="has 3 rows, its manifest says 4"):
        replace(shard, rows=4).read_sidecar()


def test_the_structs_of_contract_1_keep_their_fields():
    names = ["role", "kind", "ordinal", "member", "offset", "size", "crc32", "t0", "t1"]
    assert [field.name for field in MEDIA] == names
    assert [field.name for field in CAPTION] == ["source", "ordinal", "text", "lang", "producer"]
