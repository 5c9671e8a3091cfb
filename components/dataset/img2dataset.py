"""What img2dataset writes: a Parquet of statuses a shard, beside a tar or a folder of loose files.

00000.tar      or  00000/000000000.jpg, .txt, .json     the pictures that came
00000.parquet                                           every URL asked for, its status and error
00000_stats.json                                        counts
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.dataset import sidecar, storage
from components.dataset.dataset import Dataset
from components.dataset.source import (
    Progress,
    SourceOptions,
    absolute,
    alt_captions,
    dataset_name,
    list_files,
)
from components.dataset.tar_index import group_pairs, is_text, pair_row, storable
from components.dataset.tar_members import Member
from components.dataset.writer import Medium, ShardWriter
from components.errors import DatasetError

DOWNLOAD_FAILED, RESIZE_FAILED, MISSING_MEMBER = "download_failed", "resize_failed", "missing_member"
REASON_CHARS = 200
COLUMNS = frozenset(("url", "key", "status"))


def read_statuses(path: str) -> pa.Table:
    """The Parquet of one shard.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with storage.open_read(path) as stream:
            return pq.read_table(stream)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read ({one_line(str(error))}); remove it or fetch it again") from None


def is_statuses(path: str) -> bool:
    """Whether a Parquet file has img2dataset's columns."""
    try:
        with storage.open_read(path) as stream:
            return set(pq.read_schema(stream).names) >= COLUMNS
    except (DatasetError, OSError, pa.ArrowException):
        return False


def merge_downloads(rows: list[dict[str, Any]], table: pa.Table) -> list[dict[str, Any]]:
    """Rows of the tar in the Parquet's order, with a row and its reason for each that is not in the tar."""
    in_tar: dict[str, dict[str, Any]] = {}
    for row in rows:
        in_tar.setdefault(row["key"], row)
    used: set[int] = set()
    merged: list[dict[str, Any]] = []
    names = [name for name in ("key", "url", "caption", "status", "error_message") if name in table.schema.names]
    for record in table.select(names).to_pylist():
        key = str(record.get("key"))
        captions = alt_captions(record.get("caption"), "img2dataset")
        found = in_tar.get(key)
        fresh = found is None or id(found) in used
        row = sidecar.row(key, captions=captions, error=_failure(record)) if found is None or fresh else found
        used.add(id(row))
        row["origin"] = row["origin"] or record.get("url")
        if not any(one["source"] == "alt" for one in row["captions"]):
            row["captions"] = captions + row["captions"]
        merged.append(row)
    return merged + [row for row in rows if id(row) not in used]


def one_line(text: str) -> str:
    """A foreign message as one short line."""
    return storable(" ".join(text.split()))[:REASON_CHARS]


def _failure(record: dict[str, Any]) -> str:
    status, reason = record.get("status"), one_line(record.get("error_message") or "")
    if status == "success":
        return MISSING_MEMBER
    kind = RESIZE_FAILED if status == "failed_to_resize" else DOWNLOAD_FAILED
    return f"{kind}:{reason or status or 'unknown'}"


def loose_folders(source: str) -> list[str]:
    """The shard folders of img2dataset's `files` format; none for any other."""
    try:
        parquets = list_files(absolute(source), (".parquet",))
    except DatasetError:
        return []
    folders = [path.removesuffix(".parquet") for path in parquets]
    if not folders or not storage.exists(folders[0]) or not is_statuses(parquets[0]):
        return []
    return [folder for folder in folders if storage.exists(folder)]


def read_loose_files(source: str, dest: str, options: SourceOptions, progress: Progress) -> Dataset:
    """Copy img2dataset's loose files into tars; a failed download is a row with its reason."""
    folders = loose_folders(source)
    writer = ShardWriter(dest, dataset_name(source, options), description=options.description, licence=options.licence)
    with writer:
        for done, folder in enumerate(folders, 1):
            rows = [pair_row(pair) for pair in group_pairs(_loose_members(folder))[0]]
            for row in merge_downloads(rows, read_statuses(folder + ".parquet")):
                media = [loose_medium(folder, row["key"], one) for one in row.pop("media")]
                writer.add(media=media, **row)
            progress(done, len(folders), "shards")
    return writer.dataset


def _loose_members(folder: str) -> Iterator[Member]:
    """A folder's files as if they were a tar's members, in order of name."""
    fs, name = storage.filesystem(folder)
    for path, info in sorted(fs.find(name, detail=True).items()):
        member, size = posixpath.basename(path), int(info["size"])
        data = storage.read_bytes(f"{folder}/{member}") if is_text(member, size) else None
        yield Member(member, 0, size, data=data)


def loose_medium(folder: str, key: str, entry: dict[str, Any]) -> Medium:
    data = storage.read_bytes(f"{folder}/{entry['member']}")
    return (entry["role"], entry["kind"], entry["member"][len(key) + 1 :], data)
