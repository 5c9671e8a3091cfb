"""What is read of a tar is what was indexed, byte for byte, or an error that names the file and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import encoded
from tars import cut, flip, grow, make_tar, pairs

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.export import export
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.integrity import checksum
from pairwright.components.dataset.shards.members import checked
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import DataChanged

REMEDY = r"restore the file, or run `pairwright ingest` again"


def indexed(root: Path, count: int = 6) -> Dataset:
    make_tar(root / "in/00000.tar", pairs(count))
    return ingest("webdataset", str(root / "in"), str(root / "index"))


def picture(shard: Shard, row: int) -> dict:
    return shard.read_sidecar(["media"])["media"][row].as_py()[0]


@pytest.mark.parametrize("damage", [flip, cut, grow])
def test_a_tar_changed_after_ingest_goes_into_no_export_and_no_batch(tmp_path, damage):
    dataset = indexed(tmp_path)
    shard = dataset.shards[0]
    damage(Path(shard.tar), picture(shard, 3)["offset"])
    with pytest.raises(DataChanged, match=f"00000.tar changed since it was indexed.*{REMEDY}") as said:
        export(dataset, str(tmp_path / "out"))
    assert "\n" not in str(said.value)
    with pytest.raises(DataChanged):
        list(read_pairs(shard, pixels=0, raw=True))
    with pytest.raises(DataChanged):
        shard.read_member(picture(shard, 3))


def test_other_pictures_in_the_same_places_are_found_though_size_and_time_agree(tmp_path):
    members = [(name, data.ljust(8000, b"\0") if name.endswith("jpg") else b"{}") for name, data in pairs(4)]
    tar = make_tar(tmp_path / "in/00000.tar", members)
    dataset = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    before, times = tar.read_bytes(), tar.stat()
    pictures = [data for name, data in members if name.endswith("jpg")]
    make_tar(tar, [(name, pictures.pop() if name.endswith("jpg") else data) for name, data in members])
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(tar.read_bytes()) == len(before)
    with pytest.raises(DataChanged, match=r"member 00000.jpg is no longer the same"):
        list(read_pairs(dataset.shards[0], pixels=32))
    with pytest.raises(DataChanged, match=r"member 00000.jpg is no longer the same"):
        export(dataset, str(tmp_path / "out"))


def test_the_remedies_that_are_named_mend_it(tmp_path):
    dataset = indexed(tmp_path)
    tar, at = Path(dataset.shards[0].tar), picture(dataset.shards[0], 2)["offset"]
    flip(tar, at)
    again = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert again.digest != dataset.digest
    assert len(next(iter(read_pairs(again.shards[0], pixels=0, raw=True))).raw) == 6
    flip(tar, at)  # back to what it was
    assert ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index")).digest == dataset.digest
    assert dataset.shards[0].read_member(picture(dataset.shards[0], 2)) == encoded(2, 48)


def test_a_damaged_index_is_refused_and_made_again_by_the_same_ingest(tmp_path):
    dataset = indexed(tmp_path)
    sidecar = Path(dataset.shards[0].sidecar)
    flip(sidecar, 200, 1)
    with pytest.raises(DataChanged, match=f"00000.parquet is damaged.*{REMEDY}"):
        dataset.shards[0].read_sidecar(["key"])
    again = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert again.digest == dataset.digest
    assert again.shards[0].read_sidecar(["key"])["key"].to_pylist() == [f"{n:05d}" for n in range(6)]


def test_a_copied_dataset_that_was_damaged_is_made_again_by_the_same_ingest(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encoded(number, 48))
    dataset = ingest("imagefolder", str(folder), str(tmp_path / "copy"))
    shard = dataset.shards[0]
    whole = Path(shard.tar).read_bytes()
    flip(Path(shard.tar), picture(shard, 1)["offset"])
    assert ingest("imagefolder", str(folder), str(tmp_path / "copy")).digest == dataset.digest
    assert Path(shard.tar).read_bytes() == whole


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=3000), draw=st.data())
def test_no_change_of_a_members_bytes_goes_unseen(data, draw):
    medium = {"member": "a.jpg", "size": len(data), "crc32": checksum(data)}
    assert checked("a.tar", medium, data) == data
    at = draw.draw(st.integers(0, len(data) - 1))
    other = draw.draw(st.binary(min_size=0, max_size=70).filter(lambda new: data[at : at + len(new)] != new))
    with pytest.raises(DataChanged):
        checked("a.tar", medium, data[:at] + other + data[at + len(other) :])
