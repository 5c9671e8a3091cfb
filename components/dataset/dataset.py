"""A dataset is shards plus columns: a folder whose `dataset.json` lists tar shards and sidecars.

    DEST/dataset.json        name, description, licence, shards in order
    DEST/00000.tar           WebDataset shard: KEY.jpg, KEY.txt, KEY.json
    DEST/00000.parquet       its sidecar (components/dataset/shards/schema.py)

A dataset that already exists elsewhere is indexed in place: `dataset.json` and the sidecars go to
the workspace and name the tars where they are; the user's folder is never written.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.integrity import file_hash, verified
from pairwright.components.dataset.shards.members import REMEDY, Members
from pairwright.components.dataset.shards.schema import SIDECAR_VERSION, check_version, migrate_sidecar
from pairwright.components.dataset.shards.sidecar import shard_digest
from pairwright.components.errors import DataChanged, DatasetError
from pairwright.components.hashing import canonical, sha256_text

MANIFEST = "dataset.json"
MANIFEST_VERSION = 2  # 1 had no `sidecar_sha256`


@dataclass(frozen=True)
class Shard:
    """One tar and its sidecar.

    Attributes:
        digest: of the tar's bytes and the sidecar's rows; with a row number, a pair's identity.
        unknown: pairs known to be lost with a truncated tar's tail, as far as can be told.
        problem: why the tar could not be read to its end, or None.
        sidecar_sha256: of the sidecar's bytes, full hex; "" where an older release wrote the manifest.
    """

    name: str
    tar: str
    sidecar: str
    digest: str
    rows: int
    tar_bytes: int
    unknown: int = 0
    problem: str | None = None
    sidecar_sha256: str = ""

    def read_sidecar(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The sidecar's rows in shard order, migrated to today's schema.

        Raises:
            DataChanged: its bytes are not those that were written.
            DatasetError: it cannot be read, or has not `rows` rows.
            ColumnError: a newer release wrote it.
        """
        try:
            if self.sidecar_sha256 and not verified(self.sidecar, self.sidecar_sha256):
                raise DataChanged(f"{self.sidecar} is damaged: it changed since it was written; {REMEDY}")
            with storage.open_read(self.sidecar) as stream:
                file = pq.ParquetFile(stream)
                version = check_version(file.schema_arrow.metadata, SIDECAR_VERSION, self.sidecar)
                table = file.read(columns=list(columns) if columns and version == SIDECAR_VERSION else None)
        except (OSError, pa.ArrowInvalid) as error:
            raise DatasetError(f"{self.sidecar} cannot be read: {error}; ingest the dataset again") from None
        if len(table) != self.rows:
            raise DatasetError(
                f"{self.sidecar} has {len(table)} rows, its manifest says {self.rows}; ingest the dataset again"
            )
        if version != SIDECAR_VERSION or columns is None:
            table = migrate_sidecar(table, version)
        return table.select(list(columns)) if columns else table

    def open_tar(self) -> Members:
        """The tar, to be entered; its members are read by their `media` entries and checked.

        Raises:
            DataChanged: on entering, the tar is not as long as it was when it was indexed.
            DatasetError: it is gone.
        """
        return Members(self.tar, self.tar_bytes, lambda: _check_whole(self))

    def is_whole(self) -> bool:
        """Whether tar and sidecar are, byte for byte and row for row, what the digest names.

        Costs a read of the tar, once a process; of a remote tar its size alone is compared.

        Raises:
            OSError, DatasetError, ColumnError: one of them cannot be read.
        """
        if storage.is_remote(self.tar):
            return storage.size_of(self.tar) == self.tar_bytes
        return _makes_digest(self, file_hash(self.tar), storage.stamp(self.sidecar))

    def read_member(self, medium: Mapping[str, Any]) -> bytes:
        """The bytes of one `media` entry, by byte range.

        Raises:
            DataChanged: they are not those that were indexed.
            DatasetError: the tar cannot be read.
        """
        if storage.is_remote(self.tar):
            return self.open_tar().read_range(medium)
        with self.open_tar() as tar:
            return tar.read(medium)


