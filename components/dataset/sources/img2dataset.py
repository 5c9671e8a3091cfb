"""What img2dataset writes: a Parquet of statuses a shard, beside a tar or a folder of loose files.

00000.tar      or  00000/000000000.jpg, .txt, .json     the pictures that came
00000.parquet                                           every URL asked for, its status and error
00000_stats.json                                        counts
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.captions.text import one_line
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards import sidecar, storage
from pairwright.components.dataset.shards.tar_index import group_pairs, is_text, pair_row
from pairwright.components.dataset.shards.tar_members import Member
from pairwright.components.dataset.shards.writer import Medium, ShardWriter
from pairwright.components.dataset.sources.captions_of import alt_entries, captions_of
from pairwright.components.dataset.sources.folder import Folder
from pairwright.components.dataset.sources.records import plain_rows, reading, text_field
from pairwright.components.dataset.sources.source import Progress, SourceOptions, absolute, dataset_name, list_files
from pairwright.components.errors import DatasetError

DOWNLOAD_FAILED, RESIZE_FAILED, MISSING_MEMBER = "download_failed", "resize_failed", "missing_member"
COLUMNS = frozenset(("url", "key", "status"))
STATUS_NAMES = ("key", "url", "caption", "captions", "status", "error_message")


def read_statuses(path: str) -> pa.Table:
    """The Parquet of one shard.

    Raises:
        DatasetError: it cannot be read.
    """
    with reading(path), storage.open_read(path) as stream:
        return pq.read_table(stream)


def is_statuses(path: str) -> bool:
    """Whether a Parquet file has img2dataset's columns."""
    try:
        with storage.open_read(path) as stream:
            return set(pq.read_schema(stream).names) >= COLUMNS
    except (DatasetError, OSError, pa.ArrowException):
        return False


def merge_downloads(rows: list[dict[str, Any]], table: pa.Table) -> list[dict[str, Any]]:
    """Rows of the tar in the Parquet's order, with a row and its reason for each that is not in the tar.

    A key of the Parquet's is a member's key in the tar, whatever folders the tar was packed with.
    """
    in_tar = _by_key(rows)
    used: set[int] = set()
    merged: list[dict[str, Any]] = []
    names = [name for name in STATUS_NAMES if name in table.schema.names]
    for batch in table.select(names).to_batches():
        for record in plain_rows(batch):
            key = text_field(record.get("key")) or str(record.get("key"))
            captions = alt_entries(
                captions_of(record.get("captions")) or captions_of(record.get("caption")), "img2dataset"
            )
            found = in_tar.get(key)
            fresh = found is None or id(found) in used
            row = sidecar.row(key, captions=captions, error=failure(record)) if found is None or fresh else found
            used.add(id(row))
            row["origin"] = row["origin"] or text_field(record.get("url"))
            if not any(one["source"] == "alt" for one in row["captions"]):
                row["captions"] = captions + row["captions"]
            merged.append(row)
    return merged + [row for row in rows if id(row) not in used]


def _by_key(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by their key, and by its last part where no other row has that."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["key"], row)
    last = Counter(posixpath.basename(row["key"]) for row in rows)
    for row in rows:
        name = posixpath.basename(row["key"])
        if last[name] == 1:
            found.setdefault(name, row)
    return found


def failed(record: dict[str, Any]) -> bool:
    """Whether a record of the statuses says that its download failed."""
    return record.get("status") not in ("success", None)


def failure(record: dict[str, Any]) -> str:
    """Why a record of the statuses has no picture, as a row's error."""
    status, reason = text_field(record.get("status")), one_line(text_field(record.get("error_message")) or "")
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


def read_loose_files(
    source: str, dest: str, options: SourceOptions, progress: Progress, caption_column: str | None = None
) -> Dataset:
    """Copy img2dataset's loose files into tars; a failed download is a row with its reason."""
    folders = loose_folders(source)
    writer = ShardWriter(dest, dataset_name(source, options), description=options.description, licence=options.licence)
    with writer:
        for done, path in enumerate(folders, 1):
            folder = Folder(path)
            rows = [pair_row(pair, caption_column) for pair in group_pairs(_loose_members(folder))[0]]
            for row in merge_downloads(rows, read_statuses(path + ".parquet")):
                writer.add(**_loose_pair(folder, row))
            progress(done, len(folders), "shards")
    return writer.dataset


def _loose_members(folder: Folder) -> Iterator[Member]:
    """A folder's files as if they were a tar's members, in order of name."""
    for path in folder.listing().files:
        size = folder.size_of(path)
        data = folder.read(path)[0] if is_text(path, size) else None
        yield Member(path, 0, size, data=data)


def _loose_pair(folder: Folder, row: dict[str, Any]) -> dict[str, Any]:
    """A row of loose files, as `ShardWriter.add` takes it; a file that cannot be had is its reason."""
    media: list[Medium] = []
    for entry in row["media"]:
        data, error = folder.read(entry["member"])
        row["error"] = row["error"] or error
        media.append((entry["role"], entry["kind"], entry["member"][len(row["key"]) + 1 :], data))
    return row | {"media": [] if row["error"] else media}
