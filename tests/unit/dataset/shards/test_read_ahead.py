"""Reading ahead for a GPU: the pass costs the longer of decoding and scoring, and its columns are the same bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import png, write

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.read_ahead import in_background, mapped_ahead
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.engine.shard_workers import share_of
from pairwright.components.errors import EngineError
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings
from pairwright.flows.scoring import said_halved

HELD: list[int] = []  # pairs of each batch that fitted


class DeviceSettings(Settings):
    seconds: float = 0.0
    holds: int = 10_000


@scorer("test_device")
class Device(Scorer[DeviceSettings]):
    """As a GPU: it computes while this thread waits without the interpreter's lock, and holds so many pictures."""

    columns = {"mean": pa.float32()}
    requires = Pixels()

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        if len(pairs) > self.settings.holds:
            raise RuntimeError("CUDA error: out of memory")
        HELD.append(len(pairs))
        time.sleep(self.settings.seconds * len(pairs))
        return {"mean": [float(image[0, 0, 0]) for image in pairs.images if image is not None]}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """96 pictures that take some milliseconds each to decode, one of them no picture."""
    draw = np.random.default_rng(0)
    noise = [png(draw.integers(0, 255, (400, 400, 3), dtype=np.uint8), compress_level=1) for _ in range(8)]
    files = {f"{number:03}": (noise[number % 8], "a picture") for number in range(95)}
    return write(tmp_path_factory.mktemp("pictures"), {**files, "095": (b"no picture", "a picture")})


def device_task(root: Path, **settings: Any) -> ScanTask:
    return ScanTask([ColumnJob("device", "scorer", "test_device", settings, StepColumns("device", "d"))], str(root))


def seconds_of(task: ScanTask, dataset: Dataset) -> float:
    (report,) = run_local(task, dataset.shards)
    return report.seconds


@pytest.mark.slow
def test_decoding_threads_hide_behind_the_device(tmp_path: Path, pictures: Dataset) -> None:
    decoding = min(seconds_of(device_task(tmp_path / f"warm{n}"), pictures) for n in range(2))
    waiting = 2 * decoding  # so that a busy machine, where decoding takes longer, still leaves room for it
    alone, ahead = [], []
    for turn in range(2):
        wait = {"seconds": waiting / 95}
        alone.append(device_task(tmp_path / f"alone{turn}", **wait))
        ahead.append(device_task(tmp_path / f"ahead{turn}", **wait))
        ahead[-1].decode_threads = 4
        for task in (alone[-1], ahead[-1]):
            task.batch_size = 12
    serial, hidden = zip(*((seconds_of(a, pictures), seconds_of(b, pictures)) for a, b in zip(alone, ahead)))
    assert min(serial) > waiting
    assert min(hidden) < waiting + 0.6 * (min(serial) - waiting), (decoding, serial, hidden)
    files = [Path(t.store.path(t.jobs[0].columns, pictures.shards[0].digest)).read_bytes() for t in (*alone, *ahead)]
    assert len(set(files)) == 1, "the same bytes by one thread and by four"


def test_a_worker_with_a_gpu_makes_the_same_columns_from_larger_batches(tmp_path: Path, pictures: Dataset) -> None:
    plain, gpu = device_task(tmp_path / "plain"), device_task(tmp_path / "gpu").for_gpu(4)
    HELD.clear()
    run_local(plain, pictures.shards)
    small = max(HELD)
    run_local(gpu, pictures.shards)
    assert max(HELD) > small
    a, b = (Path(t.store.path(t.jobs[0].columns, pictures.shards[0].digest)).read_bytes() for t in (plain, gpu))
    assert a == b


def test_what_memory_held_is_remembered_and_said(tmp_path: Path, pictures: Dataset) -> None:
    HELD.clear()
    task = device_task(tmp_path, holds=12)
    task.batch_size = 32
    reports = run_local(task, pictures.shards)
    assert HELD == [8] * 11 + [7], "after the first batch nothing is tried that did not fit"
    assert reports[0].halved == {"device": 8}
    (said,) = said_halved(reports)
    assert "step device ran out of memory and went on with 8 pairs at a time" in said
    assert task.store.read(task.jobs[0].columns, pictures.shards[0], ["mean"])["mean"].null_count == 1


@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 4), st.integers(1, 8), st.integers(1, 400))
def test_items_come_in_order_and_no_more_are_held_than_was_said(
    count: int, threads: int, ahead: int, most: int, most_bytes: int
) -> None:
    started: list[int] = []

    def source() -> Generator[int, None, None]:
        for number in range(count):
            started.append(number)
            yield number

    taken = []
    bound = max(2 * threads, min(most, most_bytes // 50))  # in the threads; where one item is 50 bytes
    for item in in_background(_squares(source(), threads, most, most_bytes), ahead):
        taken.append(item)
        # One is in the caller's hand, `ahead` wait, one is held out to them, one is on its way into the threads.
        assert len(started) - len(taken) <= ahead + 2 + max(bound, 2 * threads, min(most, most_bytes))
    assert taken == [number * number for number in range(count)]


def _squares(numbers: Any, threads: int, most: int, most_bytes: int) -> Generator[int, None, None]:
    yield from mapped_ahead(lambda n: n * n, numbers, threads, lambda _: 50, most, most_bytes)


def test_an_error_arrives_at_its_place_and_who_leaves_early_leaves_nothing_running() -> None:
    closed = threading.Event()

    def source() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
            raise ValueError("the third is damaged")
        finally:
            closed.set()

    seen = []
    with pytest.raises(ValueError, match="the third is damaged"):
        seen.extend(in_background(source()))
    closed.clear()
    reader = in_background(source())
    assert next(reader) == 1
    reader.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_a_gpu_gets_the_cores_there_are_to_it() -> None:
    box, plain, two = {"CPU": 16.0, "GPU": 1.0}, {"CPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}
    assert share_of([box], 16, 1, 16) == (1, 16)
    assert share_of([two], 16, 1, 16) == (2, 8)
    assert share_of([two], 1, 1, 16) == (1, 16)
    assert share_of([box, plain], 24, 1, 24) == (1, 16), "a node without a GPU decodes for none"
    assert share_of([two], 8, 0.5, 16) == (4, 4)
    assert share_of([plain], 3, 0, 8) == (3, 2)
    assert share_of([{"CPU": 2.0}], 4, 0, 2) == (4, 0.5)
    with pytest.raises(EngineError, match="no node has more than 0; set device to cpu"):
        share_of([plain], 1, 1, 8)
