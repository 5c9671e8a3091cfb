"""Columns: `<root>/<component>/<op digest>/<shard digest>.parquet`, each with a commit record.

Rows stand in shard order and hold a row number and that component's columns, so that a reader
joins columns by position, shard by shard, and memory does not grow with the dataset. Only a file
whose commit record (rows, bytes, hash) agrees with it is trusted; any other is made again. A local file is
hashed when it is first looked for, an object when it is first read; each once a process.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.integrity import verified
from pairwright.components.dataset.shards.schema import check_version
from pairwright.components.errors import ColumnError, DatasetError, nearest
from pairwright.components.hashing import canonical, file_sha256, sha256_text

COLUMNS_VERSION = 1
ROW = "row"
ERROR = "_error"
CHECK = "check"  # in a commit record: the digest of its other entries
ENTRIES = frozenset({"rows", "bytes", "sha256", "schema_version", "facts"})
WIDTHS = "fixed_size_lists"  # metadata: column -> list width


@dataclass(frozen=True)
class StepColumns:
    """Where a step's columns are: the component that made them and its op digest."""

    component: str
    digest: str


@dataclass(frozen=True)
class ColumnStore:
    """Column files under one root (a folder or an object-storage prefix)."""

    root: str

    def path(self, step: StepColumns, shard_digest: str) -> str:
        return storage.join(self.root, step.component, step.digest, f"{shard_digest}.parquet")

    def record(self, step: StepColumns, shard_digest: str) -> dict[str, Any] | None:
        """The commit record; None if there is none, or the file is not what it says."""
        path = self.path(step, shard_digest)
        try:
            record: dict[str, Any] = storage.read_json(path + ".json")
            intact = _is_record(record) and storage.size_of(path) == record["bytes"]
            intact = intact and (storage.is_remote(path) or verified(path, record["sha256"]))
        except (OSError, KeyError, TypeError, AttributeError, DatasetError):  # no record, or one that is not a record
            return None
        if not intact:
            _say_once(f"{path} changed since it was committed; the recipe makes it again")
        return record if intact else None

    def has(self, step: StepColumns, shard_digest: str) -> bool:
        return self.record(step, shard_digest) is not None

    def missing(self, step: StepColumns, shards: Sequence[Shard]) -> list[Shard]:
        """The shards this step has no trusted file for."""
        return [shard for shard in shards if not self.has(step, shard.digest)]

    def write(
        self,
        step: StepColumns,
        shard_digest: str,
        columns: Mapping[str, pa.Array],
        rows: int,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Commit one shard's columns, each an Arrow array of length `rows`.

        Args:
            facts: what making them took, as plain JSON; kept in the commit record, part of no digest.

        Raises:
            WorkspaceError: the disk is full or read-only.
        """
        names = [ROW, *columns]
        arrays = [pa.array(np.arange(rows, dtype=np.int32)), *columns.values()]
        for name, array in zip(names, arrays, strict=True):
            assert len(array) == rows, f"{step.component}.{name}: {len(array)} values for {rows} rows"
        table = _storable(pa.table(arrays, names=names))
        path = self.path(step, shard_digest)
        with storage.commit_file(path) as partial:
            pq.write_table(table, partial, compression="zstd")
            record = {"rows": rows, "bytes": partial.stat().st_size, "sha256": file_sha256(partial)}
        record |= {"schema_version": COLUMNS_VERSION, "facts": dict(facts or {})}
        storage.write_json(path + ".json", record | {CHECK: _check(record)})

    def read(self, step: StepColumns, shard: Shard, names: Sequence[str] | None = None) -> pa.Table:
        """One shard's columns in row order, without the row number.

        Raises:
            ColumnError: not committed, damaged, or written by a newer release.
        """
        path = self._trusted(step, shard.digest)
        try:
            with storage.open_read(path) as stream:
                file = pq.ParquetFile(stream)
                check_version(file.schema_arrow.metadata, COLUMNS_VERSION, path)
                known = [name for name in file.schema_arrow.names if name != ROW]
                for name in names or ():
                    if name not in known:
                        raise ColumnError(f'{step.component} has no column "{name}"{nearest(name, known)}')
                table = _as_declared(file.read(columns=list(names) if names is not None else known))
        except (OSError, pa.ArrowException) as error:
            raise ColumnError(f"{path} is damaged ({error}); delete it and run the recipe again") from None
        if len(table) != shard.rows:
            raise ColumnError(f"{path} has {len(table)} rows, its shard {shard.rows}; delete it and run again")
        return table

    def schema(self, step: StepColumns, shard_digest: str) -> pa.Schema:
        """Names and types of one shard's columns as they are stored, the row number among them.

        Raises:
            ColumnError: not committed, or damaged.
        """
        path = self._trusted(step, shard_digest)
        try:
            with storage.open_read(path) as stream:
                return pq.ParquetFile(stream).schema_arrow
        except (OSError, pa.ArrowException) as error:
            raise ColumnError(f"{path} is damaged ({error}); delete it and run the recipe again") from None

    def _trusted(self, step: StepColumns, shard_digest: str) -> str:
        """The file's path, after its bytes were held against its record.

        Raises:
            ColumnError: it is not committed, or not what was committed; an object is then one to be made again.
        """
        path = self.path(step, shard_digest)
        record = self.record(step, shard_digest)
        if record is None:
            raise ColumnError(f"{path} is missing, cut short or damaged; run the recipe again to have it made")
        if storage.is_remote(path) and not verified(path, record["sha256"]):
            fs, name = storage.filesystem(path + ".json")
            fs.rm_file(name)
            raise ColumnError(f"{path} changed since it was committed; run the recipe again to have it made")
        return path


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether it says what it was written to say; an older release's has no check, and no entry beyond ours."""
    return record[CHECK] == _check(record) if CHECK in record else set(record) <= ENTRIES


def _check(record: Mapping[str, Any]) -> str:
    """Digest of a commit record's other entries."""
    return sha256_text(canonical({name: value for name, value in record.items() if name != CHECK}))


@functools.lru_cache(1024)
def _say_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)


