"""Parquet that holds the pictures themselves: the layout of Hugging Face `datasets` and its kin.

A picture column holds structs of bytes and path, binary, lists of these, lists of numbers, or base64; it
is known by its type, its name and its first values. The first is the pair's picture, every further one a
medium with the column's name as its role. Captions come from the usual columns (or `caption_column`);
all others become the pair's metadata, binary ones left out. A cell without bytes but with a path is read
from beside the Parquet, never from outside its folder. img2dataset's Parquet form (`url`, `key`,
`status`) gives a failed download as a row with its reason. Read in small batches, so memory does not
grow with the file.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES, NO_IMAGE
from pairwright.components.dataset.shards.writer import Medium
from pairwright.components.dataset.sources.captions_of import alt_entries, encoding_labels, plain_name, record_captions
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder, suffix_of
from pairwright.components.dataset.sources.img2dataset import COLUMNS as STATUS_COLUMNS
from pairwright.components.dataset.sources.img2dataset import failed, failure
from pairwright.components.dataset.sources.records import plain_rows, reading, text_field
from pairwright.components.dataset.sources.source import (
    CopyingOptions,
    Progress,
    absolute,
    caption_columns,
    check_column,
    list_files,
    write_pairs,
)
from pairwright.components.errors import DatasetError, nearest

BATCH_ROWS = 64
LOOKED_AT = 16  # rows read to see which columns hold pictures
PLAIN_NAMES = (
    "image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "img_bytes", "image_data",
    "images", "bytes",
)  # fmt: skip
UNREADABLE_PICTURE = "not_a_picture"
_DATA_URL = re.compile(r"data:[\w.+\-]+/[\w.+\-]+;base64,")


class ParquetBytesOptions(CopyingOptions):
    image_column: str | None = Field(None, description="default: known by its type, name and first values")
    caption_column: str | None = Field(None, description="default: the first there is of captions, caption, text, ...")
    key_column: str | None = Field(None, description="default: the rows' number in the whole dataset")


@dataclass(frozen=True)
class _Columns:
    """What the columns of one file are: pictures (the pair's own first), captions, and those kept as metadata."""

    images: list[str]
    captions: list[str]
    named: str | None  # the one column that an option names for captions
    kept: list[str]
    key: str | None
    downloads: bool  # img2dataset's own columns are among them


def looks_like_parquet_bytes(source: str) -> bool:
    try:
        return bool(_picture_columns(list_files(source, (".parquet",))[0]))
    except (DatasetError, OSError):
        return False


def read_parquet_bytes(source: str, dest: str, options: ParquetBytesOptions, progress: Progress) -> Dataset:
    """Copy pictures and captions out of Parquet files into shards, in order of file and row.

    Raises:
        DatasetError: a file is no Parquet, or has no such picture, caption or key column.
    """
    paths = list_files(source, (".parquet",))
    columns = {path: _columns_of(path, options) for path in paths}
    left_out = sorted({name for path in paths for name in _left_out(path, columns[path])})
    notes = [f"binary columns left out of the metadata: {', '.join(left_out)}"] if left_out else []
    total = sum(_rows_of(path) for path in paths)
    return write_pairs(source, dest, options, _pairs(columns), total, progress, notes=notes)


def _rows_of(path: str) -> int:
    with reading(path), storage.open_read(path) as stream:
        return int(pq.read_metadata(stream).num_rows)


def _schema_of(path: str) -> pa.Schema:
    with reading(path), storage.open_read(path) as stream:
        return pq.read_schema(stream)


def _columns_of(path: str, options: ParquetBytesOptions) -> _Columns:
    schema = _schema_of(path)
    check_column(options.image_column, schema.names, path)
    check_column(options.key_column, schema.names, path)
    found = _picture_columns(path)
    images = found if options.image_column is None else [options.image_column, *found]
    if not images:
        raise DatasetError(f"{path} has no column of pictures; name it with `image_column`{nearest('', schema.names)}")
    others = [name for name in schema.names if name not in images]
    captions = caption_columns(options.caption_column, others if options.caption_column is None else schema.names, path)
    kept = [name for name in others if name in captions or not _is_binary(schema.field(name).type)]
    downloads = set(schema.names) >= STATUS_COLUMNS
    key = options.key_column or ("key" if downloads else None)
    return _Columns(list(dict.fromkeys(images)), captions, options.caption_column, kept, key, downloads)


def _left_out(path: str, columns: _Columns) -> list[str]:
    read = {*columns.images, *columns.kept, columns.key}
    return [name for name in _schema_of(path).names if name not in read]


def _picture_columns(path: str) -> list[str]:
    """Columns that hold pictures, those with a usual name first."""
    with reading(path), storage.open_read(path) as stream:
        file = pq.ParquetFile(stream)
        schema = file.schema_arrow
        fitting = [one.name for one in schema if _may_hold_pictures(one.type)]
        batch = next(file.iter_batches(LOOKED_AT, columns=fitting), None) if fitting else None
        rows = plain_rows(batch) if batch is not None else []
    found = []
    for name in fitting:
        usual = plain_name(name) in PLAIN_NAMES
        kind = _innermost(schema.field(name).type)
        stated = _has_bytes(kind) or (usual and _is_binary(kind))
        if stated or any(image_suffix(data) for row in rows for data, _ in cells(row[name])):
            found.append((not usual, not _has_bytes(kind), name))
    return [name for _, _, name in sorted(found, key=lambda one: one[:2])]


def _may_hold_pictures(kind: pa.DataType) -> bool:
    inner = _innermost(kind)
    text = pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)
    return _is_binary(inner) or _has_bytes(inner) or text or (kind != inner and pa.types.is_uint8(inner))


