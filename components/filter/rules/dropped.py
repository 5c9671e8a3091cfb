"""The pairs a rule dropped, with what it saw: the list behind `pairwright dropped`.

    for pair in dropped("workspace/selections/...", dataset, rule="sharp", limit=20):
        print(pair["key"], pair["value"], pair["threshold"])

Read from the selection's folder in pieces, and from the sidecars of the shards that are shown alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.selection import VERDICTS_FILE, read_summary
from pairwright.components.filter.rules.verdicts import error_kind

BATCH_ROWS = 200_000


def dropped(folder: str | Path, dataset: Dataset, rule: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """The first `limit` pairs in shard order that were dropped or failed, with their first caption.

    Args:
        rule: a rule of the selection, or the kind of an error ("decode:truncated"); any of them if None.

    Returns:
        Dicts: key, status, rule, value, threshold, detail, shard (its name), row, caption.

    Raises:
        DatasetError: no rule or error is called that, or the folder is no whole selection.
    """
    reasons = counts(folder)
    if rule is not None and rule not in reasons:
        raise DatasetError(f'nothing was dropped by "{rule}" here{nearest(rule, reasons)}; it was by {_said(reasons)}')
    found: list[dict[str, Any]] = []
    for batch in _lost(folder):
        for row in batch.to_pylist():
            if rule in (None, _reason(row)):
                found.append(row)
            if len(found) == limit:
                return _with_captions(found, dataset)
    return _with_captions(found, dataset)


def counts(folder: str | Path) -> dict[str, int]:
    """Pairs by the rule that dropped them or the kind of error they failed with, rules first and in their order."""
    ledger = Ledger.from_dict(read_summary(folder)["ledger"])
    return {rule: pairs for rule, pairs in ledger.dropped.items() if pairs} | dict(ledger.failed)


def _lost(folder: str | Path) -> Iterator[pa.RecordBatch]:
    path = Path(folder) / VERDICTS_FILE
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield batch.filter(pc.not_equal(batch.column("status").cast(pa.string()), "kept"))
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path} cannot be read: {error}; run the recipe again") from None


def _reason(verdict: dict[str, Any]) -> str:
    return str(verdict["rule"]) if verdict["status"] == "dropped" else error_kind(verdict["detail"])


def _with_captions(verdicts: list[dict[str, Any]], dataset: Dataset) -> list[dict[str, Any]]:
    shards = {shard.digest: shard for shard in dataset.shards}
    captions: dict[str, list[Any]] = {}
    pairs = []
    for verdict in verdicts:
        shard = shards.get(verdict["shard"]) or dataset.shard_by_digest(verdict["shard"])
        if shard.digest not in captions:
            captions[shard.digest] = shard.read_sidecar(["captions"])["captions"].to_pylist()
        texts = captions[shard.digest][verdict["row"]] or [{"text": None}]
        pairs.append(verdict | {"shard": shard.name, "caption": texts[0]["text"]})
    return pairs


def _said(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} ({pairs:,})" for reason, pairs in Counter(reasons).most_common()) or "nothing"
