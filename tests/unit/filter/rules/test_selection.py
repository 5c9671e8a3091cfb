"""Selections on disk, the ledger, exact duplicates, and `why`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.rules import Rule, apply_rules
from pairwright.components.filter.rules.selection import load_selection, save_selection, write_selection
from pairwright.components.filter.rules.why import why
from pairwright.components.filter.selections.duplicates.exact_duplicates import ExactDuplicates, ExactDuplicatesSettings

RULES = [Rule("large", "a.x >= 2"), Rule("best", "a.x >= quantile(a.x, 0.5)")]


@pytest.fixture
def view(tmp_path: Path) -> ColumnsView:
    columns = {"a.x": pa.array([1, 2, 3, 4, None], pa.int32())}
    return view_of(tmp_path, columns, shards=2, errors={"3": "download_failed"}, captions={"0": "a cat"})


def test_a_streamed_selection_equals_one_held_in_memory(view: ColumnsView, tmp_path: Path) -> None:
    held = apply_rules(view, RULES)
    save_selection(held, tmp_path / "held", view)
    summary = write_selection(view, RULES, tmp_path / "streamed")
    for name in ("held", "streamed"):
        loaded = load_selection(tmp_path / name)
        assert loaded.kept.to_pylist() == held.kept.to_pylist()
        assert loaded.verdicts.to_pylist() == held.verdicts.to_pylist()
        assert (loaded.thresholds, loaded.funnel, loaded.ledger, loaded.rules) == (
            held.thresholds,
            held.funnel,
            held.ledger,
            tuple(RULES),
        )
    assert summary == json.loads((tmp_path / "held" / "selection.json").read_text())
    assert load_selection(tmp_path / "held", verdicts=False).verdicts.num_rows == 0


def test_a_folder_that_is_no_selection_or_is_damaged_is_one_clear_error(view: ColumnsView, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no selection"):
        load_selection(tmp_path / "nowhere")
    write_selection(view, RULES, tmp_path / "s")
    kept = tmp_path / "s" / "kept.parquet"
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(DatasetError, match="is no whole selection"):
        load_selection(tmp_path / "s")


def test_the_ledger_refuses_to_lose_a_pair() -> None:
    good = Ledger(10, 4, {"a": 2, "b": 1}, {"decode:truncated": 1}, 2)
    good.check()
    assert good.lost_share == pytest.approx(0.3)
    assert good.over_budget(0.29)
    assert not good.over_budget(0.3)
    assert Ledger.from_dict(json.loads(json.dumps(good.as_dict()))) == good
    with pytest.raises(AssertionError, match="11 pairs in, but 4 kept"):
        Ledger(11, 4, {"a": 2, "b": 1}, {"decode:truncated": 1}, 2).check()


@given(st.integers(0, 99), st.lists(st.integers(0, 99)), st.lists(st.integers(0, 99)), st.integers(0, 9), st.integers())
def test_the_ledger_balances_exactly_when_its_counts_do(
    kept: int, dropped: list[int], failed: list[int], unknown: int, off: int
) -> None:
    total = kept + sum(dropped) + sum(failed) + unknown
    counts = {str(i): n for i, n in enumerate(dropped)}, {str(i): n for i, n in enumerate(failed)}
    Ledger(total, kept, *counts, unknown).check()
    if off:
        with pytest.raises(AssertionError):
            Ledger(total + off, kept, *counts, unknown).check()


def test_pairs_lost_with_a_truncated_tar_are_in_the_ledger(view: ColumnsView) -> None:
    from dataclasses import replace

    shards = (replace(view.dataset.shards[0], unknown=7), *view.dataset.shards[1:])
    cut = ColumnsView(replace(view.dataset, shards=shards), view.store, view.steps)
    ledger = apply_rules(cut, RULES).ledger
    assert (ledger.pairs_in, ledger.unknown) == (12, 7)
    assert ledger.over_budget(0.05)


def test_exact_duplicates_keep_the_best_caption_and_name_it(tmp_path: Path) -> None:
    a, b = b"a" * 32, b"b" * 32
    columns = {
        "exact_hash.pixels": pa.array([a, b, a, None, a], pa.binary(32)),
        "caption_text.quality": pa.array([0.1, 0.5, 0.9, 1.0, 0.9], pa.float32()),
    }
    view = view_of(tmp_path, columns, shards=2)
    found = {n: c.to_pylist() for n, c in ExactDuplicates(ExactDuplicatesSettings()).select(view).items()}
    assert found["drop"] == [True, False, False, None, True]
    assert found["of"] == ["2", None, None, None, "2"]
    assert found["group"] == [0, 1, 0, None, 0]
    again = ExactDuplicates(ExactDuplicatesSettings(quality=["caption_text.quality"], among={"k": "pair.key <> '2'"}))
    assert again.select(view)["of"].to_pylist() == ["4", None, None, None, None]


def test_why_gives_the_reason_the_place_and_the_captions(view: ColumnsView, tmp_path: Path) -> None:
    write_selection(view, RULES, tmp_path / "s")
    (answer,) = why(tmp_path / "s", view, "planted/0")
    assert answer["status"] == "dropped"
    assert (answer["rule"], answer["expression"], answer["threshold"]) == ("large", "a.x >= 2", "2")
    assert json.loads(answer["value"]) == {"a.x": 1}
    assert answer["captions"] == [{"source": "alt", "text": "a cat", "lang": None}]
    assert answer["columns"] == {"a.x": 1}
    assert why(tmp_path / "s", view, "3")[0]["detail"] == "download_failed"
    assert why([], view, "2")[0]["status"] == "not judged"
    with pytest.raises(DatasetError, match='no pair of planted is called "nobody"; keys look like "0", "1", "2"'):
        why(tmp_path / "s", view, "nobody")


def test_why_lists_every_pair_of_an_ambiguous_key(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.x": pa.array([1, 2, 3])}, keys=["k", "k", "l"])
    write_selection(view, [Rule("big", "a.x >= 2")], tmp_path / "s")
    answers = why(tmp_path / "s", view, "k")
    assert [(a["row"], a["status"], a["rule"]) for a in answers] == [(0, "dropped", "big"), (1, "failed", None)]
    assert answers[1]["detail"] == "duplicate_key"


def test_why_knows_where_the_picture_lies(shapes: Callable[..., Any], tmp_path: Path) -> None:
    dataset = shapes(pairs=4, shards=2)
    store, step = ColumnStore(f"{tmp_path}/columns"), StepColumns("a", "d")
    for shard in dataset.shards:
        store.write(step, shard.digest, {"x": pa.array(range(shard.rows))}, shard.rows)
    view = ColumnsView(dataset, store, {"a": step})
    write_selection(view, [Rule("big", "a.x > 0")], tmp_path / "s")
    (answer,) = why(tmp_path / "s", view, "000002")
    shard = dataset.shard_by_digest(dataset.shards[1].digest)
    assert (answer["shard"], answer["tar"], answer["status"]) == (shard.name, shard.tar, "dropped")
    assert shard.read_member(answer)[:3] == b"\xff\xd8\xff"
