"""A selection as a folder: which pairs were kept, why each other one was not, and by what rules.

    <folder>/kept.parquet       shard, row, key
    <folder>/verdicts.parquet   shard, row, key, status, rule, value, threshold, detail; one row a pair
    <folder>/selection.json     rules, thresholds, funnel, ledger, the dataset's name and digest

A changed threshold makes a new folder of some megabytes and reads no picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.artifact import check_committed
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.rules import MEMORY, Selected, Thresholds, judge
from pairwright.components.filter.rules.verdicts import KEPT_COLUMNS, VERDICT, kept_of
from pairwright.components.filter.selections.duplicates.overlap import behind

KEPT_FILE, VERDICTS_FILE, SUMMARY_FILE = "kept.parquet", "verdicts.parquet", "selection.json"
SELECTION_VERSION = 1
REPEATED = ["shard", "status", "rule", "threshold"]  # keys and values hardly repeat: a dictionary only costs time


def write_selection(
    view: ColumnsView,
    rules: Sequence[Rule],
    folder: str | Path,
    *,
    frozen: Thresholds | None = None,
    memory_limit: str = MEMORY,
) -> dict[str, Any]:
    """Judge every pair straight into `folder`; the population never stands in memory.

    Returns:
        What `selection.json` holds.

    Raises:
        InvalidRule, ColumnError: as `apply_rules`.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    kept_schema = pa.schema([VERDICT.field(name) for name in KEPT_COLUMNS])
    with (
        judge(view, rules, frozen=frozen, memory_limit=memory_limit) as judgement,
        pq.ParquetWriter(root / VERDICTS_FILE, VERDICT, compression="zstd", use_dictionary=REPEATED) as verdicts,
        pq.ParquetWriter(root / KEPT_FILE, kept_schema, compression="zstd", use_dictionary=REPEATED[:1]) as kept,
    ):

        def write(batch: pa.RecordBatch) -> None:
            verdicts.write_batch(batch)
            kept.write_table(kept_of(pa.Table.from_batches([batch])))

        with behind(write) as write_behind:  # while DuckDB judges the next
            for batch in judgement.batches():
                write_behind(batch)
        summary = _summary(rules, judgement.thresholds, judgement.funnel(), judgement.ledger(), view)
    _write_summary(root, summary)
    return summary


def save_selection(selected: Selected, folder: str | Path, view: ColumnsView | None = None) -> None:
    """Write a selection held in memory."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(selected.kept, root / KEPT_FILE, compression="zstd")
    pq.write_table(selected.verdicts, root / VERDICTS_FILE, compression="zstd")
    _write_summary(root, _summary(selected.rules, selected.thresholds, selected.funnel, selected.ledger, view))


def load_selection(folder: str | Path, verdicts: bool = True) -> Selected:
    """A selection from its folder; without `verdicts` that table is left empty.

    Raises:
        DatasetError: the folder holds no selection, or a newer release wrote it.
    """
    root = Path(folder)
    summary = read_summary(root)
    try:
        kept = pq.read_table(root / KEPT_FILE)
        judged = pq.read_table(root / VERDICTS_FILE) if verdicts else VERDICT.empty_table()
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{root} is no whole selection: {error}; run the recipe again") from None
    rules = tuple(Rule(entry["name"], entry["expression"]) for entry in summary["rules"])
    ledger = Ledger.from_dict(summary["ledger"])
    return Selected(kept, judged, summary["thresholds"], summary["funnel"], ledger, rules)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """What `selection.json` says: rules, thresholds, funnel, ledger; the folder's other files are checked, too.

    Raises:
        WorkspaceError: a file is not what was committed.
        DatasetError: there is none, or a newer release wrote it.
    """
    check_committed(folder)
    path = Path(folder) / SUMMARY_FILE
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no selection: {error}; run the recipe again") from None
    if summary.get("selection_version", 0) > SELECTION_VERSION:
        raise DatasetError(f"{path} was written by a newer release; upgrade pairwright")
    return summary


def _summary(
    rules: Sequence[Rule],
    thresholds: Mapping[str, Any],
    funnel: Sequence[Mapping[str, Any]],
    ledger: Ledger,
    view: ColumnsView | None,
) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "selection_version": SELECTION_VERSION,
        "rules": [{"name": rule.name, "expression": rule.expression} for rule in rules],
        "thresholds": thresholds,
        "funnel": list(funnel),
        "ledger": ledger.as_dict(),
    }
    if view is not None:
        summary["dataset"] = {"name": view.dataset.name, "digest": view.dataset.digest}
        summary["steps"] = {step: place.digest for step, place in sorted(view.steps.items())}
    return summary


def _write_summary(root: Path, summary: Mapping[str, Any]) -> None:
    text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (root / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")
