"""A step that waits for a server gets a shard at once where no picture is read; others get what they always got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from populations import view_of

from pairwright.components import registry
from pairwright.components.component import Caption, Captioner, Captions, Pixels, Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.registry import captioner, scorer
from pairwright.components.settings import Settings

PAIRS = 300
GIVEN: dict[str, list[int]] = {}


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Three hundred pairs with texts alone, and the three components below, for this test only."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    GIVEN.clear()

    class Asks(Captioner[Settings]):
        requires = Captions()

        @property
        def at_once(self) -> int:
            return 1000

        def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
            GIVEN.setdefault("asks", []).append(len(pairs))
            return [Caption(f"caption {key}", status="ok") for key in pairs.keys]

    class Counts(Scorer[Settings]):
        columns = {"n": pa.int32()}

        def score(self, pairs: PairBatch) -> Mapping[str, Any]:
            GIVEN.setdefault("counts", []).append(len(pairs))
            return {"n": [len(key) for key in pairs.keys]}

    class Looks(Counts):
        requires = Pixels(size=8)

    captioner("asks_for_test")(Asks)
    scorer("counts_for_test")(Counts)
    scorer("looks_for_test")(Looks)
    captions = {str(i): "a text" for i in range(PAIRS)}
    return view_of(tmp_path, {"x.y": pa.array(range(PAIRS))}, captions=captions).dataset


def scanned(dataset: Dataset, root: Path, *names: str) -> ColumnsView:
    kinds = {"asks_for_test": "captioner"}
    jobs = [ColumnJob(n, kinds.get(n, "scorer"), n, {}, StepColumns(n, "d"), module=__name__) for n in names]
    task = ScanTask(jobs, f"{root}/columns")
    for shard in dataset.shards:
        task.run(shard)
    return ColumnsView(dataset, ColumnStore(f"{root}/columns"), {job.step: job.columns for job in jobs})


def test_it_is_given_the_shard_and_its_neighbour_what_it_always_is(dataset: Dataset, tmp_path: Path) -> None:
    view = scanned(dataset, tmp_path / "a", "asks_for_test", "counts_for_test")
    assert GIVEN["asks"] == [PAIRS]
    assert max(GIVEN["counts"]) == 64
    assert sum(GIVEN["counts"]) == PAIRS
    assert view.column("asks_for_test.text").to_pylist() == [f"caption {i}" for i in range(PAIRS)]
    assert set(view.column("asks_for_test.status").to_pylist()) == {"ok"}
    assert view.column("counts_for_test.n").to_pylist() == [len(str(i)) for i in range(PAIRS)]


def test_where_pictures_are_read_memory_comes_first(dataset: Dataset, tmp_path: Path) -> None:
    scanned(dataset, tmp_path / "b", "asks_for_test", "looks_for_test")
    assert max(GIVEN["asks"]) == 64
