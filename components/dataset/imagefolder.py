"""A folder of pictures with `metadata.jsonl` or `metadata.csv`: Hugging Face's imagefolder layout.

A metadata file speaks for the pictures below its own folder: its `file_name` column names them, its
caption column (`text`, `caption`, ...; a list gives several) is the alt-text, and every line is kept
as the pair's metadata. A picture no line names is a pair without a caption; the folders it lies in
are kept as a `folder` caption. What cannot be used is a row with a reason:

    missing_file     a line names a picture that is not there
    unsafe_path      a line's `file_name` is absolute or climbs with `..`
    bad_metadata     a line that is no JSON object, or names no file
    empty_image      the picture has zero bytes
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from components.dataset import storage
from components.dataset.dataset import Dataset
from components.dataset.sidecar import caption
from components.dataset.source import (
    CopyingOptions,
    Keys,
    Progress,
    absolute,
    alt_captions,
    as_meta,
    list_files,
    pick_caption_column,
    picture,
    write_pairs,
)
from components.dataset.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES, decode_text, is_unsafe, storable
from components.errors import DatasetError

METADATA = ("metadata.jsonl", "metadata.csv")
FILE_NAME = "file_name"
LABELS = ("label", "class", "category")
MISSING_FILE, UNSAFE_PATH, BAD_METADATA = "missing_file", "unsafe_path", "bad_metadata"
PICTURES = tuple(f".{form}" for suffix in sorted(IMAGE_SUFFIXES) for form in (suffix, suffix.upper()))


class ImageFolderOptions(CopyingOptions):
    caption_column: str | None = Field(None, description="default: the first there is of text, caption, alt, ...")


@dataclass(frozen=True)
class Line:
    """One line of a metadata file.

    Attributes:
        path: of the picture, relative to the source; where the line is bad, where it stands.
        facts: its columns.
        meta: the line itself (JSON), or its columns as JSON (CSV).
        error: why it names no picture, or None.
    """

    path: str
    facts: dict[str, Any]
    meta: bytes
    error: str | None = None


def looks_like_imagefolder(source: str) -> bool:
    try:
        fs, name = storage.filesystem(absolute(source))
        return bool(fs.isdir(name) and list_files(source, PICTURES))
    except DatasetError:
        return False


def read_imagefolder(source: str, dest: str, options: ImageFolderOptions, progress: Progress) -> Dataset:
    """Copy a folder of pictures with their metadata into shards, in order of path.

    Raises:
        DatasetError: there is no picture, or a metadata file has no `file_name` or no such caption column.
    """
    root = absolute(source).rstrip("/")
    here = [path[len(root) + 1 :] for path in list_files(root, PICTURES)]
    lines = [line for path in _metadata_files(root) for line in read_metadata(path, root)]
    column = pick_caption_column(options.caption_column, _columns(lines), source)
    named = {line.path for line in lines}
    entries: list[tuple[str, Line | None]] = sorted(
        [*((line.path, line) for line in lines), *((path, None) for path in here if path not in named)],
        key=lambda entry: entry[0],
    )
    pairs = _pairs(root, entries, set(here), column)
    return write_pairs(source, dest, options, pairs, len(entries), progress)


def _metadata_files(root: str) -> list[str]:
    try:
        return [path for path in list_files(root, METADATA) if posixpath.basename(path) in METADATA]
    except DatasetError:
        return []


def _columns(lines: list[Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.facts))


def read_metadata(path: str, root: str) -> Iterator[Line]:
    """The lines of one metadata file; a bad line is a line with an error, never the end.

    Raises:
        DatasetError: no line has a `file_name`.
    """
    data = storage.read_bytes(path)
    folder = posixpath.dirname(path)[len(root) :].strip("/")
    records = _jsonl(data) if path.endswith(".jsonl") else _csv(data)
    any_line = named = False
    for number, (facts, raw) in enumerate(records, 1):
        any_line = True
        name = facts.get(FILE_NAME)
        where = posixpath.join(folder, f"{posixpath.basename(path)}:{number}")
        if not isinstance(name, str) or not name:
            yield Line(where, facts, raw, f"{BAD_METADATA}:line {number} names no file")
            continue
        named = True
        name = storable(name)
        if is_unsafe(name):
            yield Line(posixpath.join(folder, name.strip("/")), facts, raw, UNSAFE_PATH)
        else:
            yield Line(posixpath.normpath(posixpath.join(folder, name)), facts, raw)
    if any_line and not named:
        raise DatasetError(f'{path} has no column "{FILE_NAME}"; add one that names each picture relative to it')


def _jsonl(data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            facts = json.loads(decode_text(line)[0])
        except (ValueError, RecursionError):
            facts = None
        yield (facts if isinstance(facts, dict) else {}), line


def _csv(data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    text = decode_text(data.removeprefix(b"\xef\xbb\xbf"))[0].replace("\0", "\ufffd")
    for record in csv.DictReader(io.StringIO(text, newline="")):
        facts = {name: value for name, value in record.items() if name is not None}
        yield facts, as_meta(facts)


def _pairs(
    root: str, entries: list[tuple[str, Line | None]], here: set[str], column: str | None
) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for path, line in entries:
        facts = line.facts if line else {}
        error = line.error if line else None
        data = b""
        if error is None and path in here:
            data = storage.read_bytes(f"{root}/{path}")
            error = None if data else EMPTY_IMAGE
        elif error is None:
            error = MISSING_FILE
        folder = posixpath.dirname(path)
        captions = alt_captions(facts.get(column) if column else None)
        suffix = posixpath.splitext(path)[1].lower().lstrip(".")
        yield {
            "key": keys.of(path),
            "media": [picture(suffix, data)] if data else [],
            "captions": captions + ([caption(storable(folder), source="folder")] if folder else []),
            "labels": [(name, storable(str(facts[name]))) for name in LABELS if facts.get(name) is not None],
            "meta": line.meta if line else None,
            "origin": storable(path),
            "error": error,
        }
