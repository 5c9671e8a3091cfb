"""The scan: one decode serves all, bad pairs are rows with a reason, a resumed pass is the same pass."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tars import cut, flip, grow

from pairwright.components.component import Caption, Captioner, Captions, Columns, Pixels, RawBytes, Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards import reading, scan
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, read_pairs, run_local
from pairwright.components.dataset.shards.sidecar import caption, sidecar_table
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ColumnError, DataChanged, DatasetError, InvalidRecipe, TextModelError
from pairwright.components.registry import captioner, scorer
from pairwright.components.settings import Settings

LOADED: list[str] = []
SEEN: list[tuple[str, int]] = []  # (component, size of the batch it saw)


class SideSettings(Settings):
    side: int = 32


@scorer("test_mean")
class Mean(Scorer[SideSettings]):
    columns = {"mean": pa.float32(), "width": pa.int32()}
    requires = Pixels(32)

    @property
    def pixels(self) -> int:
        return self.settings.side

    def setup(self, device: str) -> None:
        LOADED.append(self.name)

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        SEEN.append((self.name, len(pairs)))
        return {
            "mean": [float(image.mean()) for image in pairs.images if image is not None],
            "width": [facts["width"] for facts in pairs.facts],
        }


class SourceSettings(Settings):
    source: str = "alt"


@scorer("test_length")
class Length(Scorer[SourceSettings]):
    columns = {"length": pa.int32()}
    requires = Captions("source")

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"length": [len(text) for text in pairs.captions(self.settings.source) if text is not None]}


@scorer("test_bytes")
class Bytes(Scorer[Settings]):
    columns = {"sha": pa.string()}
    requires = RawBytes()

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"sha": [hashlib.sha256(data or b"").hexdigest() for data in pairs.raw]}


@scorer("test_health")
class Health(Scorer[Settings]):
    columns = {"fine": pa.bool_()}
    requires = Pixels(16)
    sees_failures = True

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"fine": [error is None for error in pairs.errors]}


@scorer("test_embed")
class Embed(Scorer[Settings]):
    columns = {"vector": pa.list_(pa.float32(), 3)}
    requires = Pixels(16)

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"vector": pairs.squares(16).astype(np.float32).mean(axis=(1, 2))}


class OfSettings(Settings):
    of: str


@scorer("test_norm")
class Norm(Scorer[OfSettings]):
    columns = {"norm": pa.float32()}
    requires = Columns("of")

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"norm": [float(np.linalg.norm(value)) for value in pairs.columns[self.settings.of]]}


class FussySettings(Settings):
    hates: str = "yellow"
    how: str = "ValueError"
    most: int = 1 << 30


@scorer("test_fussy")
class Fussy(Scorer[FussySettings]):
    columns = {"score": pa.float64()}
    requires = Captions()

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        SEEN.append((self.name, len(pairs)))
        texts = pairs.captions("alt")
        if len(pairs) > self.settings.most:
            raise MemoryError
        if any(self.settings.hates in (text or "") for text in texts):
            raise {"ValueError": ValueError, "TextModelError": TextModelError}[self.settings.how]("hateful\nmore")
        return {"score": [float("nan") if "blue" in (text or "") else 1.0 for text in texts]}


@scorer("test_short")
class Short(Scorer[Settings]):
    columns = {"score": pa.float64()}

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"score": [1.0]}


@captioner("test_shout")
class Shout(Captioner[SourceSettings]):
    requires = Captions("source")

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts = pairs.captions(self.settings.source)
        return [None if text == "" else Caption((text or "").upper(), note="loud") for text in texts]


def job(step: str, uses: str, digest: str = "d0", **settings: Any) -> ColumnJob:
    kind = "captioner" if uses == "test_shout" else "scorer"
    return ColumnJob(step, kind, uses, settings, StepColumns(uses, f"{digest}-{step}"), module=__name__)


def scan_task(root: Path, *jobs: ColumnJob, **options: Any) -> ScanTask:
    return ScanTask(jobs, str(root / "columns"), **options)


def column(task: ScanTask, dataset: Dataset, name: str) -> list[Any]:
    view = ColumnsView(dataset, task.store, {one.step: one.columns for one in task.jobs})
    return view.column(name).to_pylist()


def encoded(shade: int, size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    """Good pairs among every kind of bad one."""
    with ShardWriter(str(tmp_path / "mixed"), "mixed", pairs_per_shard=4) as writer:
        writer.add("good0", [("image", "image", "png", encoded(10))], [caption("red")])
        writer.add("empty", [("image", "image", "png", b"")], [caption("green")])
        writer.add("good0", [("image", "image", "png", encoded(20))], [caption("twin")])
        writer.add("textless", [("image", "image", "png", encoded(30))], [caption("k", source="keywords")])
        writer.add("pictureless", [], [caption("only words")])
        writer.add("yellow", [("image", "image", "png", encoded(40))], [caption("yellow")])
        writer.add("blue", [("image", "image", "png", encoded(50))], [caption("blue")])
        writer.add("late", error="download:404")
        writer.add("html", [("image", "image", "jpg", b"<html>")], [caption("")])
    return writer.dataset


def test_every_row_has_a_value_or_a_reason(tmp_path: Path, mixed: Dataset) -> None:
    task = scan_task(
        tmp_path,
        job("mean", "test_mean"),
        job("length", "test_length"),
        job("bytes", "test_bytes"),
        job("health", "test_health"),
    )
    reports = run_local(task, mixed.shards)
    twin, late = "duplicate_key", "download:404"
    assert column(task, mixed, "mean.mean") == [10, None, None, 30, None, 40, 50, None, None]
    assert column(task, mixed, "mean._error") == [
        None, "decode:empty", twin, None, "read:no_image", None, None, late, "decode:not_an_image",
    ]  # fmt: skip
    assert column(task, mixed, "length.length") == [3, 5, None, None, 10, 6, 4, None, 0]
    assert column(task, mixed, "length._error") == [None, None, twin, None, None, None, None, late, None]
    assert [sha is None for sha in column(task, mixed, "bytes.sha")] == [
        False, False, True, False, True, False, False, True, False,
    ]  # fmt: skip
    assert column(task, mixed, "health.fine") == [True, False, None, True, False, True, True, None, False]
    assert sum(report.failed["mean"] for report in reports) == 5
    assert sum(report.rows for report in reports) == 9
    assert sum(report.decoded for report in reports) == 4


def test_one_bad_pair_costs_itself_alone(tmp_path: Path, mixed: Dataset) -> None:
    task = scan_task(tmp_path, job("fussy", "test_fussy"))
    run_local(task, mixed.shards)
    assert column(task, mixed, "fussy._error")[5] == "ValueError: hateful"
    scores = column(task, mixed, "fussy.score")
    assert scores[:2] == [1.0, 1.0]
    assert scores[5] is None
    assert scores[6] is None, "NaN is null: in SQL it would pass every threshold"


def test_a_batch_too_large_for_memory_is_halved(tmp_path: Path, shapes: Callable[..., Dataset]) -> None:
    dataset = shapes(pairs=16, shards=1)
    SEEN.clear()
    task = scan_task(tmp_path, job("fussy", "test_fussy", hates="nothing", most=4))
    run_local(task, dataset.shards)
    assert [size for _, size in SEEN] == [16, 8, 4, 4, 8, 4, 4]
    assert column(task, dataset, "fussy._error") == [None] * 16


def test_an_error_the_user_can_mend_stops_the_shard_and_commits_nothing(tmp_path: Path, mixed: Dataset) -> None:
    task = scan_task(tmp_path, job("fussy", "test_fussy", how="TextModelError"))
    with pytest.raises(TextModelError, match="hateful"):
        run_local(task, mixed.shards)
    assert task.missing(mixed.shards[1])


def test_a_component_that_returns_too_few_values_is_named(tmp_path: Path, mixed: Dataset) -> None:
    with pytest.raises(ColumnError, match="test_short returned 1 values of score for 3 pairs"):
        run_local(scan_task(tmp_path, job("short", "test_short")), mixed.shards)


def test_one_decode_serves_all_and_none_is_made_for_text(
    tmp_path: Path, shapes: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shapes(pairs=24, shards=2)
    sides: list[int] = []
    decode = reading.decode
    monkeypatch.setattr(reading, "decode", lambda data, side: sides.append(side) or decode(data, side))
    jobs = [job("small", "test_mean"), job("large", "test_mean", side=48), job("vec", "test_embed")]
    run_local(scan_task(tmp_path, *jobs), dataset.shards)
    assert sides == [48] * 24
    run_local(scan_task(tmp_path, *jobs, job("length", "test_length")), dataset.shards)
    assert len(sides) == 24


def test_a_text_only_pass_opens_no_tar(tmp_path: Path, shapes: Callable[..., Dataset]) -> None:
    dataset = shapes(pairs=12, shards=2)
    for shard in dataset.shards:
        Path(shard.tar).unlink()
    task = scan_task(tmp_path, job("length", "test_length"), job("shout", "test_shout"))
    run_local(task, dataset.shards)
    assert min(column(task, dataset, "length.length")) > 5
    with pytest.raises(DatasetError, match="tar"):
        run_local(scan_task(tmp_path, job("mean", "test_mean")), dataset.shards)


def test_jobs_read_the_columns_and_captions_of_earlier_jobs(tmp_path: Path, mixed: Dataset) -> None:
    jobs = [
        job("vec", "test_embed"),
        job("norm", "test_norm", of="vec.vector"),
        job("shout", "test_shout"),
        job("length", "test_length", source="shout"),
    ]
    together, apart = scan_task(tmp_path / "a", *jobs), scan_task(tmp_path / "b", *jobs)
    run_local(together, mixed.shards)
    for count in range(1, 5):  # the same steps in four runs: the later read the earlier's files
        run_local(scan_task(tmp_path / "b", *jobs[:count]), mixed.shards)
    norms = column(together, mixed, "norm.norm")
    assert norms[0] == pytest.approx(10 * 3**0.5)
    assert norms[1] is None
    assert column(together, mixed, "norm._error") == [
        None, None, "duplicate_key", None, None, None, None, "download:404", None,
    ]  # fmt: skip
    assert column(together, mixed, "shout.text") == [
        "RED", "GREEN", None, None, "ONLY WORDS", "YELLOW", "BLUE", None, None,
    ]  # fmt: skip
    assert column(together, mixed, "length.length")[4] == 10
    for name in ("norm.norm", "shout.text", "shout.note", "shout.lang", "length.length"):
        assert column(together, mixed, name) == column(apart, mixed, name)


def test_columns_and_captions_of_other_tasks_are_read_from_the_store(tmp_path: Path, mixed: Dataset) -> None:
    first = scan_task(tmp_path, job("vec", "test_embed"), job("shout", "test_shout"))
    run_local(first, mixed.shards)
    second = scan_task(
        tmp_path,
        job("norm", "test_norm", of="vec.vector"),
        job("length", "test_length", source="shout"),
        inputs={"vec": first.jobs[0].columns},
        captions={"shout": first.jobs[1].columns},
    )
    second.setup()
    run_local(second, mixed.shards)
    assert column(second, mixed, "norm.norm")[0] == pytest.approx(10 * 3**0.5)
    assert column(second, mixed, "length.length")[:2] == [3, 5]


def test_an_embedding_keeps_its_width_and_its_nulls_in_the_store(tmp_path: Path, mixed: Dataset) -> None:
    task = scan_task(tmp_path, job("vec", "test_embed"))
    run_local(task, mixed.shards)
    view = ColumnsView(mixed, task.store, {"vec": task.jobs[0].columns})
    assert view.column("vec.vector").type == pa.list_(pa.float32(), 3)
    assert view.column("vec.vector").null_count == 5
    assert view.numpy("vec.vector")[:4].tolist() == [[10] * 3, [0] * 3, [0] * 3, [30] * 3]


def test_an_input_nobody_makes_is_refused_before_any_work(tmp_path: Path) -> None:
    task = scan_task(tmp_path, job("vec", "test_embed"), job("norm", "test_norm", of="vek.vector"))
    with pytest.raises(InvalidRecipe, match='did you mean "vec"'):
        task.setup()
    with pytest.raises(InvalidRecipe, match="sidd"):
        scan_task(tmp_path, job("mean", "test_mean", sidd=3)).setup()


def test_what_is_committed_is_not_made_again_and_loads_no_model(tmp_path: Path, mixed: Dataset) -> None:
    task = scan_task(tmp_path, job("mean", "test_mean"), job("length", "test_length"))
    LOADED.clear()
    first = run_local(task, mixed.shards)
    assert LOADED == ["test_mean"]
    assert {report.computed for report in first} == {("mean", "length")}
    again = run_local(scan_task(tmp_path, *task.jobs), mixed.shards)
    assert LOADED == ["test_mean"]
    assert {report.computed for report in again} == {()}
    Path(task.store.path(task.jobs[1].columns, mixed.shards[0].digest) + ".json").unlink()
    third = run_local(task, mixed.shards)
    assert [report.computed for report in third] == [("length",), (), ()]


def test_a_resumed_pass_sees_the_pixels_the_first_one_saw(tmp_path: Path, shapes: Callable[..., Dataset]) -> None:
    dataset = shapes(pairs=8, shards=1, size=256)
    jobs = [job("large", "test_mean", side=200), job("small", "test_mean", side=20)]
    whole, killed = scan_task(tmp_path / "a", *jobs), scan_task(tmp_path / "b", *jobs)
    run_local(whole, dataset.shards)
    run_local(killed, dataset.shards)
    Path(killed.store.path(jobs[1].columns, dataset.shards[0].digest) + ".json").unlink()
    run_local(killed, dataset.shards)
    assert column(whole, dataset, "small.mean") == column(killed, dataset, "small.mean")


def test_threads_and_batch_limits_change_no_value(
    tmp_path: Path, shapes: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shapes(pairs=30, shards=2)
    jobs = [job("mean", "test_mean", side=96), job("vec", "test_embed"), job("bytes", "test_bytes")]
    plain = scan_task(tmp_path / "a", *jobs)
    run_local(plain, dataset.shards)
    SEEN.clear()
    monkeypatch.setattr(reading, "BATCH_BYTES", 4 * 96 * 96 * 3)
    threaded = scan_task(tmp_path / "b", *jobs, decode_threads=3, batch_size=7)
    run_local(threaded, dataset.shards)
    assert max(size for _, size in SEEN) <= 4, "a batch closes when its pixels fill BATCH_BYTES"
    for name in ("mean.mean", "vec.vector", "bytes.sha"):
        assert column(plain, dataset, name) == column(threaded, dataset, name)


def test_an_empty_shard_has_empty_columns(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "none"), "none") as writer:
        pass
    task = scan_task(tmp_path, job("mean", "test_mean"), job("shout", "test_shout"))
    run_local(task, writer.dataset.shards)
    assert column(task, writer.dataset, "mean.mean") == []
    assert task.store.read(task.jobs[0].columns, writer.dataset.shards[0]).schema.field("mean").type == pa.float32()


@pytest.mark.parametrize("damage", [cut, grow, flip])
def test_a_tar_that_changed_commits_nothing_and_restored_it_is_scored(
    damage: Callable[[Path, int], None], tmp_path: Path, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=10, shards=2)
    tar = Path(dataset.shards[1].tar)
    before = tar.read_bytes()
    damage(tar, dataset.shards[1].read_sidecar(["media"])["media"][3].as_py()[0]["offset"])
    task = scan_task(tmp_path, job("mean", "test_mean"))
    with pytest.raises(DataChanged, match=r"00001.tar changed since it was indexed.*restore the file, or run `pairw"):
        run_local(task, dataset.shards)
    assert [shard.name for shard in dataset.shards if task.missing(shard)] == ["00001"]
    tar.write_bytes(before)
    run_local(task, dataset.shards)
    assert column(task, dataset, "mean._error") == [None] * 10


def test_read_pairs_gives_chosen_rows(shapes: Callable[..., Dataset]) -> None:
    shard = shapes(pairs=20, shards=1).shards[0]
    batches = list(read_pairs(shard, pixels=48, raw=True, batch_size=3, rows=[7, 2, 19, 4]))
    assert [batch.rows.tolist() for batch in batches] == [[7, 2, 19], [4]]
    assert batches[0].keys == ["000007", "000002", "000019"]
    assert batches[0].facts[0]["width"] == 96
    assert batches[0].raw[0] == shard.read_member(batches[0].sidecar[0]["media"][0])
    assert [len(batch) for batch in read_pairs(shard, pixels=0, batch_size=8)] == [8, 8, 4]


def test_sidecar_rows_are_what_arrow_says(mixed: Dataset) -> None:
    table = pa.concat_tables(table for _, table in mixed.iter_sidecars())
    assert reading.sidecar_rows(table) == table.to_pylist()
    assert reading.sidecar_rows(table.slice(2, 3)) == table.slice(2, 3).to_pylist()
    assert reading.sidecar_rows(sidecar_table([])) == []


def test_a_task_travels_without_its_weights(tmp_path: Path, mixed: Dataset) -> None:
    import pickle

    task = scan_task(tmp_path, job("mean", "test_mean"))
    run_local(task, mixed.shards)
    travelled = pickle.loads(pickle.dumps(task))
    assert travelled == task
    assert travelled._components == {}
    assert ColumnStore(task.store_root) == travelled.store
    assert scan.run_local(travelled, mixed.shards)[0].computed == ()
