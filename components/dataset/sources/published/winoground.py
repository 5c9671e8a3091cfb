"""Winoground's layout: lines of examples, each with several pictures and a caption for each, alike but for one thing.

    examples.jsonl      {"id": 0, "caption_0": "an old person kisses a young person", "caption_1": "a young ...",
                         "image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "collapsed_tag": "Object"}
    images/ex_0_img_0.png

Each picture with its own caption is one pair, and the example is its label `bag` and its group: who is told apart
from whom, which the benchmark `caption_bags` asks (Thrush et al., 2022). JSON lines or one JSON list; `image_0`,
`image_1`, ... with or without suffix, the pictures in `images/` or beside. Other fields become labels where they hold
a word. What cannot be used is a row with a reason: those of components/dataset/sources/folder.py, `empty_image`, and

    bad_metadata     an example without a picture's name or without its caption
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, decode_text, parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES
from pairwright.components.dataset.sources.captions_of import alt_entries, captions_of, encoding_labels
from pairwright.components.dataset.sources.folder import MISSING_FILE, UNSAFE_PATH, Folder, suffix_of
from pairwright.components.dataset.sources.imagefolder import BAD_METADATA
from pairwright.components.dataset.sources.published.heads import names_fields
from pairwright.components.dataset.sources.source import FolderOptions, Progress, absolute, picture, write_pairs
from pairwright.components.errors import DatasetError

BAG = "bag"
FOLDERS = ("images", "", "image")
_IMAGE = re.compile(r"image_(\d+)")


class WinogroundOptions(FolderOptions):
    images: str | None = Field(None, description="folder of the pictures; default: images/ beside the JSON")


def looks_like_winoground(source: str) -> bool:
    named = source.lower().endswith((".json", ".jsonl"))
    return named and names_fields(source, "image_0", "caption_0", "image_1", "caption_1")


def winoground_inputs(source: str, options: WinogroundOptions) -> list[str]:
    path = absolute(source)
    return [path, _images_folder(path, read_examples(path), options.images)]


def read_winoground(source: str, dest: str, options: WinogroundOptions, progress: Progress) -> Dataset:
    """Copy every example's pictures and captions into shards.

    Raises:
        DatasetError: it holds no such example, or its pictures are not there.
    """
    path = absolute(source)
    examples = read_examples(path)
    folder = Folder(_images_folder(path, examples, options.images), options.follow_links)
    pairs = list(_pairs(folder, examples))
    return write_pairs(path, dest, options, pairs, len(pairs), progress, {"bags": len(examples)})


def read_examples(path: str) -> list[dict[str, Any]]:
    """The examples.

    Raises:
        DatasetError: it is not JSON, or no example has pictures and captions by number.
    """
    data = storage.read_bytes(path)
    try:
        content = parse_json(data) if data.lstrip()[:1] == b"[" else _lines(data)
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); restore it or fetch it again") from None
    found = [one for one in content if isinstance(one, dict) and len(_numbers(one)) > 1 and "caption_0" in one]
    if not found:
        raise DatasetError(f"{path} holds no example with image_0, caption_0, image_1 and caption_1")
    return found


def _lines(data: bytes) -> list[Any]:
    return [parse_json(line.encode()) for line in decode_text(data).text.splitlines() if line.strip()]


def _numbers(example: dict[str, Any]) -> list[int]:
    return sorted(int(match[1]) for name in example if (match := _IMAGE.fullmatch(name)))


def _images_folder(path: str, examples: list[dict[str, Any]], named: str | None) -> str:
    base = posixpath.dirname(path)
    folders = [absolute(named)] if named else [f"{base}/{sub}".rstrip("/") for sub in FOLDERS]
    names = [example.get("image_0") for example in examples[:20]]
    for folder in folders:
        if any(_read(Folder(folder), name)[2] is None for name in names):
            return folder
    raise DatasetError(f"{path}: its pictures are not in {folders[0]}; unpack them, or name their folder with `images`")


def _read(folder: Folder, name: Any) -> tuple[str, bytes, str | None]:
    """A picture by its name, with or without suffix: where it lies, its bytes, and why there are none."""
    if not isinstance(name, str) or folder.place(name) is None:
        return "", b"", UNSAFE_PATH if isinstance(name, str) else f"{BAD_METADATA}:no picture is named"
    place = folder.place(name) or ""
    tried = [place] if suffix_of(place) in IMAGE_SUFFIXES else [f"{place}.{one}" for one in ("png", "jpg", "jpeg")]
    for one in tried:
        data, error = folder.read(one)
        if error != MISSING_FILE:
            return one, data, error or (None if data else EMPTY_IMAGE)
    return tried[0], b"", MISSING_FILE


def _pairs(folder: Folder, examples: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for position, example in enumerate(examples):
        bag = str(example.get("id", position))
        told = {name: value for name, value in example.items() if not re.fullmatch(r"(image|caption)_\d+|id", name)}
        tags = [(name, storable(value)) for name, value in told.items() if isinstance(value, str) and value]
        for number in _numbers(example):
            place, data, error = _read(folder, example[f"image_{number}"])
            texts = captions_of(example.get(f"caption_{number}"))
            if error is None and not texts:
                error = f"{BAD_METADATA}:example {bag} has no caption_{number}"
            yield {
                "key": keys.of_name(f"{bag}-{number}"),
                "media": [picture(image_suffix(data) or suffix_of(place), data)] if data else [],
                "captions": alt_entries(texts),
                "labels": [(BAG, storable(bag)), *tags, *encoding_labels(texts)],
                "group": storable(bag),
                "origin": storable(place) or None,
                "meta": as_json(example),
                "error": error,
            }
