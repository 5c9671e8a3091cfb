"""A folder of pictures with their captions beside: Hugging Face's imagefolder layout and its kin.

Captions are looked for in two places. A table (`metadata.jsonl`, `metadata.csv`, `.tsv`, `.parquet`; else
any table there that names pictures, such as `captions_train.csv`) speaks for the pictures below its
own folder: a column (`file_name`, `image`, ...) names them, another (`caption`, `text`, ...) holds the
alt-text, and every line is kept as the pair's metadata. Several lines of one picture are several
captions of one pair; of two tables that name a picture the nearest counts. A picture without a
caption in a table has the one of the file beside it: `a.txt`, `a.caption` or `a.json` of `a.jpg`.
The folders a picture lies in are kept as a `folder` caption.

What cannot be used is a row with a reason: those of components/dataset/sources/folder.py, and

    bad_metadata     a line that cannot be read, or names no file
    empty_image, not_a_picture

What is not read (a file of unknown suffix, a second table) is counted in the dataset's notes.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES, TEXT_SUFFIXES
from pairwright.components.dataset.sources.captions_of import (
    CaptionText,
    alt_entries,
    captions_of,
    encoding_labels,
    plain_name,
    record_captions,
)
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder, count_by_suffix, suffix_of
from pairwright.components.dataset.sources.records import TABLES, Record, first_records, read_records, text_field
from pairwright.components.dataset.sources.source import (
    FolderOptions,
    Progress,
    absolute,
    check_column,
    picture,
    write_pairs,
)
from pairwright.components.errors import DatasetError

METADATA = tuple(f"metadata.{suffix}" for suffix in TABLES)  # the first that a folder holds is the one read
FILE_NAMES = (
    "file_name", "filename", "file", "image_file_name", "image_name", "image_file", "image_path", "image", "img_path",
    "img", "picture", "path", "filepath", "file_path",
)  # fmt: skip
LABELS = ("label", "class", "category")
BAD_METADATA, NOT_A_PICTURE = "bad_metadata", "not_a_picture"
LOOKED_AT = 50  # records of a table that is not called metadata, read to see whether it names pictures
BESIDE = (*sorted(TEXT_SUFFIXES), "json")


class ImageFolderOptions(FolderOptions):
    caption_column: str | None = Field(None, description="default: the first there is of captions, caption, text, ...")
    file_column: str | None = Field(None, description="default: file_name, filename, image, path, ...")


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        path: of the picture, relative to the source; where the line is bad, where it stands.
        facts: its columns.
        meta: the line itself (JSON), or its columns as JSON.
        table: the file it stands in.
        error: why it names no picture, or None.
    """

    path: str
    facts: dict[str, Any]
    meta: bytes
    table: str
    error: str | None = None


def looks_like_imagefolder(source: str) -> bool:
    try:
        return any(suffix_of(path) in IMAGE_SUFFIXES for path in Folder(absolute(source)).listing().files)
    except (DatasetError, OSError):
        return False


def read_imagefolder(source: str, dest: str, options: ImageFolderOptions, progress: Progress) -> Dataset:
    """Copy a folder of pictures with their captions into shards, in order of path.

    Raises:
        DatasetError: there is no picture, or no table has the file or caption column that an option names.
    """
    found = _Found(Folder(absolute(source).rstrip("/") or "/", options.follow_links), options)
    if not found.pictures:
        holds = count_by_suffix(found.files) or "no file"
        raise DatasetError(f"{source} holds no picture, but {holds}; unpack archives first, or name another kind")
    entries = found.entries()
    pairs = (found.pair(path, lines) for path, lines in entries)
    return write_pairs(source, dest, options, pairs, len(entries), progress, notes=found.notes())


