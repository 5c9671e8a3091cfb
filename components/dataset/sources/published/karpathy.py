"""Karpathy's split of COCO, Flickr30K and Flickr8K: `dataset_coco.json` and the pictures beside it.

    pairwright ingest karpathy dataset_flickr30k.json data/flickr30k-test --set images=flickr30k-images

One JSON says of every picture its file, its split (`train`, `restval`, `val`, `test`) and its five sentences
(Karpathy & Fei-Fei, 2015); figures on "COCO 5K" and "Flickr30K 1K" are of its `test`. Each picture of the split asked
for is one pair with all its sentences, as `alt` in their order. What cannot be used is a row with a reason: those
of components/dataset/sources/folder.py, `empty_image`, and

    bad_metadata     an entry that names no file
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES
from pairwright.components.dataset.sources.captions_of import alt_entries, captions_of, encoding_labels
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder, suffix_of
from pairwright.components.dataset.sources.imagefolder import BAD_METADATA
from pairwright.components.dataset.sources.published.heads import names_fields
from pairwright.components.dataset.sources.source import FolderOptions, Progress, absolute, picture, write_pairs
from pairwright.components.errors import DatasetError, nearest


class KarpathyOptions(FolderOptions):
    split: str = Field("test", description="val, test, train or restval; train+restval is what papers train on")
    images: str | None = Field(None, description="folder of the pictures; default: looked for beside the JSON")


def looks_like_karpathy(source: str) -> bool:
    return source.lower().endswith(".json") and names_fields(source, "images", "sentences", "split")


def karpathy_inputs(source: str, options: KarpathyOptions) -> list[str]:
    entries = _of_split(source, options.split)
    return [absolute(source), _images_folder(absolute(source), entries, options.images)]


def read_karpathy(source: str, dest: str, options: KarpathyOptions, progress: Progress) -> Dataset:
    """Copy one split's pictures and sentences into shards, in the JSON's order.

    Raises:
        DatasetError: it is no such JSON, has no such split, or its pictures are not there.
    """
    path = absolute(source)
    entries = _of_split(source, options.split)
    folder = Folder(_images_folder(path, entries, options.images), options.follow_links)
    facts = {"karpathy_split": options.split}
    return write_pairs(path, dest, options, _pairs(folder, entries), len(entries), progress, facts)


def read_split(source: str) -> list[dict[str, Any]]:
    """The JSON's entries of pictures.

    Raises:
        DatasetError: it is not JSON, or no list of pictures with sentences and a split.
    """
    path = absolute(source)
    try:
        content = parse_json(storage.read_bytes(path))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); restore it or fetch it again") from None
    images = content.get("images") if isinstance(content, dict) else None
    entries = [one for one in images if isinstance(one, dict)] if isinstance(images, list) else []
    if not any("sentences" in one and "split" in one for one in entries):
        raise DatasetError(f'{path} is no split of Karpathy\'s: it needs "images", each with "sentences" and "split"')
    return entries


def _of_split(source: str, wanted: str) -> list[dict[str, Any]]:
    entries = read_split(source)
    counts = Counter(str(one.get("split")) for one in entries)
    for name in wanted.split("+"):
        if name not in counts:
            raise DatasetError(f'{source} has no split "{name}"{nearest(name, counts)}')
    return [one for one in entries if str(one.get("split")) in wanted.split("+")]


def _names(entry: dict[str, Any]) -> list[str]:
    """Where an entry's picture may lie: by its folder and name (COCO), or by its name alone."""
    name, below = entry.get("filename"), entry.get("filepath")
    if not isinstance(name, str) or not name:
        return []
    return [posixpath.join(below, name), name] if isinstance(below, str) and below else [name]


def _images_folder(path: str, entries: list[dict[str, Any]], named: str | None) -> str:
    """Where the pictures are: the folder named, else the usual ones beside the JSON."""
    base, stem = posixpath.dirname(path), posixpath.splitext(posixpath.basename(path))[0].removeprefix("dataset_")
    above = posixpath.dirname(base)
    usual = ("", "images", f"{stem}-images", f"{stem}_images", stem, f"{stem}/images")
    folders = [absolute(named)] if named else [f"{top}/{sub}".rstrip("/") for top in (base, above) for sub in usual]
    for folder in folders:
        places = [place for entry in entries[:50] for name in _names(entry) if (place := Folder(folder).place(name))]
        if any(storage.exists(f"{folder}/{place}") for place in places):
            return folder
    raise DatasetError(f"{path}: its pictures are not in {' or '.join(folders[:3])}; name their folder with `images`")


def _pairs(folder: Folder, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for number, entry in enumerate(entries):
        names = _names(entry)
        data, error = _picture(folder, names, number)
        texts = captions_of(entry.get("sentences"))
        stated = suffix_of(names[-1]) if names else ""
        suffix = stated if stated in IMAGE_SUFFIXES else image_suffix(data) or "jpg"
        yield {
            "key": keys.of_path(names[0]) if names else keys.of_name(f"images-{number}"),
            "media": [picture(suffix, data)] if data else [],
            "captions": alt_entries(texts, "Karpathy"),
            "labels": [("split", storable(str(entry.get("split")))), *encoding_labels(texts)],
            "origin": storable(names[0] if names else f"images:{number}"),
            "meta": as_json(entry),
            "error": error,
        }


def _picture(folder: Folder, names: list[str], number: int) -> tuple[bytes, str | None]:
    if not names:
        return b"", f"{BAD_METADATA}:entry {number} of images names no file"
    places = [place for name in names if (place := folder.place(name))]
    if not places:
        return b"", UNSAFE_PATH
    found = [folder.read(place) for place in places]
    data, error = next((one for one in found if one[1] is None), found[0])
    return data, error or (None if data else EMPTY_IMAGE)
