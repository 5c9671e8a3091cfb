"""What an ingest source is, and what several of them share: options, listing, rows from records.

A source is a name, a way to recognise itself, options with checked ranges, and a function that
makes a dataset under `dest`. The registry of sources is components/dataset/ingest.py.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.writer import Medium, ShardWriter
from pairwright.components.dataset.sources.captions_of import caption_fields
from pairwright.components.dataset.sources.folder import Folder, count_by_suffix, hidden, reaching
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.settings import Settings

Progress = Callable[[int, int | None, str], None]  # done, total if known, what is counted
MOST_NAMED = 1_000_000  # paths that braces may stand for
NOTES = "notes"  # in a dataset's facts: what its ingest has to say


class SourceOptions(Settings):
    """What every source takes."""

    name: str | None = Field(None, description="the dataset's name; default: the source's last path part")
    description: str = Field("", description="what the dataset is, in a sentence")
    licence: str = Field("", description="licence of the dataset as a whole, as an SPDX name where there is one")


class CopyingOptions(SourceOptions):
    """What a source takes that writes shards of its own."""

    pairs_per_shard: int = Field(1000, ge=1, le=1_000_000, description="rows a tar")


class FolderOptions(CopyingOptions):
    """What a source takes that copies pictures out of a folder."""

    follow_links: bool = Field(False, description="read pictures through links that lead out of the folder")


@dataclass(frozen=True)
class Source:
    """One kind of source.

    Attributes:
        summary: one line for `pairwright ingest --help`.
        looks_like: whether a path (local or remote) is of this kind; looks only, reads little.
        read: (source, dest, options, progress) -> the dataset, or datasets.
        options: the settings model of its options.
        captions: where its captions are looked for, and how to name them where they are not found.
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
    captions: str = ""


def dataset_name(source: str, options: SourceOptions) -> str:
    """The name given, or the source's last path part without a file's suffix; of a pattern what stands before it."""
    parts = [part for part in re.split(r"[/\\]", source.rstrip("/")) if part]
    if not _is_there(source):
        parts = [part for part in parts if not re.search(r"[*?{\[]", part)]
    last = parts[-1] if parts else "dataset"
    named = last if not storage.is_remote(source) and os.path.isdir(source) else re.sub(r"\.\w+$", "", last)
    return options.name or named or "dataset"


def absolute(path: str) -> str:
    """A local path made absolute, so that it is found from anywhere; a remote one as it is."""
    return path if storage.is_remote(path) else os.path.abspath(path.removeprefix("file://"))


def _is_there(path: str) -> bool:
    return not path.startswith(("http://", "https://")) and storage.exists(absolute(path))


def list_files(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """Files with these suffixes, in any case: `path` itself, below a folder, by a glob, or by `{00000..00009}`. Sorted.

    Raises:
        DatasetError: there is none, or none of a name that braces stand for.
    """
    whole = absolute(path)
    there, rest = _literal_part(whole)
    named = [there + one for one in expand_braces(rest)]
    found = {one: _matching(one, suffixes) for one in named}
    missing = [one for one, files in found.items() if not files]
    if missing and len(named) > 1:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DatasetError(f"{path} names {len(named)} files, of which {len(missing)} are missing: {first}; fetch them")
    if missing:
        holds = what_lies_in(whole)
        raise DatasetError(f"{path} holds no {' or '.join(suffixes)} file{holds}; check the path, or name another kind")
    return sorted({file for files in found.values() for file in files})


def what_lies_in(path: str) -> str:
    """`; it holds 2 .zip, 1 .csv` of a local folder, to end an error with."""
    if storage.is_remote(path) or not os.path.isdir(path):
        return ""
    return f"; it holds {count_by_suffix(Folder(path).listing().files) or 'no file'}"


def _matching(path: str, suffixes: tuple[str, ...]) -> list[str]:
    with reaching(path):
        return _found(path, suffixes)


def _found(path: str, suffixes: tuple[str, ...]) -> list[str]:
    fs, name = storage.filesystem(path)
    scheme = path.partition("://")[0] + "://" if storage.is_remote(path) and not path.startswith("http") else ""
    if path.startswith(("http://", "https://")):
        return [path] if path.partition("?")[0].lower().endswith(suffixes) else []  # a web server lists nothing
    if re.search(r"[*?\[]", name) and not fs.exists(name):
        names = fs.glob(name) if storage.is_remote(path) else _glob(name)
    elif fs.isfile(name):
        return [path] if name.lower().endswith(suffixes) else []
    else:
        names = fs.find(name) if fs.exists(name) else []
    return [scheme + one for one in names if one.lower().endswith(suffixes) and not hidden(one)]


def _glob(pattern: str) -> list[str]:
    """Files that match; a folder that is there by its literal name is no pattern, whatever its name holds."""
    root, rest = _literal_part(pattern)
    found = glob.glob(rest.lstrip("/"), root_dir=root or "/", recursive=True)
    return [path for one in found if os.path.isfile(path := os.path.join(root or "/", one))]


def _literal_part(path: str) -> tuple[str, str]:
    """A local path's longest part that is there by its literal name, and what follows; a remote one is all pattern."""
    if storage.is_remote(path):
        return "", path
    parts = path.split("/")
    known = next((n for n in range(len(parts), 0, -1) if os.path.exists("/".join(parts[:n]) or "/")), 0)
    there = "/".join(parts[:known])
    return there, path[len(there) :]


def expand_braces(path: str) -> list[str]:
    """`{00000..00012}` as WebDataset writes it, and `{a,b}`; anything else as it is.

    Raises:
        DatasetError: it stands for nothing, or for more than a million paths.
    """
    made = [path]
    while _BRACES.search(made[0]):  # each stands for paths with as many braces left as the others
        wider: list[str] = []
        for one in made:
            wider += _expand_first(one, path)
            if len(wider) > MOST_NAMED:
                raise DatasetError(f"{path} stands for more than {MOST_NAMED:,} files; name a folder or a glob")
        made = wider
    return made


_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]+,[^{}]*))\}")