class _Found:
    """What lies in the folder: pictures, the lines that speak of them, and the files beside them."""

    def __init__(self, folder: Folder, options: ImageFolderOptions) -> None:
        self.folder, self._options, self._keys = folder, options, Keys()
        listing = folder.listing()
        self.files, self._refused = listing.files, listing.refused
        self.pictures = [path for path in self.files if suffix_of(path) in IMAGE_SUFFIXES]
        self._here = set(self.files)
        self._normal = {unicodedata.normalize("NFC", path): path for path in self.pictures}
        beside = {path.casefold(): path for path in self.files if suffix_of(path) in BESIDE}
        self._beside = {path: found for path in self.pictures if (found := _texts_beside(path, beside))}
        self._shadowed = 0
        read = _choose_tables(folder, self._here, self._used_beside(), options)
        self._unread = self._here - set(self.pictures) - self._used_beside() - set(read)
        self.lines = [line for table in read for line in self._lines(table)]
        if self.lines:
            named = [name for line in self.lines for name in line.facts]
            check_column(options.caption_column, named, f"{folder.root}: a table")

    def _used_beside(self) -> set[str]:
        return {path for found in self._beside.values() for path in found}

    def _lines(self, table: str) -> Iterator[Line]:
        """The lines of one table; a bad line is a line with an error, never the end."""
        below, path = posixpath.dirname(table), f"{self.folder.root}/{table}"
        records = list(read_records(path))
        column = _file_column(records, self._options.file_column, path)
        for record in records:
            where = f"{table}:{record.number}"
            name = text_field(record.facts.get(column))
            if record.problem or name is None:
                reason = record.problem or f"line {record.number} names no file"
                yield Line(where, record.facts, record.raw, table, f"{BAD_METADATA}:{reason}")
                continue
            place = self._place(name, below)
            if place is None:
                yield Line(posixpath.join(below, name.strip("/")), record.facts, record.raw, table, UNSAFE_PATH)
            else:
                yield Line(place, record.facts, record.raw, table)

    def _place(self, name: str, below: str) -> str | None:
        """The picture that a line names: as it is written, with slashes for backslashes, or composed otherwise."""
        place = self.folder.place(name, below)
        if place is None or place in self._here:
            return place
        slashed = self.folder.place(name.replace("\\", "/"), below)
        if slashed in self._here:
            return slashed
        return self._normal.get(unicodedata.normalize("NFC", place), place)

    def entries(self) -> list[tuple[str, list[Line]]]:
        """Every picture, named place and bad line with the lines that speak of it, in order of path."""
        found: dict[str, list[Line]] = {path: [] for path in [*self.pictures, *self._refused]}
        for line in self.lines:
            found.setdefault(line.path, []).append(line)
        for path, lines in found.items():
            nearest = max((line.table.count("/") for line in lines), default=0)
            kept = [line for line in lines if line.table.count("/") == nearest]
            self._shadowed += len(lines) - len(kept)
            found[path] = kept
        return sorted(found.items())

    def pair(self, path: str, lines: list[Line]) -> dict[str, Any]:
        """One pair, as `ShardWriter.add` takes it."""
        error = next((line.error for line in lines if line.error), None)
        data = b""
        if error is None:
            data, error = (b"", self._refused[path]) if path in self._refused else self.folder.read(path)
        suffix = suffix_of(path) if suffix_of(path) in IMAGE_SUFFIXES else image_suffix(data)
        if error is None:
            error = EMPTY_IMAGE if not data else None if suffix else NOT_A_PICTURE
        texts, meta = self._texts(path, lines)
        below = posixpath.dirname(path)
        facts = lines[0].facts if lines else {}
        labels = [(name, storable(str(facts[name]))) for name in LABELS if facts.get(name) is not None]
        return {
            "key": self._keys.of_name(path) if (error or "").startswith(BAD_METADATA) else self._keys.of_path(path),
            "media": [picture(suffix, data)] if data and suffix else [],
            "captions": alt_entries(texts) + ([caption(storable(below), source="folder")] if below else []),
            "labels": labels + encoding_labels(texts),
            "meta": meta,
            "origin": storable(path),
            "error": error,
        }

    def _texts(self, path: str, lines: list[Line]) -> tuple[list[CaptionText], bytes | None]:
        """A picture's captions and its metadata: of its lines, else of the files beside it."""
        column = self._options.caption_column
        texts = [text for line in lines for text in record_captions(line.facts, column)]
        meta = lines[0].meta if len(lines) == 1 else b"[%s]" % b",".join(line.meta for line in lines) if lines else None
        for beside in self._beside.get(path, []) if not texts or meta is None else []:
            data, _ = self.folder.read(beside)
            if suffix_of(beside) == "json":
                texts = texts or _json_captions(data, column)
                meta = data if meta is None else meta
            else:
                texts = texts or captions_of(data)
        return texts, meta

    def notes(self) -> list[str]:
        """What an ingest has to say of the folder, besides its rows."""
        said = []
        tables = sorted(path for path in self._unread if suffix_of(path) in TABLES)
        others = self._unread.difference(tables)
        if others:
            said.append(f"files not read: {count_by_suffix(others)}")
        if tables:
            said.append(
                f"tables not read: {', '.join(tables[:5])}{', ...' if len(tables) > 5 else ''} "
                "(it names no picture here, or another table beside it does; file_column names its column of files)"
            )
        if self._shadowed:
            said.append(f"lines not read: {self._shadowed:,}, because a table nearer to their picture speaks for it")
        return said


