"""Runs a gate's checks through Great Expectations and builds its Data Docs. Its import takes seconds."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.environment import silence
from pairwright.components.validation.result import Check

SHARDS_KEPT = 20  # worst shards stored a check
INDEXED_BY = {"shards": "shard", "sample": "key", "metrics": "name"}


def run_checks(gate: str, frames: Mapping[str, pa.Table], checks: Sequence[Check], site: Path) -> list[dict[str, Any]]:
    """Validate every check; one dict each (see `GateResult.checks`). Great Expectations' pages go to `site`."""
    silence()
    with _quiet():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        source = context.data_sources.add_or_update_pandas(gate)
        outcomes: dict[str, Any] = {}
        for frame in dict.fromkeys(check.frame for check in checks):
            mine = [check for check in checks if check.frame == frame]
            outcomes |= _validate(context, source, f"{gate}-{frame}", frames[frame], mine, INDEXED_BY.get(frame))
        _build_docs(context, site)
    return [_record(check, outcomes[check.name], frames) for check in checks]


def _validate(
    context: Any, source: Any, name: str, frame: pa.Table, checks: Sequence[Check], index: str | None
) -> dict[str, Any]:
    """One suite over one frame; the outcome of each check by its name."""
    import great_expectations as gx

    suite = context.suites.add_or_update(gx.ExpectationSuite(name))
    for check in checks:
        kind = getattr(gx.expectations, check.expectation)
        suite.add_expectation(
            kind(**check.arguments, severity=check.severity, meta={"check": check.name}, notes=check.says)
        )
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    form: dict[str, Any] = {"result_format": "SUMMARY"}
    if index is not None:
        form["unexpected_index_column_names"] = [index]
    result = definition.run(batch_parameters={"dataframe": frame.to_pandas()}, result_format=form)
    return {outcome.expectation_config.meta["check"]: outcome for outcome in result.results}


def _build_docs(context: Any, site: Path) -> None:
    context.add_data_docs_site(
        "gate",
        {
            "class_name": "SiteBuilder",
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
            "show_how_to_buttons": False,
        },
    )
    context.build_data_docs(site_names=["gate"])


def _record(check: Check, outcome: Any, frames: Mapping[str, pa.Table]) -> dict[str, Any]:
    raised = (outcome.exception_info or {}).get("exception_message") if not outcome.success else None
    return {
        "name": check.name,
        "frame": check.frame,
        "expectation": outcome.expectation_config.type,
        "column": check.column,
        "observed": raised or _observed(check, outcome, frames[check.frame]),
        "expected": check.says,
        "severity": check.severity,
        "success": bool(outcome.success),
        "worst_shards": [] if outcome.success else _worst_shards(check, frames.get("shards")),
    }


def _observed(check: Check, outcome: Any, frame: pa.Table) -> Any:
    """The value itself for a single row, else how many values are off and the first of them."""
    result = outcome.result
    if "observed_value" in result:
        return _plain(result["observed_value"])
    column = check.arguments.get("column")
    if len(frame) == 1 and column:
        return _plain(frame[column][0].as_py())
    off = result.get("unexpected_count", 0)
    if not off:
        return "as expected"
    entries = result.get("partial_unexpected_index_list") or []
    shown = "; ".join(", ".join(f"{k} {_plain(v)}" for k, v in entry.items()) for entry in entries[:3])
    return f"off in {off} of {result['element_count']}" + (f" ({shown})" if shown else "")


def _worst_shards(check: Check, shards: pa.Table | None) -> list[dict[str, Any]]:
    """The shards with the highest value of the check's `rank` column."""
    if check.rank is None or shards is None or check.rank not in shards.column_names:
        return []
    ranked = shards.select(["shard", check.rank]).sort_by([(check.rank, "descending")]).slice(0, SHARDS_KEPT)
    return [
        {"shard": entry["shard"], "column": check.rank, "value": entry[check.rank]}
        for entry in ranked.to_pylist()
        if entry[check.rank]
    ]


def _plain(value: Any) -> Any:
    """A number or text as JSON has it, floats to four digits."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.4g}")
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no log lines and no deprecations of Great Expectations' own dependencies."""
    logger = logging.getLogger("great_expectations")
    level, propagates, bars = logger.level, logger.propagate, os.environ.get("TQDM_DISABLE")
    logger.setLevel(logging.ERROR)
    logger.propagate = False  # its children have levels of their own, and Prefect prints what reaches the root
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagates
        if bars is None:
            os.environ.pop("TQDM_DISABLE", None)
