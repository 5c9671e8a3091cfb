"""SugarCrepe and SugarCrepe++: JSON files of a picture's right captions and a wrong one, a file a kind of wrong.

    pairwright ingest sugarcrepe ./scpp/data ./sugarcrepe --set images=./val2017

SugarCrepe (Hsieh et al., 2023) maps numbers to `{filename, caption, negative_caption}`; SugarCrepe++ (Dumpala et al.,
2024) lists such entries with `caption2`, a second right caption. An entry is a pair: `alt`, `paraphrase` where there
is one, and `negative`, whose producer is `sugarcrepe/` and the file's name. A picture that is not there is a row with a
reason, as components/dataset/sources/folder.py gives it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder
from pairwright.components.dataset.sources.source import (
    FolderOptions,
    Progress,
    absolute,
    list_files,
    picture,
    write_pairs,
)
from pairwright.components.errors import DatasetError

TEXTS = {"caption": "alt", "caption2": "paraphrase", "negative_caption": "negative"}
BAD_ENTRY = "bad_entry"


class SugarCrepeOptions(FolderOptions):
    images: str | None = Field(None, description="folder of the pictures; default: `images` or `val2017` beside")


def looks_like_sugarcrepe(source: str) -> bool:
    try:
        return bool(_files(source))
    except DatasetError:
        return False


def sugarcrepe_inputs(source: str, options: SugarCrepeOptions) -> list[str]:
    return [*(path for path, _ in _files(source)), _images(source, options)]


def read_sugarcrepe(source: str, dest: str, options: SugarCrepeOptions, progress: Progress) -> Dataset:
    """Write every entry as a pair, file by file in the order of their names.

    Raises:
        DatasetError: no file is of this layout, or the pictures' folder is not there.
    """
    files = _files(source)
    folder = Folder(_images(source, options), options.follow_links)
    kinds = {posixpath.splitext(posixpath.basename(path))[0]: len(entries) for path, entries in files}
    pairs = _pairs(files, folder)
    return write_pairs(source, dest, options, pairs, sum(kinds.values()), progress, {"entries": kinds})


def _files(source: str) -> list[tuple[str, list[Any]]]:
    """(path, entries) of each JSON of the layout, by path.

    Raises:
        DatasetError: there is none.
    """
    found = []
    for path in list_files(source, (".json",)):
        try:
            said = parse_json(storage.read_bytes(path))
        except ValueError:
            continue
        entries = list(said.values()) if isinstance(said, dict) else said if isinstance(said, list) else []
        if entries and isinstance(entries[0], dict) and {"filename", "caption", "negative_caption"} <= set(entries[0]):
            found.append((path, entries))
    if not found:
        raise DatasetError(
            f"{source} holds no JSON of SugarCrepe's layout (filename, caption, negative_caption); check the path"
        )
    return found


def _images(source: str, options: SugarCrepeOptions) -> str:
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


def _pairs(files: list[tuple[str, list[Any]]], folder: Folder) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for path, entries in files:
        kind = posixpath.splitext(posixpath.basename(path))[0]
        for number, entry in enumerate(entries):
            said = entry if isinstance(entry, dict) else {}
            name = said.get("filename")
            data, error = _picture(folder, name)
            texts = {source: said.get(field) for field, source in TEXTS.items()}
            captions = [
                caption(storable(text), source, 0, "en", f"sugarcrepe/{kind}")
                for source, text in texts.items()
                if isinstance(text, str) and text.strip()
            ]
            if error is None and not {"alt", "negative"} <= {one["source"] for one in captions}:
                error = f"{BAD_ENTRY}:no caption, or no negative_caption"
            yield {
                "key": keys.of_name(f"{kind}-{number}"),
                "media": [picture(image_suffix(data) or "jpg", data)] if data else [],
                "captions": captions,
                "labels": [("kind", kind)],
                "origin": storable(str(name)),
                "group": storable(str(name)),
                "meta": as_json(entry),
                "error": error,
            }


def _picture(folder: Folder, name: Any) -> tuple[bytes, str | None]:
    if not isinstance(name, str) or not name:
        return b"", f"{BAD_ENTRY}:no filename"
    place = folder.place(name)
    if place is None:
        return b"", UNSAFE_PATH
    data, error = folder.read(place)
    return data, error or (None if data else EMPTY_IMAGE)
