"""Tars that exist already, indexed in place: a WebDataset, or what img2dataset made.

Nothing is copied and the user's folder is never written: `dest` gets a sidecar and a record for
each tar. A tar whose size, times and inode are those of its record is not read again, so a killed ingest
goes on where it was, and a grown dataset costs only its new tars.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from pydantic import Field

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards import sidecar, storage
from pairwright.components.dataset.shards.integrity import verified
from pairwright.components.dataset.shards.schema import SIDECAR_VERSION
from pairwright.components.dataset.shards.tar_index import TarIndex, index_tar
from pairwright.components.dataset.sources.folder import Folder, count_by_suffix, suffix_of
from pairwright.components.dataset.sources.img2dataset import (
    is_statuses,
    loose_folders,
    merge_downloads,
    read_loose_files,
    read_statuses,
)
from pairwright.components.dataset.sources.source import (
    NOTES,
    Progress,
    SourceOptions,
    absolute,
    dataset_name,
    expand_braces,
    list_files,
)
from pairwright.components.errors import DatasetError

INDEX_VERSION = 2  # raise it when the same tar would give other rows
Reader = Callable[[str, str | None], TarIndex]


COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")


class WebDatasetOptions(SourceOptions):
    caption_column: str | None = Field(
        None, description="field of KEY.json that holds the captions; default: KEY.txt, else caption, text, ..."
    )
    threads: int = Field(4, ge=1, le=256, description="tars read at once")


def read_webdataset(source: str, dest: str, options: WebDatasetOptions, progress: Progress) -> Dataset:
    """Index every tar of a folder, a glob or a `{00000..00009}.tar` list.

    Raises:
        DatasetError: there is no tar, one is compressed, or `dest` lies in the user's folder.
    """
    return index_tars(list_tars(source), source, dest, options, progress, index_tar, options.caption_column)


def list_tars(source: str) -> list[str]:
    """The tars of a source.

    Raises:
        DatasetError: there is none, one that is named is missing, or one is compressed and so has no byte ranges.
    """
    try:
        packed = list_files(source, COMPRESSED)
    except DatasetError:
        packed = []
    if packed:
        named = ", ".join(packed[:3]) + (", ..." if len(packed) > 3 else "")
        raise DatasetError(
            f"{len(packed)} tars of {source} are compressed, so that no byte range can be read: {named}; "
            "decompress them, or name the others by a pattern such as '*.tar'"
        )
    return list_files(source, (".tar",))


def read_img2dataset(source: str, dest: str, options: WebDatasetOptions, progress: Progress) -> Dataset:
    """Index img2dataset's tars; its Parquet beside each says what was asked for and what failed.

    A failed download is a row with the error "download_failed:REASON". img2dataset's `files` format
    (a folder of loose pictures a shard) is copied into tars.
    """
    if loose_folders(source):
        return read_loose_files(source, dest, options, progress, options.caption_column)
    tars = list_tars(source)
    if not any(storage.exists(_parquet_of(tar)) for tar in tars):
        raise DatasetError(f"{source} has no .parquet beside its tars; ingest it as kind `webdataset`")
    return index_tars(tars, source, dest, options, progress, index_downloads, options.caption_column)


def img2dataset_inputs(source: str, options: WebDatasetOptions) -> list[str] | None:
    """What is copied: loose files. Tars are indexed where they are, and known one by one."""
    return [absolute(source)] if loose_folders(source) else None


def looks_like_webdataset(source: str) -> bool:
    for suffixes in ((".tar",), COMPRESSED):
        try:
            return bool(list_files(source, suffixes))
        except DatasetError:
            continue
    return "{" in source and any(one.lower().endswith(".tar") for one in expand_braces(source))


def looks_like_img2dataset(source: str) -> bool:
    if loose_folders(source):
        return True
    try:
        return is_statuses(_parquet_of(list_files(source, (".tar",))[0]))
    except DatasetError:
        return False


def index_tars(
    tars: list[str],
    source: str,
    dest: str,
    options: WebDatasetOptions,
    progress: Progress,
    read: Reader,
    caption_column: str | None = None,
) -> Dataset:
    """Index each tar that has no good record under `dest`, then write `dataset.json`."""
    dest = absolute(dest).rstrip("/")
    root = _common_folder(tars)
    _refuse_to_write_there(dest, source, tars)

    def one(tar: str) -> tuple[Shard, int]:
        name = tar[len(root) :].lstrip("/")[: -len(".tar")]
        return _index_one(tar, name, dest, read, caption_column)

    shards: list[Shard] = []
    ignored = 0
    with ThreadPoolExecutor(options.threads) as pool:
        try:
            for shard, of_no_pair in pool.map(one, tars):
                shards.append(shard)
                ignored += of_no_pair
                progress(len(shards), len(tars), "shards")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # one clear error, not after hours of reading
            raise
    name, known = dataset_name(source, options), tuple(estimate_unknown(shards))
    dataset = Dataset(name, dest, known, options.description, options.licence, _notes(source, ignored))
    dataset.save()
    return dataset


def _notes(source: str, ignored: int) -> dict[str, Any]:
    """What is said of an ingest: members of no pair, and what lies in the folder besides what a WebDataset has."""
    notes = [f"members of no pair (no suffix, hidden, __...__): {ignored:,}"] if ignored else []
    folder = absolute(source)
    if not storage.is_remote(folder) and os.path.isdir(folder):
        known = {"tar", "parquet", "json", "md5", "sha256", "log", "md"}  # statuses, counts and checksums of tars
        others = [path for path in Folder(folder).listing().files if suffix_of(path) not in known]
        notes += [f"files not read: {count_by_suffix(others)}"] if others else []
    return {NOTES: notes} if notes else {}


def estimate_unknown(shards: list[Shard]) -> list[Shard]:
    """A tar cut short lost, as far as can be told, what its whole neighbours hold more than it."""
    whole = [shard.rows for shard in shards if shard.problem is None]
    usual = int(statistics.median(whole)) if whole else 0
    return [
        replace(shard, unknown=max(0, usual - shard.rows)) if shard.problem and not shard.unknown else shard
        for shard in shards
    ]


def index_downloads(tar: str, caption_column: str | None = None) -> TarIndex:
    """A tar of img2dataset's with the rows of the Parquet beside it: what failed is a row too."""
    index = index_tar(tar, caption_column)
    path = _parquet_of(tar)
    if not storage.exists(path):
        return replace(index, problem=index.problem or "img2dataset had not finished it (no .parquet)")
    try:
        statuses = read_statuses(path)
    except DatasetError as error:
        return replace(index, problem=index.problem or str(error))
    return replace(index, rows=merge_downloads(index.rows, statuses))


