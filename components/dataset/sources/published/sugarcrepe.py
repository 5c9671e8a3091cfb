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

from pairwright.components.dataset.captions.text import as_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder
from pairwright.components.dataset.sources.published.json_layout import (
    JsonLayoutOptions,
    images_folder,
    is_layout,
    json_files,
)
from pairwright.components.dataset.sources.source import Progress, picture, write_pairs

TEXTS = {"caption": "alt", "caption2": "paraphrase", "negative_caption": "negative"}
BAD_ENTRY = "bad_entry"
LAYOUT = "SugarCrepe's layout (filename, caption, negative_caption)"


class SugarCrepeOptions(JsonLayoutOptions):
    pass


def looks_like_sugarcrepe(source: str) -> bool:
    return is_layout(source, _entries)


def sugarcrepe_inputs(source: str, options: SugarCrepeOptions) -> list[str]:
    return [*(path for path, _ in json_files(source, _entries, LAYOUT)), images_folder(source, options)]


def read_sugarcrepe(source: str, dest: str, options: SugarCrepeOptions, progress: Progress) -> Dataset:
    """Write every entry as a pair, file by file in the order of their names.

    Raises:
        DatasetError: no file is of this layout, or the pictures' folder is not there.
    """
    files = json_files(source, _entries, LAYOUT)
    folder = Folder(images_folder(source, options), options.follow_links)
    kinds = {posixpath.splitext(posixpath.basename(path))[0]: len(entries) for path, entries in files}
    pairs = _pairs(files, folder)
    return write_pairs(source, dest, options, pairs, sum(kinds.values()), progress, {"entries": kinds})


def _entries(said: Any) -> list[Any]:
    """The entries of a file of this layout, [] of another."""
    entries = list(said.values()) if isinstance(said, dict) else said if isinstance(said, list) else []
    mine = entries and isinstance(entries[0], dict) and {"filename", "caption", "negative_caption"} <= set(entries[0])
    return entries if mine else []


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