def _json_captions(data: bytes, column: str | None) -> list[CaptionText]:
    try:
        return record_captions(parse_json(data), column)
    except ValueError:
        return []


def _texts_beside(path: str, beside: dict[str, str]) -> list[str]:
    """The text files that stand beside a picture, the likeliest first."""
    stem = posixpath.splitext(path)[0]
    names = [f"{base}.{suffix}".casefold() for suffix in BESIDE for base in (stem, path)]
    return [beside[name] for name in names if name in beside]


def _choose_tables(folder: Folder, here: set[str], beside: set[str], options: ImageFolderOptions) -> list[str]:
    """In each folder the first of `METADATA`; else every table that names a picture there."""
    tables: dict[str, list[str]] = {}
    for path in sorted(here - beside):
        if suffix_of(path) in (*TABLES, "txt"):
            tables.setdefault(posixpath.dirname(path), []).append(path)
    chosen = []
    for below, paths in tables.items():
        usual = [posixpath.join(below, name) for name in METADATA]
        metadata = next((path for path in usual if path in paths), None)
        chosen += [metadata] if metadata else [path for path in paths if _names_pictures(folder, path, here, options)]
    return chosen


def _names_pictures(folder: Folder, table: str, here: set[str], options: ImageFolderOptions) -> bool:
    path = f"{folder.root}/{table}"
    try:
        records = first_records(path, LOOKED_AT)
        column = _file_column(records, options.file_column, path)
    except DatasetError:
        return False
    names = (text_field(record.facts.get(column)) for record in records)
    return any(folder.place(name.replace("\\", "/"), posixpath.dirname(table)) in here for name in names if name)


def _file_column(records: list[Record], wanted: str | None, path: str) -> str:
    """The column that names pictures: the one named, else the first usual name that holds texts.

    Raises:
        DatasetError: there is none, or not the one named.
    """
    names = list(dict.fromkeys(name for record in records for name in record.facts))
    check_column(wanted, names, path)
    if wanted is not None:
        return wanted
    for usual in FILE_NAMES:
        for name in names:
            if plain_name(name) == usual and any(text_field(record.facts.get(name)) for record in records):
                return name
    if not names and all(record.problem for record in records):
        return FILE_NAMES[0]  # not one line could be read: each is a row with its reason
    has = ", ".join(names[:20])
    raise DatasetError(
        f'{path} has no column "{FILE_NAMES[0]}" that names each picture relative to it, only {has}; '
        "add one, or name yours with file_column"
    )
