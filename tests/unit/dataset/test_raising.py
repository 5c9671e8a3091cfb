"""A component that raises: one bad pair is a row with its reason, a component that always raises ends the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairwright.components.component import Captions, Scorer
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ComponentFailed
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings
from pairwright.flows.scoring import said_raised


class WordSettings(Settings):
    source: str = "alt"
    hated: tuple[str, ...] = ()


@scorer("test_word")
class Word(Scorer[WordSettings]):
    columns: Mapping[str, pa.DataType] = {"letters": pa.int32()}  # type: ignore[misc]
    requires = Captions("source")

    def score(self, pairs: Any) -> Mapping[str, Any]:
        return {"letters": [self._letters(text) for text in pairs.captions(self.settings.source)]}

    def _letters(self, text: str) -> int:
        if text in self.settings.hated:
            raise LookupError(f"cannot bear {text}")
        return len(text)


def hating(root: Path, *hated: str) -> ScanTask:
    place = StepColumns("test_word", "digest")
    return ScanTask(
        [ColumnJob("word", "scorer", "test_word", {"hated": hated}, place, __name__)], str(root / "columns")
    )


def words(root: Path, *texts: str) -> Any:
    with ShardWriter(str(root / "words"), "words") as writer:
        for number, text in enumerate(texts):
            writer.add(str(number), [], [caption(text)])
    return writer.dataset


def test_a_bad_pair_is_a_row_with_a_reason_and_the_first_is_shown_with_one_traceback(tmp_path: Path) -> None:
    dataset = words(tmp_path, *["red"] * 20, "blue", "green", "blue")
    reports = run_local(hating(tmp_path, "blue", "green"), dataset.shards)
    assert [report.raised for report in reports] == [{"word": 3}]
    (said,) = said_raised(reports)
    assert said.startswith("  step word raised on 3 pairs, which are rows with that reason")
    assert said.count("Traceback") == 1
    assert "_letters" in said
    assert said.rstrip().endswith("LookupError: cannot bear blue")
    assert "scoring.py" not in said, "the frames are the component's"


def test_a_component_that_raises_on_every_pair_ends_the_run_and_commits_nothing(tmp_path: Path) -> None:
    dataset = words(tmp_path, *["blue"] * 20)
    task = hating(tmp_path, "blue")
    with pytest.raises(ComponentFailed, match=r"scorer test_word \(.*\) raised on all 20 pairs") as raised:
        run_local(task, dataset.shards)
    assert str(raised.value).count("Traceback") == 1
    assert not task.store.has(task.jobs[0].columns, dataset.shards[0].digest)


def test_a_few_pairs_that_are_all_bad_do_not_end_it(tmp_path: Path) -> None:
    dataset = words(tmp_path, "blue", "blue")
    (report,) = run_local(hating(tmp_path, "blue"), dataset.shards)
    assert report.raised == {"word": 2}
