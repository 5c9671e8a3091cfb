"""Artifacts, columns and sidecars are what was committed: no flipped byte is ever read as a value."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairwright.components.artifact import COMMIT, ArtifactStore, check_committed
from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.errors import PairwrightError, WorkspaceError

FLIPS = 150  # of each kind of file
STEP = StepColumns("scorer", "digest")


def flips(path: Path, seed: int = 0):
    """The file with one bit or byte changed at a random place, FLIPS times; at the end it is as it was."""
    whole, chance = path.read_bytes(), random.Random(seed)
    for _ in range(FLIPS):
        body = bytearray(whole)
        body[chance.randrange(len(body))] ^= chance.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        path.write_bytes(bytes(body))
        yield
    path.write_bytes(whole)


def read_or_refused(read) -> object:
    try:
        return read()
    except PairwrightError as error:
        return None if "\n" not in str(error) else error


def kept(store: ArtifactStore, kind: str = "selections") -> Path:
    with store.commit(kind, "d") as partial:
        table = pa.table(
            {"shard": ["s"] * 50, "row": pa.array(range(50), pa.int32()), "key": [str(n) for n in range(50)]}
        )
        pq.write_table(table, partial / "kept.parquet")
        (partial / "figures").mkdir()
        (partial / "figures" / "curve.json").write_text(json.dumps({"recall": [0.25, 0.5]}))
        np.save(partial / "weights.npy", np.arange(64, dtype=np.float32))
    return store.path(kind, "d")


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_no_flip_in_a_column_file_or_its_record_is_read_as_a_value(shapes, tmp_path, suffix):
    shard = shapes(pairs=40, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    values = {"x": pa.array(np.arange(40, dtype=np.float32)), "name": pa.array([f"n{n}" for n in range(40)])}
    store.write(STEP, shard.digest, values, 40, {"seconds": 1.5, "pairs": 40})
    before, record = store.read(STEP, shard), store.record(STEP, shard.digest)
    refused = 0
    for _ in flips(Path(store.path(STEP, shard.digest) + suffix)):
        found = read_or_refused(lambda: store.read(STEP, shard))
        assert found is None or found.equals(before)
        assert store.record(STEP, shard.digest) in (None, record)
        refused += found is None
    assert refused > FLIPS * 0.8  # what is left changed nothing but the record's layout
    assert store.read(STEP, shard).equals(before)


def test_no_flip_in_a_sidecar_is_read_as_a_value(shapes):
    dataset = shapes(pairs=20, shards=1)
    shard = open_dataset(dataset.root).shards[0]
    for _ in flips(Path(shard.sidecar)):
        assert read_or_refused(shard.read_sidecar) is None
        assert read_or_refused(lambda: shard.read_sidecar(["key"])) is None
    assert shard.read_sidecar().equals(dataset.shards[0].read_sidecar())


@pytest.mark.parametrize("name", ["kept.parquet", "figures/curve.json", "weights.npy"])
def test_no_flip_in_an_artifact_is_trusted(tmp_path, name):
    store = ArtifactStore(str(tmp_path))
    folder = kept(store)
    for _ in flips(folder / name):
        assert not store.has("selections", "d")
        with pytest.raises(WorkspaceError, match=r"changed since it was committed; restore it, or delete .* run the"):
            check_committed(folder)
    assert store.has("selections", "d")
    check_committed(folder)


def test_no_flip_in_a_commit_record_makes_it_trust_another_file(tmp_path):
    store = ArtifactStore(str(tmp_path))
    folder = kept(store)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != COMMIT}
    for _ in flips(folder / COMMIT):
        store.has("selections", "d")  # whatever it says, it raises nothing
    assert store.has("selections", "d")
    assert before == {path: path.read_bytes() for path in before}


def test_a_damaged_selection_is_made_again_with_a_word_and_a_damaged_model_is_refused(tmp_path, caplog):
    store = ArtifactStore(str(tmp_path))
    for kind in ("selections", "models"):
        path = kept(store, kind) / "weights.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with caplog.at_level(logging.WARNING):
        assert not store.has("selections", "d")
        assert not store.has("selections", "d")
    assert [r.getMessage() for r in caplog.records] == [
        f"{store.path('selections', 'd')}/weights.npy changed since it was committed; it is made again"
    ]
    with pytest.raises(
        WorkspaceError, match=r"models/d/weights.npy changed since it was committed; restore it, or del"
    ):
        store.has("models", "d")


def test_a_folder_of_the_users_has_no_record_and_is_taken_as_it_is(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    check_committed(tmp_path)


def test_a_damaged_column_file_is_said_once_and_made_again(shapes, tmp_path, caplog):
    shard = shapes(pairs=4, shards=1).shards[0]
    store = ColumnStore(str(tmp_path / "columns"))
    store.write(STEP, shard.digest, {"x": pa.array([1, 2, 3, 4])}, 4)
    path = Path(store.path(STEP, shard.digest))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with caplog.at_level(logging.WARNING):
        assert store.missing(STEP, [shard]) == store.missing(STEP, [shard]) == [shard]
    assert [r.getMessage() for r in caplog.records] == [
        f"{path} changed since it was committed; the recipe makes it again"
    ]
    store.write(STEP, shard.digest, {"x": pa.array([1, 2, 3, 4])}, 4)
    assert store.read(STEP, shard)["x"].to_pylist() == [1, 2, 3, 4]
