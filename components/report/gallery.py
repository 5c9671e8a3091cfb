"""Pairs to look at: a fair draw of kept ones, and of those that each rule dropped, with their pictures.

The draw is by a digest of (seed, shard, row), so the same run always shows the same pairs, and a pair's
place in the dataset gives it no advantage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.hashing import sha256_text
from pairwright.components.report.charts import number
from pairwright.components.report.data import Sample
from pairwright.components.report.rows import Rows, first_texts

SHOWN_SOURCES = ("alt", "keywords", "file_name")


def gallery(
    dataset: Dataset,
    verdicts: pa.Table,
    view: ColumnsView | None = None,
    *,
    per_rule: int = 8,
    seed: int = 0,
    sources: Sequence[str] = SHOWN_SOURCES,
    caption_steps: Sequence[str] = (),
) -> list[Sample]:
    """Kept pairs first, then each rule's in the order in which the rules are met.

    Args:
        verdicts: columns shard, row, key, status, rule, value, threshold, detail.
        view: where the captions of `caption_steps` are.
        sources: sidecar captions shown with a pair.
    """
    verdicts = _plain(verdicts)
    chosen: list[dict[str, Any]] = []
    for group in _groups(verdicts):
        chosen.extend(_drawn(verdicts, group, 2 * per_rule if group[0] == "kept" else per_rule, seed))
    rows = Rows(dataset, view, [f"{step}.text" for step in caption_steps])
    keys = _places(verdicts, [_neighbour_key(verdict) for verdict in chosen])
    return [_sample(verdict, rows, keys, sources) for verdict in chosen]


def _plain(verdicts: pa.Table) -> pa.Table:
    """The verdicts' columns that are shown, dictionaries decoded."""
    names = ("shard", "row", "key", "status", "rule", "value", "threshold", "detail")
    columns = {name: verdicts[name] for name in names if name in verdicts.schema.names}
    return pa.table({n: c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for n, c in columns.items()})


def _groups(verdicts: pa.Table) -> list[tuple[str, str | None]]:
    """(status, rule): kept first, then in order of first appearance."""
    found = verdicts.group_by(["status", "rule"], use_threads=False).aggregate([]).to_pylist()
    groups = dict.fromkeys((g["status"], None if g["status"] == "kept" else g["rule"]) for g in found)
    return sorted(groups, key=lambda group: ("kept", "dropped", "failed").index(group[0]))


def _drawn(verdicts: pa.Table, group: tuple[str, str | None], count: int, seed: int) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    status, rule = group
    mask = pc.equal(verdicts["status"], status)
    if status != "kept":
        same = pc.is_null(verdicts["rule"]) if rule is None else pc.equal(verdicts["rule"], rule)
        mask = pc.and_(mask, pc.fill_null(same, False))
    found = verdicts.filter(mask)
    order = _draw_order(found["shard"], found["row"].to_numpy(), seed)[:count]
    return list(found.take(order).to_pylist())


def _draw_order(shards: pa.ChunkedArray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Positions by a hash of (seed, shard, row): a draw without a state, in arithmetic and not in Python."""
    encoded = shards.combine_chunks().dictionary_encode()
    salts = [int(sha256_text(f"{seed}/{shard}")[:16], 16) for shard in encoded.dictionary.to_pylist()]
    with np.errstate(over="ignore"):  # the multiplications are meant to wrap
        mixed = np.array(salts, dtype=np.uint64)[encoded.indices.to_numpy()] ^ rows.astype(np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finaliser
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    order: np.ndarray = np.argsort(mixed, kind="stable")
    return order


def _neighbour_key(verdict: Mapping[str, Any]) -> str:
    detail = str(verdict.get("detail") or "")
    return detail.rpartition("of:")[2] if "duplicate_of:" in detail else ""


def _places(verdicts: pa.Table, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Where the kept pairs with these keys are."""
    import pyarrow.compute as pc

    wanted = sorted({key for key in keys if key})
    if not wanted:
        return {}
    found = verdicts.filter(pc.is_in(verdicts["key"], pa.array(wanted, verdicts["key"].type)))
    return {
        key: (shard, row)
        for key, shard, row in zip(
            found["key"].to_pylist(), found["shard"].to_pylist(), found["row"].to_pylist(), strict=True
        )
    }


def _sample(
    verdict: Mapping[str, Any], rows: Rows, places: Mapping[str, tuple[str, int]], sources: Sequence[str]
) -> Sample:
    shard, row = verdict["shard"], verdict["row"]
    neighbour = _neighbour_key(verdict)
    return Sample(
        key=str(verdict["key"]),
        status=verdict["status"],
        image_jpeg=rows.picture(shard, row),
        captions=_captions(rows, shard, row, sources),
        rule=str(verdict.get("rule") or ""),
        value=_shown(verdict.get("value")),
        threshold=_shown(verdict.get("threshold")),
        detail=str(verdict.get("detail") or ""),
        neighbour_jpeg=rows.picture(*places[neighbour]) if neighbour in places else None,
        neighbour_key=neighbour,
    )


def _captions(rows: Rows, shard: str, row: int, sources: Sequence[str]) -> dict[str, str]:
    """The sidecar's of these sources, then those that steps wrote, by step."""
    found = first_texts(rows.row(shard, row)["captions"])
    made = {name.partition(".")[0]: text for name, text in rows.made(shard, row).items() if text}
    return {source: found[source] for source in sources if source in found} | made


def _shown(value: Any) -> str:
    """A value as text; of a JSON object, which is how verdicts hold them, `column value` of each entry."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith("{"):
        try:
            found = json.loads(value)
        except ValueError:
            return value
        entries = [(name, entry) for name, entry in found.items() if not name.endswith(".of")]
        return ", ".join(f"{name.rpartition('.')[2]} {_shown(entry) or 'missing'}" for name, entry in entries)
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