def _storable(table: pa.Table) -> pa.Table:
    """The table as Parquet can give it back, its schema version and list widths in its metadata.

    pyarrow 25 writes a fixed-size list that holds a null row and then cannot read it ("Expected all
    lists to be of size=3 but index 2 had size=0"), so such columns are stored as plain lists.
    """
    widths = {f.name: f.type.list_size for f in table.schema if pa.types.is_fixed_size_list(f.type)}
    for name in widths:
        kind = pa.list_(table.schema.field(name).type.value_type)
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    return table.replace_schema_metadata({"schema_version": str(COLUMNS_VERSION), WIDTHS: json.dumps(widths)})


def _as_declared(table: pa.Table) -> pa.Table:
    """The inverse of `_storable`."""
    for name, width in json.loads((table.schema.metadata or {}).get(WIDTHS.encode(), b"{}")).items():
        index = table.schema.get_field_index(name)
        if index >= 0 and not pa.types.is_fixed_size_list(table.schema.field(index).type):
            kind = pa.list_(table.schema.field(index).type.value_type, width)
            table = table.set_column(index, name, table[name].cast(kind))
    return table


@dataclass(frozen=True)
class ColumnsView:
    """The columns of a dataset's steps, joined by position. `step.column` names one."""

    dataset: Dataset
    store: ColumnStore
    steps: Mapping[str, StepColumns]

    @property
    def rows(self) -> int:
        return self.dataset.rows

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Shard digest -> number of rows before it."""
        offsets, total = {}, 0
        for shard in self.dataset.shards:
            offsets[shard.digest] = total
            total += shard.rows
        return offsets

    def split(self, name: str) -> tuple[StepColumns, str]:
        """`step.column` as (where the step's files are, column).

        Raises:
            ColumnError: no step of that name, with the nearest known.
        """
        step, _, column = name.partition(".")
        if step not in self.steps:
            raise ColumnError(f'"{name}" names no step{nearest(step, self.steps)}')
        return self.steps[step], column

    def read_shard(self, shard: Shard, names: Sequence[str]) -> pa.Table:
        """One shard's columns, under their full `step.column` names."""
        arrays = []
        for name in names:
            step, column = self.split(name)
            arrays.append(self.store.read(step, shard, [column])[column])
        return pa.table(arrays, names=list(names))

    def iter_shards(self, names: Sequence[str]) -> Iterator[tuple[Shard, pa.Table]]:
        for shard in self.dataset.shards:
            yield shard, self.read_shard(shard, names)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of every row, in population order."""
        return pa.concat_tables(table for _, table in self.iter_shards([name]))[name]

    def numpy(self, name: str) -> np.ndarray:
        """One column as numpy: (rows,) or, for fixed-size lists, (rows, d); nulls become NaN (zeros in a list)."""
        return to_numpy(self.column(name))

    def sidecar(self, columns: Sequence[str]) -> pa.Table:
        """Sidecar columns of every row, in population order."""
        return pa.concat_tables(table for _, table in self.dataset.iter_sidecars(columns))


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) or, for fixed-size lists of width d, (n, d); null lists become zeros."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    width = column.type.list_size
    parts = []
    for chunk in column.chunks:
        values = np.zeros((len(chunk), width), dtype=_numpy_type(column.type.value_type))
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
        values[valid] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        parts.append(values)
    return np.concatenate(parts) if parts else np.zeros((0, width))


def to_arrow(values: Any, kind: pa.DataType) -> pa.Array:
    """A scorer's result (array, list or tensor) as an Arrow array of `kind`; (n, d) as fixed-size lists."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if pa.types.is_fixed_size_list(kind) and isinstance(values, np.ndarray):
        flat = pa.array(values.astype(_numpy_type(kind.value_type)).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(values, type=kind)


def _numpy_type(kind: pa.DataType) -> np.dtype:
    """The numpy type of an Arrow number; Arrow's own `to_pandas_dtype` needs pandas, which the core lives without."""
    found: np.dtype = pa.array([], kind).to_numpy(zero_copy_only=False).dtype
    return found
