"""The dataset layer on S3, against a real HTTP server that speaks S3 (moto)."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapes import caption_text, encoded, shapes_dataset
from tars import make_tar, pair, pairs

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.export import export, step_captions
from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.errors import ColumnError, DatasetError, WorkspaceError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    storage._filesystem.cache_clear()
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    storage._filesystem.cache_clear()
    server.stop()


@pytest.fixture
def bucket(server, request):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    storage._filesystem.cache_clear()
    name = "b" + str(abs(hash(request.node.name)))[:12]
    fs, _ = storage.filesystem("s3://x")
    fs.mkdir(name)
    return f"s3://{name}"


def _put(path: Path, url: str) -> None:
    fs, name = storage.filesystem(url)
    fs.put_file(str(path), name)


def _rows(dataset):
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


def test_tars_on_s3_are_indexed_in_place_and_read_by_range(bucket, tmp_path):
    for number in range(2):
        _put(make_tar(tmp_path / "t.tar", pair("a", number)), f"{bucket}/crawl/{number:05d}.tar")
    assert detect(f"{bucket}/crawl") == "webdataset"
    dataset = ingest("webdataset", f"{bucket}/crawl", str(tmp_path / "index"))
    assert [shard.tar for shard in dataset.shards] == [f"{bucket}/crawl/00000.tar", f"{bucket}/crawl/00001.tar"]
    for number, shard in enumerate(dataset.shards):
        image = shard.read_sidecar().to_pylist()[0]["media"][0]
        assert shard.read_member(image) == encoded(number, 48)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").glob("*.parquet")}
    assert (
        ingest("webdataset", f"{bucket}/crawl/{{00000..00001}}.tar", str(tmp_path / "index")).digest == dataset.digest
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_training_reads_a_webdataset_on_s3_as_it_reads_the_same_on_disk(bucket, tmp_path):
    from pairwright.components.dataset.examples.shard_population import open_population
    from pairwright.components.dataset.examples.wish import ImageWish, Reads
    from pairwright.components.training.loader import Loader
    from pairwright.components.training.order import Order

    tar = make_tar(tmp_path / "crawl/00000.tar", pairs(12))
    _put(tar, f"{bucket}/crawl/00000.tar")
    reads = Reads(media={"image": ImageWish(24, crop=True)}, texts=("alt",))
    seen = []
    for source in (str(tar.parent), f"{bucket}/crawl"):
        dataset = ingest("webdataset", source, str(tmp_path / f"index{len(seen)}"))
        population = open_population(dataset.root, [shard.digest for shard in dataset.shards], "", {}, None, reads)
        loader = Loader(population, Order(population.sizes, 4, 0), lambda e: {"x": np.stack(e.media("image"))}, seed=0)
        seen.append([(batch.keys, batch["x"].tobytes()) for _, batch in loader.stream(0, 6)])
    assert seen[0] == seen[1]
    assert len({key for keys, _ in seen[0][:3] for key in keys}) == 12


def test_the_same_data_has_the_same_digest_on_s3_and_on_disk(bucket, tmp_path):
    local = shapes_dataset(tmp_path, 6, 2, size=32)
    remote = shapes_dataset(bucket, 6, 2, size=32)
    assert remote.digest == local.digest
    opened = open_dataset(f"{bucket}/shapes")
    assert opened == remote
    assert storage.read_bytes(remote.shards[1].tar) == Path(local.shards[1].tar).read_bytes()


def test_an_index_and_an_export_can_live_on_s3(bucket, tmp_path):
    tar = make_tar(tmp_path / "in/00000.tar", pairs(5))
    indexed = ingest("webdataset", str(tar.parent), f"{bucket}/index")
    assert indexed.shards[0].tar == str(tar)
    out = export(open_dataset(f"{bucket}/index"), f"{bucket}/out", shard_pairs=3)
    assert [shard.rows for shard in out.shards] == [3, 2]
    with storage.open_read(out.shards[0].tar) as stream, tarfile.open(fileobj=stream) as copied:
        assert copied.extractfile("00001.txt").read().decode() == caption_text(1)
    with storage.open_read(f"{bucket}/out/pairs.parquet") as stream:
        assert pq.read_table(stream).num_rows == 5


@pytest.mark.parametrize("share", [1, 10])  # of 10 pairs: by ranges, and read through
def test_an_export_from_s3_copies_the_same_bytes_by_range_and_by_stream(bucket, tmp_path, share):
    dataset = shapes_dataset(bucket, 10, 1, size=32)
    kept = pa.table({"shard": [dataset.shards[0].digest] * share, "row": list(range(share))})
    out = export(dataset, str(tmp_path / "out"), kept=kept)
    for row in _rows(out):
        image = row["media"][0]
        assert out.shards[0].read_member(image) == encoded(int(row["key"]), 32)
    assert out.rows == share


def test_columns_on_s3_are_committed_trusted_and_read(bucket, tmp_path):
    dataset = shapes_dataset(tmp_path, 4, 2, size=32)
    store, step = ColumnStore(f"{bucket}/columns"), StepColumns("fuse", "d0")
    assert store.missing(step, dataset.shards) == list(dataset.shards)
    for shard in dataset.shards:
        store.write(step, shard.digest, {"text": pa.array(["new"] * 2), "score": pa.array(np.ones(2))}, 2)
    assert store.missing(step, dataset.shards) == []
    view = ColumnsView(dataset, store, {"fused": step})
    assert view.column("fused.text").to_pylist() == ["new"] * 4
    out = export(
        dataset, f"{bucket}/out", caption_columns={"fused": step_captions(view, "fused")}, caption_priority=("fused",)
    )
    with storage.open_read(out.shards[0].tar) as stream, tarfile.open(fileobj=stream) as copied:
        assert copied.extractfile("000000.txt").read() == b"new"


def test_a_column_object_cut_short_on_s3_is_not_trusted(bucket, tmp_path):
    dataset = shapes_dataset(tmp_path, 2, 1, size=32)
    store, step = ColumnStore(f"{bucket}/columns"), StepColumns("c", "d0")
    shard = dataset.shards[0]
    store.write(step, shard.digest, {"x": pa.array([1, 2])}, 2)
    path = store.path(step, shard.digest)
    storage.write_bytes(path, storage.read_bytes(path)[:-9])
    assert not store.has(step, shard.digest)
    with pytest.raises(ColumnError, match="run the recipe again"):
        store.read(step, shard)


def test_an_imagefolder_on_s3_is_copied_once(bucket, tmp_path):
    (tmp_path / "p.jpg").write_bytes(encoded(1, 32))
    (tmp_path / "m.jsonl").write_text('{"file_name": "p.jpg", "text": "hello"}\n')
    _put(tmp_path / "p.jpg", f"{bucket}/folder/p.jpg")
    _put(tmp_path / "m.jsonl", f"{bucket}/folder/metadata.jsonl")
    assert detect(f"{bucket}/folder") == "imagefolder"
    dataset = ingest("imagefolder", f"{bucket}/folder", str(tmp_path / "out"))
    assert [(row["key"], row["captions"][0]["text"], row["error"]) for row in _rows(dataset)] == [("p", "hello", None)]
    tar = Path(dataset.shards[0].tar)
    before = tar.stat().st_mtime_ns
    ingest("imagefolder", f"{bucket}/folder", str(tmp_path / "out"))
    assert tar.stat().st_mtime_ns == before


def test_what_is_not_there_is_one_clear_line(bucket, tmp_path):
    with pytest.raises(DatasetError, match=r"holds no \.tar file"):
        ingest("webdataset", f"{bucket}/nothing", str(tmp_path / "out"))
    with pytest.raises(DatasetError, match="is not a dataset"):
        open_dataset(f"{bucket}/nothing")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        shapes_dataset("s3://no-such-bucket-here", 2, 1, size=32)
