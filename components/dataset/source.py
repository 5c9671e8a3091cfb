"""What an ingest source is, and what several of them share: options, listing, rows from records.

A source is a name, a way to recognise itself, options with checked ranges, and a function that
makes a dataset under `dest`. The registry of sources is components/dataset/ingest.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from components.dataset import storage
from components.dataset.dataset import Dataset
from components.dataset.sidecar import caption
from components.dataset.tar_index import storable
from components.dataset.writer import Medium, ShardWriter, safe_key
from components.errors import DatasetError
from components.settings import Settings

Progress = Callable[[int, int | None, str], None]  # done, total if known, what is counted
CAPTION_COLUMNS = ("text", "caption", "captions", "TEXT", "alt", "alt_text", "description", "prompt", "title")
NAMES_NOT_KEPT = 20


class SourceOptions(Settings):
    """What every source takes."""

    name: str | None = Field(None, description="the dataset's name; default: the source's last path part")
    description: str = ""
    licence: str = Field("", description="licence of the dataset as a whole, as an SPDX name where there is one")


class CopyingOptions(SourceOptions):
    """What a source takes that writes shards of its own."""

    pairs_per_shard: int = Field(1000, ge=1, le=1_000_000)


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        summary: one line for `pairwright ingest --help`.
        looks_like: whether a path (local or remote) is of this kind; looks only, reads little.
        read: (source, dest, options, progress) -> the dataset, or datasets.
        options: the settings model of its options.
        inputs: (source, options) -> the files and folders that are read, for a source that copies: the same
            inputs again are not copied again. None where the source sees to that itself.
    """

    name: str
    summary: str
    looks_like: Callable[[str], bool]
    read: Callable[[str, str, Any, Progress], Dataset | list[Dataset]]
    options: type[SourceOptions] = SourceOptions
    inputs: Callable[[str, Any], list[str] | None] | None = None
    needs_no_source: bool = False


def dataset_name(source: str, options: SourceOptions) -> str:
    """The name given, or the source's last path part without suffix and pattern."""
    parts = [part for part in re.split(r"[/\\]", source.rstrip("/")) if part and not re.search(r"[*?{\[]", part)]
    return options.name or re.sub(r"\.\w+$", "", parts[-1] if parts else "dataset") or "dataset"


def absolute(path: str) -> str:
    """A local path made absolute, so that it is found from anywhere; a remote one as it is."""
    return path if storage.is_remote(path) else os.path.abspath(path.removeprefix("file://"))


def list_files(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """Files with these suffixes: `path` itself, below a folder, by a glob, or by `{00000..00009}`. Sorted.

    Raises:
        DatasetError: there is none.
    """
    found = sorted(file for one in expand_braces(absolute(path)) for file in _matching(one, suffixes))
    if not found:
        raise DatasetError(f"{path} holds no {' or '.join(suffixes)} file; check the path, or name another kind")
    return found


def _matching(path: str, suffixes: tuple[str, ...]) -> list[str]:
    fs, name = storage.filesystem(path)
    scheme = path.partition("://")[0] + "://" if storage.is_remote(path) and not path.startswith("http") else ""
    if path.startswith(("http://", "https://")):
        return [path] if path.partition("?")[0].endswith(suffixes) else []  # a web server lists nothing
    if re.search(r"[*?\[]", name) and not fs.exists(name):
        names = fs.glob(name)
    elif fs.isfile(name):
        return [path] if name.endswith(suffixes) else []
    else:
        names = fs.find(name) if fs.exists(name) else []
    return [scheme + one for one in names if one.endswith(suffixes) and not posix_hidden(one)]


def posix_hidden(path: str) -> bool:
    """Whether the file is one we or a desktop left there (`.partial-…`, `._name`)."""
    return path.rpartition("/")[2].startswith(".")


def expand_braces(path: str) -> list[str]:
    """`{00000..00012}` as WebDataset writes it, and `{a,b}`; anything else as it is."""
    span = re.search(r"\{(\d+)\.\.(\d+)\}", path)
    if span:
        low, high = span.groups()
        middle = [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
    else:
        span = re.search(r"\{([^{}]+,[^{}]*)\}", path)
        if not span:
            return [path]
        middle = span.group(1).split(",")
    return [one for part in middle for one in expand_braces(path[: span.start()] + part + path[span.end() :])]


def fingerprint(path: str) -> dict[str, Any]:
    """What tells a changed file from the same one without reading it: size, and time or tag."""
    fs, name = storage.filesystem(path)
    info = fs.info(name)
    stamp = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
    return {"bytes": info.get("size"), "stamp": str(stamp)}


def fingerprints(path: str) -> dict[str, Any]:
    """The fingerprint of a file, or of every file below a folder, by path."""
    fs, name = storage.filesystem(path)
    if fs.isfile(name):
        return {path: fingerprint(path)}
    found = fs.find(name, detail=True)
    return {
        one: {"bytes": info.get("size"), "stamp": str(info.get("ETag") or info.get("mtime"))}
        for one, info in sorted(found.items())
    }


def write_pairs(
    source: str,
    dest: str,
    options: CopyingOptions,
    pairs: Iterable[dict[str, Any]],
    total: int | None,
    progress: Progress,
    facts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Write pairs (keyword arguments of `ShardWriter.add`) as a dataset."""
    writer = ShardWriter(
        absolute(dest),
        dataset_name(source, options),
        pairs_per_shard=options.pairs_per_shard,
        description=options.description,
        licence=options.licence,
        facts=facts,
    )
    with writer:
        for done, pair in enumerate(pairs, 1):
            writer.add(**pair)
            progress(done, total, "pairs")
    return writer.dataset


def picture(suffix: str, data: bytes) -> Medium:
    """The pair's picture, for `ShardWriter.add`."""
    return ("image", "image", suffix, data)


def pick_caption_column(wanted: str | None, known: Iterable[str], where: str) -> str | None:
    """The column of captions: the one named, else the first usual name there is.

    Raises:
        DatasetError: the one named is not there.
    """
    names = list(known)
    if wanted is not None:
        if wanted not in names:
            raise DatasetError(f'{where} has no column "{wanted}"; it has {", ".join(names[:NAMES_NOT_KEPT])}')
        return wanted
    return next((name for name in CAPTION_COLUMNS if name in names), None)


def alt_captions(value: Any, producer: str | None = None) -> list[dict[str, Any]]:
    """A caption, or a list of them, as `alt` captions with ordinals; no caption for None."""
    texts = value if isinstance(value, list) else [value]
    found = [storable(text if isinstance(text, str) else str(text)) for text in texts if text is not None]
    return [caption(text, ordinal=ordinal, producer=producer) for ordinal, text in enumerate(found)]


def as_meta(record: Mapping[str, Any]) -> bytes:
    """A record as JSON; what JSON cannot say (a date, bytes) as text."""
    return storable(json.dumps(record, ensure_ascii=False, default=str)).encode()


class Keys:
    """Keys that stay unique: `a.jpg` is `a`, and `a.png` beside it `a_png`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, path: str) -> str:
        """A key for a file's relative path; a path that comes again gets a key that was used."""
        stem = path.rpartition("/")[0] + "/" + Path(path).stem if "/" in path else Path(path).stem
        plain, full = safe_key(stem), safe_key(path)
        key = full if plain in self._taken else plain
        self._taken.add(key)
        return key
