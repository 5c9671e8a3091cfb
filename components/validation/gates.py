"""The three gates: raw data, curated data, evaluation. A failed critical check stops the chain.

    result = raw_gate(dataset, docs="workspace/gx")
    result.raise_if_failed()
    # GateFailed: gate raw: failed_share is 0.31, expected at most 0.05; worst shards: 00003 (0.62); see ...

Great Expectations judges small frames of statistics and samples (statistics.py), never pixels and
never a whole column. Importing it takes 4-12 s, so it is imported when a gate runs; flows run a
gate once a digest of what it looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.validation import statistics
from pairwright.components.validation.docs import publish
from pairwright.components.validation.result import Check, GateResult
from pairwright.components.validation.settings import (
    ColumnExpectation,
    CuratedGateSettings,
    EvaluationGateSettings,
    GateSettings,
    RawGateSettings,
)


def raw_gate(
    dataset: Dataset, view: ColumnsView | None = None, *, settings: RawGateSettings | None = None, docs: str | Path
) -> GateResult:
    """Is this a dataset worth spending hours on? `view` is needed if the settings name columns.

    Raises:
        InvalidRecipe: the settings name a check that does not exist.
        DatasetError: a sidecar cannot be read.
    """
    s = settings or RawGateSettings()
    checks = [
        _at_least("pairs", "rows", s.min_pairs),
        _at_most("failed_share", "failed_share", s.max_failed_share),
        _at_most("caption_null_share", "uncaptioned_share", s.max_null_share, "warning"),
        _at_most("image_missing_share", "imageless_share", s.max_failed_share),
        _at_most("unlicensed_share", "unlicensed_share", s.max_unlicensed_share, "warning"),
        _at_most("repeated_share", "repeated_share", s.max_repeated_share, "warning", rank=None),
        Check(
            "shard_failed_share",
            "shards",
            "ExpectColumnValuesToBeBetween",
            {"column": "failed_share", "max_value": s.max_shard_failed_share},
            f"at most {s.max_shard_failed_share:g} in every shard",
            "warning",
            "failed_share",
        ),
        *_sample_checks(s.columns),
    ]
    frames = statistics.raw_frames(dataset, view, s.source, list(s.columns), s.sample)
    return _run("raw", frames, checks, s, docs, f"{dataset.name}, {dataset.rows:,} pairs")


def curated_gate(
    view: ColumnsView,
    kept: pa.Table,
    ledger: Any,
    *,
    settings: CuratedGateSettings | None = None,
    docs: str | Path,
) -> GateResult:
    """Is what the rules kept worth training on, and does the ledger account for every pair?

    Args:
        kept: the selection's kept rows: shard (digest), row, key.
        ledger: the selection's conservation ledger.

    Raises:
        InvalidRecipe, ColumnError: the settings name a check or a column that does not exist.
    """
    s = settings or CuratedGateSettings()
    columns = dict(s.columns)
    if s.lang is not None:
        columns[s.lang_column] = ColumnExpectation(allowed=[s.lang], mostly=s.min_lang_share)
    checks = [
        _at_least("kept", "kept", s.min_kept, rank="lost_share"),
        _at_least("kept_share", "kept_share", s.min_kept_share, rank="lost_share"),
        _at_most("failed_share", "failed_share", s.max_failed_share, rank=None),
        *(_exactly_zero(name) for name in ("unaccounted", "ledger_difference", "repeated_rows", "stray_rows")),
        _at_most("largest_rule_share", "largest_rule_share", s.max_rule_share, "warning", rank=None),
        _at_most("caption_null_share", "uncaptioned_share", s.max_null_share, "warning", rank=None),
        _at_most("repeated_share", "repeated_share", s.max_repeated_share, "warning", rank=None),
        *_sample_checks(columns),
    ]
    frames = statistics.curated_frames(view, kept, ledger, s.source, list(columns), s.sample)
    about = f"{view.dataset.name}, {len(kept):,} of {ledger.pairs_in:,} pairs kept"
    return _run("curated", frames, checks, s, docs, about)


def evaluation_gate(
    metrics: Sequence[Any], *, settings: EvaluationGateSettings | None = None, docs: str | Path
) -> GateResult:
    """Was the model measured properly, and is it any good?

    Args:
        metrics: `Metric`s, or mappings with its fields.

    Raises:
        InvalidRecipe: the settings name a check or a metric that does not exist.
    """
    s = settings or EvaluationGateSettings()
    frames = statistics.metric_frames(metrics)
    names = frames["metrics"]["name"].to_pylist()
    for name in s.floors:
        if name not in names:
            raise InvalidRecipe(f'gates.evaluation.floors names "{name}", which was not measured{nearest(name, names)}')
    checks = [
        _at_least("metrics_measured", "count", 1),
        _on_metrics("measured", "ExpectColumnValuesToNotBeNull", "a finite value of every metric", column="value"),
        _on_metrics("named_once", "ExpectColumnValuesToBeUnique", "every metric once", column="name"),
        _on_metrics("defined", "ExpectColumnValuesToNotBeNull", "a definition of every metric", column="definition"),
        _within("value", "low"),
        _within("high", "value"),
        replace(
            _on_metrics(
                "items",
                "ExpectColumnValuesToBeBetween",
                f"at least {s.min_items} items behind every metric",
                column="n",
                min_value=s.min_items,
            ),
            severity="warning",
        ),
        *(_at_least(f"floor {name}", name, floor) for name, floor in s.floors.items()),
    ]
    if s.max_interval is not None:
        says = f"intervals at most {s.max_interval:g} wide"
        wide = _on_metrics(
            "interval", "ExpectColumnValuesToBeBetween", says, column="interval", max_value=s.max_interval
        )
        checks.append(replace(wide, severity="warning"))
    return _run("evaluation", frames, checks, s, docs, f"{len(names)} metrics")


def _run(
    name: str, frames: statistics.Frames, checks: list[Check], settings: GateSettings, docs: str | Path, about: str
) -> GateResult:
    """Apply the recipe's severities, run, publish the Data Docs."""
    known = [check.name for check in checks]
    for wanted in settings.severity:
        if wanted not in known:
            raise InvalidRecipe(f'gates.{name}.severity names "{wanted}", which is no check{nearest(wanted, known)}')
    checks = [replace(check, severity=settings.severity.get(check.name, check.severity)) for check in checks]
    with publish(Path(docs), name, about) as page:
        from pairwright.components.validation.suite import run_checks

        records = run_checks(name, frames, checks, page.site)
        failed = [record for record in records if not record["success"] and record["severity"] == "critical"]
        worst = [shard for record in failed for shard in record["worst_shards"]]
        result = GateResult(name, not failed, records, worst, str(page.index))
        page.result = result
    return result