def _innermost(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def cells(value: Any) -> list[tuple[bytes, str]]:
    """The pictures of a cell as (bytes, path): of a struct, bytes, numbers, base64, or a list of these."""
    if isinstance(value, dict):
        inner = cells(value.get("bytes"))
        path = text_field(value.get("path")) or ""
        return [(inner[0][0] if inner else b"", path)]
    if isinstance(value, bytes | bytearray):
        return [(bytes(value), "")]
    if isinstance(value, str):
        data = _from_base64(value)
        return [] if data is None else [(data, "")]
    if isinstance(value, list) and value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        return [(bytes(value), "")]
    return [cell for one in value for cell in cells(one)] if isinstance(value, list) else []


def _from_base64(text: str) -> bytes | None:
    text = _DATA_URL.sub("", text, count=1).strip()
    if not re.fullmatch(r"[A-Za-z0-9+/_\-\s]*={0,2}", text[:4096]) and "=" not in text[:4096]:
        return None
    try:
        return base64.b64decode(re.sub(r"\s", "", text).replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None


def _pairs(files: dict[str, _Columns]) -> Iterator[dict[str, Any]]:
    keys, number = Keys(), 0
    for path, columns in files.items():
        beside = Folder(posixpath.dirname(absolute(path)))
        wanted = list(dict.fromkeys([*columns.images, *columns.kept, *([columns.key] if columns.key else [])]))
        with reading(path), storage.open_read(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(BATCH_ROWS, columns=wanted):
                for record in plain_rows(batch):
                    yield _pair(record, number, columns, keys, beside)
                    number += 1


def _pair(record: dict[str, Any], number: int, columns: _Columns, keys: Keys, beside: Folder) -> dict[str, Any]:
    facts = {name: record[name] for name in columns.kept}
    texts = record_captions({name: record[name] for name in columns.captions}, columns.named)
    media, origin, error = _media(record, columns.images, beside)
    if columns.downloads and error == NO_IMAGE and failed(record):
        error = failure(record)
    key = _key(record.get(columns.key)) if columns.key else None
    return {
        "key": keys.of_name(storable(key) if key else f"{number:09d}"),
        "media": media,
        "captions": alt_entries(texts),
        "labels": encoding_labels(texts),
        "meta": as_json(facts),
        "origin": origin or (text_field(record.get("url")) if columns.downloads else None),
        "error": error,
    }


def _key(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_field(value)


def _media(record: dict[str, Any], names: list[str], beside: Folder) -> tuple[list[Medium], str | None, str | None]:
    """A row's pictures; where the first came from; and why there is none."""
    media: list[Medium] = []
    origin = error = None
    for column in names:
        role = "image" if column == names[0] else re.sub(r"[^A-Za-z0-9_\-]", "_", column)
        for ordinal, (data, path) in enumerate(cells(record[column]) or [(b"", "")]):
            data, reason = _read_cell(data, path, record[column], beside)
            if column == names[0] and ordinal == 0:
                origin, error = storable(path) or None, reason
            if reason is None:
                suffix = image_suffix(data) or (suffix_of(path) if suffix_of(path) in IMAGE_SUFFIXES else "jpg")
                prefix = ([] if role == "image" else [role]) + ([str(ordinal)] if ordinal else [])
                media.append((role, "image", ".".join([*prefix, suffix]), data))
    return media if error is None else [], origin, error


def _read_cell(data: bytes, path: str, cell: Any, beside: Folder) -> tuple[bytes, str | None]:
    """A cell's bytes, of its own or of the file it names, or why there are none."""
    if data:
        return data, None
    held = cell.get("bytes") if isinstance(cell, dict) else cell
    if held is None and path:
        return beside.read(path) if beside.place(path) else (b"", UNSAFE_PATH)
    if isinstance(held, str) and held:
        return b"", UNREADABLE_PICTURE
    return b"", NO_IMAGE if held is None or held == [] else EMPTY_IMAGE