def _check_whole(shard: Shard) -> None:
    if not shard.is_whole():
        raise DataChanged(f"{shard.tar} or its sidecar changed since it was indexed; {REMEDY}")


@functools.lru_cache(4096)
def _makes_digest(shard: Shard, tar_sha256: str, stamp: tuple[Any, ...]) -> bool:
    return shard_digest(tar_sha256, shard.read_sidecar()) == shard.digest


@dataclass(frozen=True)
class Dataset:
    """Shards in order; `digest` names the data, whatever it is called and wherever it lies."""

    name: str
    root: str
    shards: tuple[Shard, ...]
    description: str = ""
    licence: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def unknown(self) -> int:
        return sum(shard.unknown for shard in self.shards)

    @property
    def digest(self) -> str:
        """Population digest: the sorted shard digests."""
        return population_digest(shard.digest for shard in self.shards)

    def limited(self, shards: int | None) -> Dataset:
        """The first `shards` shards, spread evenly over the dataset; all of them if None."""
        if shards is None or shards >= len(self.shards):
            return self
        step = len(self.shards) / max(shards, 1)
        return replace(self, shards=tuple(self.shards[int(i * step)] for i in range(max(shards, 1))))

    def shard_by_digest(self, digest: str) -> Shard:
        for shard in self.shards:
            if shard.digest == digest:
                return shard
        raise DatasetError(f"{self.name} has no shard {digest}; was the dataset changed since the run?")

    def iter_sidecars(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Shard, pa.Table]]:
        for shard in self.shards:
            yield shard, shard.read_sidecar(columns)

    def find(self, key: str) -> list[tuple[Shard, int]]:
        """Every (shard, row) with this key; keys need not be unique."""
        found: list[tuple[Shard, int]] = []
        for shard, table in self.iter_sidecars(["key"]):
            keys = table["key"].to_pylist()
            found.extend((shard, row) for row, other in enumerate(keys) if other == key)
        return found

    def save(self) -> None:
        """Write `dataset.json`; tar and sidecar paths inside `root` are stored relative to it."""
        manifest = {
            "manifest_version": MANIFEST_VERSION,
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "digest": self.digest,
            "rows": self.rows,
            "facts": self.facts,
            "shards": [
                asdict(shard) | {"tar": self._relative(shard.tar), "sidecar": self._relative(shard.sidecar)}
                for shard in self.shards
            ],
        }
        storage.write_json(storage.join(self.root, MANIFEST), manifest)

    def _relative(self, path: str) -> str:
        prefix = self.root.rstrip("/") + "/"
        return path[len(prefix) :] if path.startswith(prefix) else path


def population_digest(shard_digests: Any) -> str:
    return sha256_text(canonical(sorted(shard_digests)))


def open_dataset(path: str) -> Dataset:
    """The dataset at a folder (local or remote) holding `dataset.json`.

    Raises:
        DatasetError: there is none, or a newer release wrote it.
    """
    root = path.removesuffix("/" + MANIFEST).rstrip("/")
    location = storage.join(root, MANIFEST)
    if not storage.exists(location):
        raise DatasetError(
            f"{path} is not a dataset (no {MANIFEST}); make one with `pairwright ingest KIND {path} DEST`"
        )
    manifest = storage.read_json(location)
    if manifest.get("manifest_version", 0) > MANIFEST_VERSION:
        raise DatasetError(f"{location} was written by a newer release; upgrade pairwright")
    try:
        shards = tuple(
            Shard(**{**entry, "tar": storage.join(root, entry["tar"]), "sidecar": storage.join(root, entry["sidecar"])})
            for entry in manifest["shards"]
        )
        return Dataset(
            manifest["name"], root, shards, manifest["description"], manifest["licence"], manifest.get("facts", {})
        )
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{location} is damaged ({error}); ingest the dataset again") from None