def _at_least(name: str, column: str, least: float, rank: str | None = None) -> Check:
    arguments = {"column": column, "min_value": least}
    return Check(name, "totals", "ExpectColumnValuesToBeBetween", arguments, f"at least {least:g}", rank=rank)


def _at_most(name: str, column: str, most: float, severity: Any = "critical", rank: str | None = "") -> Check:
    """`rank` "" ranks shards by the same column."""
    arguments = {"column": column, "max_value": most}
    ranked = column if rank == "" else rank
    return Check(name, "totals", "ExpectColumnValuesToBeBetween", arguments, f"at most {most:g}", severity, ranked)


def _exactly_zero(column: str) -> Check:
    arguments = {"column": column, "min_value": 0, "max_value": 0}
    return Check(column, "totals", "ExpectColumnValuesToBeBetween", arguments, "exactly 0")


def _on_metrics(name: str, expectation: str, says: str, **arguments: Any) -> Check:
    return Check(name, "metrics", expectation, arguments, says)


def _within(above: str, below: str) -> Check:
    arguments = {"column_A": above, "column_B": below, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    says = f"{below} at most {above} for every metric"
    return Check(f"{below}_to_{above}", "metrics", "ExpectColumnPairValuesAToBeGreaterThanB", arguments, says)


def _sample_checks(columns: Mapping[str, ColumnExpectation]) -> list[Check]:
    """The checks a recipe adds, by `step.column`, on the sample."""
    checks = []
    for name, wanted in columns.items():
        share = "" if wanted.mostly == 1 else f" in {wanted.mostly:.0%}"
        if wanted.min is not None or wanted.max is not None:
            bounds = {"min_value": wanted.min, "max_value": wanted.max, "mostly": wanted.mostly}
            says = f"within [{wanted.min}, {wanted.max}]{share}"
            checks.append(Check(name, "sample", "ExpectColumnValuesToBeBetween", {"column": name, **bounds}, says))
        if wanted.allowed is not None:
            arguments = {"column": name, "value_set": wanted.allowed, "mostly": wanted.mostly}
            says = f"one of {', '.join(map(str, wanted.allowed))}{share}"
            checks.append(Check(f"{name} allowed", "sample", "ExpectColumnValuesToBeInSet", arguments, says))
        if wanted.max_null_share < 1:
            arguments = {"column": name, "mostly": 1 - wanted.max_null_share}
            says = f"null in at most {wanted.max_null_share:.0%}"
            checks.append(Check(f"{name} null", "sample", "ExpectColumnValuesToNotBeNull", arguments, says))
    return checks
