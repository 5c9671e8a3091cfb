"""A dataset is shards plus columns: a folder whose `dataset.json` lists tar shards and sidecars.

    DEST/dataset.json        name, description, licence, shards in order
    DEST/00000.tar           WebDataset shard: KEY.jpg, KEY.txt, KEY.json
    DEST/00000.parquet       its sidecar (components/dataset/schema.py)

A dataset that already exists elsewhere is indexed in place: `dataset.json` and the sidecars go to
the workspace and name the tars where they are; the user's folder is never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.dataset import storage
from components.dataset.schema import SIDECAR_VERSION, check_version, migrate_sidecar
from components.digest import canonical, sha256_text
from components.errors import DatasetError

MANIFEST = "dataset.json"
MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Shard:
    """One tar and its sidecar.

    Attributes:
        digest: of the tar's bytes and the sidecar's rows; with a row number, a pair's identity.
        unknown: pairs known to be lost with a truncated tar's tail, as far as can be told.
        problem: why the tar could not be read to its end, or None.
    """

    name: str
    tar: str
    sidecar: str
    digest: str
    rows: int
    tar_bytes: int
    unknown: int = 0
    problem: str | None = None

    def read_sidecar(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The sidecar's rows in shard order, migrated to today's schema.

        Raises:
            DatasetError: it cannot be read, or has not `rows` rows.
            ColumnError: a newer release wrote it.
        """
        try:
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

    def read_member(self, offset: int, size: int) -> bytes:
        """Bytes of one tar member, by range."""
        return storage.read_bytes(self.tar, offset, size)


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
