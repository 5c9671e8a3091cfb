"""Making a sidecar: rows to an Arrow table, the table to Parquet, the shard to its digest.

The digest is of the data alone: the tar's bytes and the sidecar's rows, not of how Parquet happens
to lay them out, so that another release of pyarrow gives the same shard the same name. Members' checksums
follow from the tar's bytes and are no part of it; regions are where there are any, so that a shard indexed before
there was a column for them keeps its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.errors import DatasetError
from pairwright.components.hashing import canonical, file_sha256, sha256_text


def caption(
    text: str, source: str = "alt", ordinal: int = 0, lang: str | None = None, producer: str | None = None
) -> dict[str, Any]:
    """One entry of a row's `captions`."""
    return {"source": source, "ordinal": ordinal, "text": text, "lang": lang, "producer": producer}


def medium(
    role: str, kind: str, ordinal: int, member: str, offset: int, size: int, crc32: int | None = None
) -> dict[str, Any]:
    """One entry of a row's `media`: `size` bytes at `offset` in the shard's tar, and their checksum."""
    return {
        "role": role,
        "kind": kind,
        "ordinal": ordinal,
        "member": member,
        "offset": offset,
        "size": size,
        "crc32": crc32,
        "t0": None,
        "t1": None,
    }


def region(
    box: Sequence[float],
    label: str,
    score: float | None = None,
    caption: int | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """One entry of a row's `regions`; `box` is (x0, y0, x1, y1) as shares of the picture's width and height.

    Raises:
        DatasetError: the box is none, or not within the picture.
    """
    ordered = len(box) == 4 and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
    if not ordered:
        raise DatasetError(
            f"region {list(box)} of {label!r} is no box (x0, y0, x1, y1) of shares 0..1; divide by the size"
        )
    return {"box": list(box), "label": label, "score": score, "caption": caption, "source": source}


def row(
    key: str,
    media: Sequence[Mapping[str, Any]] = (),
    captions: Sequence[Mapping[str, Any]] = (),
    labels: Iterable[tuple[str, str] | Mapping[str, str]] = (),
    *,
    licence: str | None = None,
    author: str | None = None,
    origin: str | None = None,
    group: str | None = None,
    meta: bytes | None = None,
    error: str | None = None,
    regions: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """One sidecar row. Labels are (name, value) pairs; regions are None where nobody looked for any."""
    pairs = [(label["name"], label["value"]) if isinstance(label, Mapping) else label for label in labels]
    return {
        "key": key,
        "media": [dict(one) for one in media],
        "captions": [caption(**one) for one in captions],
        "labels": [{"name": name, "value": value} for name, value in pairs],
        "regions": None if regions is None else [region(**one) for one in regions],
        "licence": licence,
        "author": author,
        "origin": origin,
        "group": group,
        "meta": meta,
        "error": error,
    }


def sidecar_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows, in shard order, under today's schema."""
    return pa.Table.from_pylist(list(rows), schema=SIDECAR)


def shard_digest(tar_sha256: str, table: pa.Table) -> str:
    """A shard's digest: its tar's full hex SHA-256 and every value of every row, in order."""
    hasher = hashlib.sha256()
    for batch in table.to_batches(max_chunksize=1024):
        for values in batch.to_pylist():
            meta = values["meta"]
            for one in values["media"] or ():
                one.pop("crc32", None)
            if values["regions"] is None:
                del values["regions"]
            values["meta"] = None if meta is None else hashlib.sha256(meta).hexdigest()
            hasher.update(canonical(values).encode())
            hasher.update(b"\n")
    return sha256_text(f"{tar_sha256} {hasher.hexdigest()}")


def write_sidecar(table: pa.Table, path: str) -> str:
    """Commit a sidecar; the same rows give the same bytes. Returns the file's full hex SHA-256.

    Raises:
        WorkspaceError: the disk is full or read-only.
    """
    with storage.commit_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=4096)
        return file_sha256(partial)