def _expand_first(path: str, whole: str) -> list[str]:
    span = _BRACES.search(path)
    if span is None:
        return [path]
    low, high, words = span.groups()
    if words is not None:
        middle = words.split(",")
    elif not int(low) <= int(high) < int(low) + MOST_NAMED:
        raise DatasetError(f"{whole}: {span.group()} stands for no file, or for over {MOST_NAMED:,}; count upwards")
    else:
        middle = [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
    return [path[: span.start()] + part + path[span.end() :] for part in middle]


def fingerprint(path: str) -> dict[str, Any]:
    """What tells a changed file from the same one without reading it: size, and time or tag."""
    fs, name = storage.filesystem(path)
    info = fs.info(name)
    stamp = info.get("ETag") or info.get("mtime") or info.get("LastModified") or info.get("created")
    return {"bytes": info.get("size"), "stamp": str(stamp)}


def fingerprints(path: str) -> dict[str, Any]:
    """The fingerprint of a file, or of every file below a folder, by path."""
    fs, name = storage.filesystem(path)
    with reaching(path):
        if fs.isfile(name):
            return {path: fingerprint(path)}
    if not storage.is_remote(path):
        return Folder(name).fingerprints()
    with reaching(path):
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
    notes: Sequence[str] = (),
) -> Dataset:
    """Write pairs (keyword arguments of `ShardWriter.add`) as a dataset; `notes` are lines for whoever ingests."""
    writer = ShardWriter(
        absolute(dest),
        dataset_name(source, options),
        pairs_per_shard=options.pairs_per_shard,
        description=options.description,
        licence=options.licence,
        facts={**(facts or {}), **({NOTES: list(notes)} if notes else {})},
    )
    with writer:
        for done, pair in enumerate(pairs, 1):
            writer.add(**pair)
            progress(done, total, "pairs")
    return writer.dataset


def picture(suffix: str, data: bytes) -> Medium:
    """The pair's picture, for `ShardWriter.add`."""
    return ("image", "image", suffix, data)


def check_column(wanted: str | None, known: Iterable[str], where: str) -> None:
    """Refuse a column that an option names and nobody has.

    Raises:
        DatasetError: naming the nearest.
    """
    names = list(dict.fromkeys(known))
    if wanted is not None and wanted not in names:
        raise DatasetError(f'{where} has no column "{wanted}"{nearest(wanted, names)}')


def caption_columns(wanted: str | None, known: Iterable[str], where: str) -> list[str]:
    """The columns that captions are read from: the one named, else all with a usual name.

    Raises:
        DatasetError: the one named is not there.
    """
    names = list(known)
    check_column(wanted, names, where)
    return caption_fields(names) if wanted is None else [wanted]
