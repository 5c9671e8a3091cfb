"""What layouts of JSON files beside a folder of pictures share: the files found by their shape, and the folder."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import parse_json
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.sources.source import FolderOptions, absolute, list_files
from pairwright.components.errors import DatasetError

Entries = Callable[[Any], list[Any]]


class JsonLayoutOptions(FolderOptions):
    images: str | None = Field(None, description="folder of the pictures; default: `images` or `val2017` beside")


def json_files(source: str, entries_of: Entries, layout: str) -> list[tuple[str, list[Any]]]:
    """(path, entries) of each JSON of the layout, by path; `entries_of` says none of a file of another.

    Raises:
        DatasetError: there is none.
    """
    found = []
    for path in list_files(source, (".json",)):
        try:
            entries = entries_of(parse_json(storage.read_bytes(path)))
        except ValueError:
            continue
        if entries:
            found.append((path, entries))
    if not found:
        raise DatasetError(f"{source} holds no JSON of {layout}; check the path")
    return found


def is_layout(source: str, entries_of: Entries) -> bool:
    try:
        return bool(json_files(source, entries_of, ""))
    except DatasetError:
        return False


def images_folder(source: str, options: JsonLayoutOptions) -> str:
    """The pictures' folder: the one named, or one of the usual names beside the files or above.

    Raises:
        DatasetError: there is none.
    """
    if options.images is not None:
        return absolute(options.images)
    base = absolute(source)
    base = posixpath.dirname(base) if base.lower().endswith(".json") else base
    for folder in (base, posixpath.dirname(base)):
        for name in ("images", "val2017"):
            if storage.exists(f"{folder}/{name}"):
                return f"{folder}/{name}"
    raise DatasetError(f"{source}: no folder images or val2017 beside it; name the pictures' folder with `images`")
