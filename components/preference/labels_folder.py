"""Labels to take away: a folder of judgements and of what they were judged by.

    FOLDER/judgements.parquet     shard, row, key, share, repeat, answer, and the fields of a judgement
    FOLDER/labels.json            counts, agreement, consistency, the criteria word for word, a hash; written last

The same answers give the same bytes, so the folder's hash is the labels' version: it enters the digest
of every step that reads them. A pair is (shard digest, row): keys may repeat from one dataset to the next.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.judgements import JUDGEMENT
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.schema import check_version
from pairwright.components.errors import DatasetError
from pairwright.components.hashing import file_sha256
from pairwright.components.preference.answers import implied_judgements
from pairwright.components.preference.reliability import reliability
from pairwright.components.preference.store import Given, LabelStore

LABELS_VERSION = 1
MANIFEST, JUDGEMENTS_FILE = "labels.json", "judgements.parquet"
PLACE = [
    ("shard", pa.string()),
    ("row", pa.int32()),
    ("key", pa.string()),
    ("share", pa.string()),  # chosen | random
    ("repeat", pa.bool_()),  # asked of the same labeller a second time
    ("answer", pa.int32()),  # judgements of one answer share it
]
SCHEMA = pa.schema([*PLACE, *JUDGEMENT], metadata={"schema_version": str(LABELS_VERSION)})


def judgement_table(given: list[Given]) -> pa.Table:
    """One row a pairwise judgement, in the order the answers were given."""
    rows = []
    for number, one in enumerate(given):
        place = {"shard": one.item.shard, "row": one.item.row, "key": one.item.key, "share": one.item.share}
        place |= {"repeat": one.repeat, "answer": number}
        rows += [place | judged for judged in implied_judgements(one.item.candidates, one.answer, one.labeller)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def export_labels(store: LabelStore, folder: str | Path) -> dict[str, Any]:
    """Write the folder (over an earlier export of labels, never over anything else); what labels.json says.

    Raises:
        DatasetError: nothing was answered yet, or the folder holds something else.
        WorkspaceError: the disk is full or read-only.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()) and not (root / MANIFEST).is_file():
        raise DatasetError(f"{root} holds something that is no labels folder; name another")
    given = store.given()
    if not given:
        raise DatasetError(f"nothing is labelled in {store.path} yet; open the page with `pairwright label DATASET`")
    table = judgement_table(given)
    with storage.commit_file(str(root / JUDGEMENTS_FILE)) as partial:
        pq.write_table(table, partial, compression="zstd")
        digest = file_sha256(partial)
    first = [one for one in given if not one.repeat]
    manifest = {
        "labels_version": LABELS_VERSION,
        "answers": len(first),
        "repetitions": len(given) - len(first),
        "pictures": len({one.item.id for one in given}),
        "pictures_rejected": len({one.item.id for one in first if one.answer.picture is not None}),
        "judgements": len(table),
        "by_share": dict(sorted(Counter(one.item.share for one in first).items())),
        "by_kind": dict(sorted(Counter(table["kind"].to_pylist()).items())),
        "by_labeller": dict(sorted(Counter(one.labeller for one in first).items())),
        **reliability(given),
        "criteria": store.criteria_texts(),
        "sha256": digest,
    }
    storage.write_json(str(root / MANIFEST), manifest)
    return manifest


def read_judgements(folder: str | Path) -> pa.Table:
    """The judgements of an exported folder.

    Raises:
        DatasetError: it is no labels folder, or its files do not belong together.
        ColumnError: a newer release wrote it.
    """
    root = Path(folder)
    if not (root / MANIFEST).is_file():
        raise DatasetError(f"{root} is no labels folder (no {MANIFEST}); make one with `pairwright label export`")
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        whole = file_sha256(root / JUDGEMENTS_FILE) == manifest["sha256"]
        table = pq.read_table(root / JUDGEMENTS_FILE)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DatasetError(f"{root} is damaged ({error}); export the labels again") from None
    check_version(table.schema.metadata, LABELS_VERSION, str(root / JUDGEMENTS_FILE))
    if not whole:
        raise DatasetError(f"{root / JUDGEMENTS_FILE} is not the file {MANIFEST} names; export the labels again")
    return table
