"""Why a pair was kept, dropped or failed: the answer of `pairwright why KEY`.

    for reason in why("workspace/selections/...", view, "000042"):
        print(reason["status"], reason["rule"], reason["value"], reason["threshold"])

Read from the selection's folder alone, so it answers long after the run and without any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import DatasetError
from pairwright.components.filter.rules.selection import VERDICTS_FILE, read_summary

NOT_SHOWN = (pa.types.is_fixed_size_list, pa.types.is_binary, pa.types.is_fixed_size_binary)
MATCHES = 8  # keys that are named where a part of a key fits several
Folders = str | Path | Sequence[str | Path]


def why(folders: Folders, view: ColumnsView, key: str) -> list[dict[str, Any]]:
    """Every pair called `key` (keys need not be unique), with its verdict in each selection folder.

    Args:
        folders: selection folders, in the order the selections ran.
        view: the dataset and its columns; with no steps in it, `columns` of the answers is empty.
        key: the pair's key, `<dataset name>/key`, or a part that one key alone holds.

    Returns:
        Dicts: key, dataset, selection, status, rule, expression, value, threshold, detail, shard (its
        name), row, tar, member, offset, size, captions (source, text, lang), licence, author, origin.
        and columns (name: value). Without a folder, or where none judged the pair, `status` is "not judged".

    Raises:
        DatasetError: no pair is called that (it may be lost with a tar cut short), or several hold that part.
    """
    dataset = view.dataset
    key = key.removeprefix(f"{dataset.name}/")
    places = [Path(f) for f in ([folders] if isinstance(folders, (str, Path)) else folders)]
    key, found = called(dataset, key)
    summaries = [(folder, read_summary(folder)) for folder in places]
    verdicts = [(folder, summary, _verdicts(folder, key)) for folder, summary in summaries]
    answers = []
    for shard, row in found:
        about = _about(dataset, shard, row) | {"columns": _values(view, shard, row)}
        judged = [
            _verdict(folder, summary, verdict)
            for folder, summary, rows in verdicts
            for verdict in rows
            if (verdict["shard"], verdict["row"]) == (shard.digest, row)
        ]
        answers += [verdict | about for verdict in judged] or [_not_judged() | about]
    return answers


def called(dataset: Dataset, key: str) -> tuple[str, list[tuple[Shard, int]]]:
    """The whole key, and every (shard, row) that has it; `key` may be a part that one key alone holds.

    Raises:
        DatasetError: no key is or holds it, or several hold it.
    """
    found = dataset.find(key)
    if found:
        return key, found
    part = key.casefold()
    keys = sorted(
        {k for _, table in dataset.iter_sidecars(["key"]) for k in table["key"].to_pylist() if part in k.casefold()}
    )
    if len(keys) == 1:
        return keys[0], dataset.find(keys[0])
    if keys:
        shown = ", ".join(f'"{k}"' for k in keys[:MATCHES]) + (", ..." if len(keys) > MATCHES else "")
        raise DatasetError(f'{len(keys)} keys of {dataset.name} hold "{key}": {shown}; name one of them')
    raise DatasetError(
        f'no pair of {dataset.name} is called "{key}"{_lost(dataset)}; keys look like {_examples(dataset)}'
    )


def _lost(dataset: Dataset) -> str:
    """What is to be said of a key that nobody knows where tars were not read to their end; "" where all were."""
    cut = [shard for shard in dataset.shards if shard.problem]
    if not cut:
        return ""
    named = ", ".join(f"{shard.name} ({shard.problem})" for shard in cut[:MATCHES]) + (
        ", ..." if len(cut) > MATCHES else ""
    )
    return (
        f", but it may be one of the pairs lost with {named}, some {dataset.unknown} as far as can be told: "
        "restore the tar and ingest again"
    )


def _verdicts(folder: Path, key: str) -> list[dict[str, Any]]:
    """The verdicts on pairs of this key; the file is read in pieces, whatever its size."""
    path = folder / VERDICTS_FILE
    try:
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = []
            for batch in file.iter_batches(200_000):
                rows += batch.filter(pc.equal(batch.column("key"), key)).to_pylist()
            return rows
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path} cannot be read: {error}; run the recipe again") from None


def _verdict(folder: Path, summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Any]:
    expressions = {rule["name"]: rule["expression"] for rule in summary["rules"]}
    return {
        "selection": str(folder),
        "status": verdict["status"],
        "rule": verdict["rule"],
        "expression": expressions.get(verdict["rule"]),
        "value": verdict["value"],
        "threshold": verdict["threshold"],
        "detail": verdict["detail"],
    }


def _not_judged() -> dict[str, Any]:
    names = ("selection", "status", "rule", "expression", "value", "threshold", "detail")
    return dict.fromkeys(names) | {"status": "not judged"}


def _about(dataset: Dataset, shard: Shard, row: int) -> dict[str, Any]:
    """What the sidecar says of a pair, and where its picture lies."""
    said = shard.read_sidecar().slice(row, 1).to_pylist()[0]
    picture: dict[str, Any] = next((medium for medium in said["media"] or () if medium["role"] == "image"), {})
    return {
        "dataset": dataset.name,
        "key": said["key"],
        "shard": shard.name,
        "row": row,
        "tar": shard.tar,
        "member": picture.get("member"),
        "offset": picture.get("offset"),
        "size": picture.get("size"),
        "crc32": picture.get("crc32"),
        "captions": [{name: c[name] for name in ("source", "text", "lang")} for c in said["captions"] or ()],
        **{name: said[name] for name in ("licence", "author", "origin", "group")},
    }


def _values(view: ColumnsView, shard: Shard, row: int) -> dict[str, Any]:
    """The pair's value of every column the view has for its shard; vectors and hashes left out."""
    values: dict[str, Any] = {}
    for step, place in view.steps.items():
        if not view.store.has(place, shard.digest):
            continue
        table = view.store.read(place, shard).slice(row, 1)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not any(vector_or_bytes(column.type) for vector_or_bytes in NOT_SHOWN):
                values[f"{step}.{name}"] = column[0].as_py()
    return values


def _examples(dataset: Dataset) -> str:
    for _, table in dataset.iter_sidecars(["key"]):
        if len(table):
            return ", ".join(f'"{key}"' for key in table["key"].slice(0, 3).to_pylist())
    return "nothing: the dataset is empty"
