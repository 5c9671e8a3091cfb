"""Parquet that holds the pictures themselves: the layout of Hugging Face `datasets`.

The picture column is `struct<bytes: binary, path: string>` (or plain binary), the caption column
`text`, `caption`, ... or a list of strings; all other columns become the pair's metadata. Read in
small batches, so memory does not grow with the file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from components.dataset import storage
from components.dataset.dataset import Dataset
from components.dataset.image_type import image_suffix
from components.dataset.source import (
    CopyingOptions,
    Keys,
    Progress,
    alt_captions,
    as_meta,
    list_files,
    pick_caption_column,
    picture,
    write_pairs,
)
from components.dataset.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES, NO_IMAGE, storable
from components.errors import DatasetError, nearest

BATCH_ROWS = 64
PLAIN_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "bytes")


class ParquetBytesOptions(CopyingOptions):
    image_column: str | None = Field(None, description="default: the one struct<bytes, path> or binary column")
    caption_column: str | None = Field(None, description="default: the first there is of text, caption, alt, ...")
    key_column: str | None = Field(None, description="default: the rows' number in the whole dataset")


def looks_like_parquet_bytes(source: str) -> bool:
    try:
        path = list_files(source, (".parquet",))[0]
        with storage.open_read(path) as stream:
            return _image_column(pq.read_schema(stream), None, path) is not None
    except (DatasetError, OSError, pa.ArrowException):
        return False


def read_parquet_bytes(source: str, dest: str, options: ParquetBytesOptions, progress: Progress) -> Dataset:
    """Copy pictures and captions out of Parquet files into shards, in order of file and row.

    Raises:
        DatasetError: a file is no Parquet, or has no such picture or caption column.
    """
    paths = list_files(source, (".parquet",))
    total = sum(_rows_of(path) for path in paths)
    return write_pairs(source, dest, options, _pairs(paths, options), total, progress)


def _rows_of(path: str) -> int:
    try:
        with storage.open_read(path) as stream:
            return int(pq.read_metadata(stream).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is no readable Parquet file ({error}); remove it or fetch it again") from None


def _image_column(schema: pa.Schema, wanted: str | None, path: str) -> str | None:
    """The picture column: the one named, else the first struct with bytes, else a binary one of a usual name."""
    if wanted is not None:
        if wanted not in schema.names:
            raise DatasetError(f'{path} has no column "{wanted}"{nearest(wanted, schema.names)}')
        return wanted
    structs = [one.name for one in schema if pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    binary = [one.name for one in schema if _is_binary(one.type) and one.name.lower() in PLAIN_NAMES]
    return next(iter(structs + binary), None)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _pairs(paths: list[str], options: ParquetBytesOptions) -> Iterator[dict[str, Any]]:
    keys, number = Keys(), 0
    for path in paths:
        with storage.open_read(path) as stream:
            file = pq.ParquetFile(stream)
            schema = file.schema_arrow
            image = _image_column(schema, options.image_column, path)
            if image is None:
                raise DatasetError(
                    f"{path} has no column of pictures; name it with `image_column`{nearest('', schema.names)}"
                )
            text = pick_caption_column(options.caption_column, schema.names, path)
            kept = [one.name for one in schema if one.name != image and not _is_binary(one.type)]
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=[image, *kept]):
                    for record in batch.to_pylist():
                        yield _pair(record, number, image, text, keys, options.key_column)
                        number += 1
            except (OSError, pa.ArrowException) as error:
                raise DatasetError(f"{path} is damaged ({error}); fetch it again") from None


def _pair(
    record: dict[str, Any], number: int, image: str, text: str | None, keys: Keys, key_column: str | None
) -> dict[str, Any]:
    cell = record.pop(image)
    held = cell if isinstance(cell, dict) else {"bytes": cell, "path": None}
    data, path = held.get("bytes"), storable(held.get("path") or "")
    named = posixpath.splitext(path)[1].lower().lstrip(".")
    suffix = image_suffix(data or b"") or (named if named in IMAGE_SUFFIXES else "jpg")
    key = f"{number:09d}" if key_column is None else str(record.get(key_column))
    return {
        "key": keys.of(storable(key)),
        "media": [picture(suffix, data)] if data else [],
        "captions": alt_captions(record.get(text) if text else None),
        "meta": as_meta(record),
        "origin": path or None,
        "error": None if data else NO_IMAGE if data is None else EMPTY_IMAGE,
    }
