"""Commits: a reader sees all of a file or none of it, and only a recorded column file is trusted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.errors import ColumnError, DatasetError, WorkspaceError

STEP = StepColumns("scorer", "digest")


def _unprivileged() -> bool:
    return os.geteuid() != 0


def test_an_exception_before_the_commit_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "f"
    storage.write_bytes(str(path), b"old")

    def fail_half_way() -> None:
        with storage.commit_file(str(path)) as partial:
            partial.write_bytes(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_process_killed_before_the_commit_leaves_nothing_that_is_trusted(shapes, tmp_path):
    shard = shapes(pairs=2, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    for moment in ("os.replace", "storage.write_json"):  # before the rename; after it, before the record
        code = f"""
import os, signal, sys
import pyarrow as pa
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
{moment} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
ColumnStore(sys.argv[1]).write(StepColumns("scorer", "digest"), sys.argv[2], {{"x": pa.array([1, 2])}}, 2)
"""
        done = subprocess.run([sys.executable, "-c", code, store.root, shard.digest], cwd=Path(__file__).parents[4])
        assert done.returncode == -9
        assert store.missing(STEP, [shard]) == [shard]
        with pytest.raises(ColumnError, match="missing, cut short or damaged"):
            store.read(STEP, shard)
    store.write(STEP, shard.digest, {"x": pa.array([1, 2])}, 2)
    assert store.read(STEP, shard)["x"].to_pylist() == [1, 2]


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_a_recorded_column_file_cut_short_is_not_trusted(shapes, tmp_path, keep):
    shard = shapes(pairs=2, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    store.write(STEP, shard.digest, {"x": pa.array([1, 2])}, 2)
    path = Path(store.path(STEP, shard.digest))
    path.write_bytes(path.read_bytes()[:keep])
    assert not store.has(STEP, shard.digest)
    with pytest.raises(ColumnError, match="run the recipe again"):
        store.read(STEP, shard)


def test_a_column_file_changed_in_place_is_found_by_its_hash(shapes, tmp_path):
    shard = shapes(pairs=2, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    store.write(STEP, shard.digest, {"x": pa.array([1, 2])}, 2)
    assert store.has(STEP, shard.digest)
    path = Path(store.path(STEP, shard.digest))
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    assert not store.has(STEP, shard.digest)
    with pytest.raises(ColumnError, match="run the recipe again"):
        store.read(STEP, shard)


@pytest.mark.parametrize("record", ["", "null", "[]", '{"rows": 2}', "{"])
def test_a_record_that_is_none_is_no_commit(shapes, tmp_path, record):
    shard = shapes(pairs=2, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    store.write(STEP, shard.digest, {"x": pa.array([1, 2])}, 2)
    Path(store.path(STEP, shard.digest) + ".json").write_text(record)
    assert not store.has(STEP, shard.digest)


def test_an_unknown_column_names_the_nearest(shapes, tmp_path):
    shard = shapes(pairs=2, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    store.write(STEP, shard.digest, {"score": pa.array([1, 2])}, 2)
    with pytest.raises(ColumnError, match='no column "scor"; did you mean "score"'):
        store.read(STEP, shard, ["scor"])


@pytest.mark.skipif(not _unprivileged(), reason="root writes anywhere")
def test_a_folder_without_permission_is_one_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WorkspaceError, match="set PAIRWRIGHT_WORKSPACE to a folder you can write"):
            storage.write_bytes(str(tmp_path / "f"), b"x")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_nobody_can_write_is_one_clear_error():
    with pytest.raises(WorkspaceError, match="cannot be written") as caught:
        storage.write_bytes("/proc/pairwright/f", b"x")
    assert "\n" not in str(caught.value)


def test_a_full_disk_names_the_remedy_and_commits_nothing():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError) as caught, full.open("wb", buffering=0) as stream:
        stream.write(b"x")
    message = str(storage.workspace_error("columns/x.parquet", caught.value))
    assert message.startswith("columns/x.parquet cannot be written: the disk is full; free space")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO])
def test_every_reason_not_to_write_is_one_line(code):
    message = str(storage.workspace_error("x", OSError(code, os.strerror(code))))
    assert message.startswith("x cannot be written: ")
    assert "\n" not in message


def test_bytes_are_read_by_range(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(100)))
    assert storage.read_bytes(str(path), 10, 5) == bytes(range(10, 15))
    assert storage.read_bytes(f"file://{path}", 98) == bytes([98, 99])
    with pytest.raises(DatasetError, match="cannot be read"):
        storage.read_bytes(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("a", "b"), "a/b"),
        (("s3://b/p", "x.tar"), "s3://b/p/x.tar"),
        (("/base", "/abs/x.tar"), "/abs/x.tar"),
        (("/base", "s3://b/x.tar"), "s3://b/x.tar"),
    ],
)
def test_an_absolute_or_remote_part_replaces_what_stands_before(parts, joined):
    assert storage.join(*parts) == joined