def _parquet_of(tar: str) -> str:
    return tar[: -len(".tar")] + ".parquet"


def _common_folder(paths: list[str]) -> str:
    common = os.path.commonpath([path.rpartition("/")[0] for path in paths])
    return common.replace(":/", "://", 1) if storage.is_remote(paths[0]) else common


def _refuse_to_write_there(dest: str, source: str, tars: list[str]) -> None:
    folder = absolute(source).rstrip("/")
    inside = (dest + "/").startswith(folder + "/") and not folder.endswith(".tar")
    if inside or dest in {tar.rpartition("/")[0] for tar in tars}:
        raise DatasetError(f"{dest} lies in the folder being read, which is never written; name another DEST")


def _index_one(tar: str, name: str, dest: str, read: Reader, caption_column: str | None) -> tuple[Shard, int]:
    """One tar's shard, and its members of no pair: from its record if that is good, else by reading the tar."""
    path = storage.join(dest, f"{name}.parquet")
    stamp: dict[str, Any] = {"index_version": INDEX_VERSION, "sidecar_version": SIDECAR_VERSION, "tar": tar}
    stamp |= {"reader": read.__name__, "caption_column": caption_column}
    try:
        stamp["source"] = [list(storage.stamp(one)) for one in (tar, _parquet_of(tar)) if storage.exists(one)]
    except OSError as error:
        raise DatasetError(f"{tar} cannot be read: {error}") from None
    known = _recorded(path, stamp)
    if known is not None:
        return known
    index = read(tar, caption_column)
    table = sidecar.sidecar_table(index.rows)
    written = sidecar.write_sidecar(table, path)
    digest = sidecar.shard_digest(index.sha256, table)
    shard = Shard(name, tar, path, digest, len(table), index.bytes, problem=index.problem, sidecar_sha256=written)
    record = {"stamp": stamp, "shard": asdict(shard), "sidecar_bytes": storage.size_of(path), "ignored": index.ignored}
    storage.write_json(path + ".json", record)
    return shard, index.ignored


def _recorded(path: str, stamp: dict[str, Any]) -> tuple[Shard, int] | None:
    """The shard of an earlier ingest, if neither the tar nor the sidecar changed since; and its members of no pair."""
    try:
        record = storage.read_json(path + ".json")
        if record["stamp"] != stamp or storage.size_of(path) != record["sidecar_bytes"]:
            return None
        shard = Shard(**record["shard"])
        return (shard, int(record["ignored"])) if verified(path, shard.sidecar_sha256) else None
    except (OSError, KeyError, TypeError, ValueError, DatasetError):
        return None
