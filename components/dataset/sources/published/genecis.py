"""GeneCIS's JSON files: references, conditions and galleries, a file a task, over COCO's or Visual Genome's pictures.

    pairwright ingest genecis ./genecis ./genecis-dataset --set images=./val2017

A file (focus_attribute.json, ...) lists `{reference, condition, target, gallery}`; a picture is named by `val_image_id`
or `image_id`, or by `filepath`, and cut to `instance_bbox` (x, y, width, height in pixels) where it has one, with 70%
of its width and height around it (the released code leaves them out to the right and below) and a square of black.
Each cut picture is one pair without caption; a reference's KEY.json holds its galleries, as keys, the target apart.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from pairwright.components.dataset.captions.text import as_json
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE
from pairwright.components.dataset.sources.folder import Folder
from pairwright.components.dataset.sources.published.json_layout import (
    JsonLayoutOptions,
    images_folder,
    is_layout,
    json_files,
)
from pairwright.components.dataset.sources.source import Progress, picture, write_pairs

FIELDS = {"reference", "condition", "target", "gallery"}
AROUND = 0.7  # of a box's width and height, on either side
LAYOUT = f"GeneCIS's layout ({', '.join(sorted(FIELDS))})"
NAMES = ("val_image_id", "image_id", "filepath", "filename")


class GenecisOptions(JsonLayoutOptions):
    pass


def looks_like_genecis(source: str) -> bool:
    return is_layout(source, _entries)


def genecis_inputs(source: str, options: GenecisOptions) -> list[str]:
    return [*(path for path, _ in json_files(source, _entries, LAYOUT)), images_folder(source, options)]


def read_genecis(source: str, dest: str, options: GenecisOptions, progress: Progress) -> Dataset:
    """Write every picture that a reference, target or gallery names, each once.

    Raises:
        DatasetError: no file is of this layout, or the pictures' folder is not there.
    """
    files = json_files(source, _entries, LAYOUT)
    folder = Folder(images_folder(source, options), options.follow_links)
    pictures: dict[str, Mapping[str, Any]] = {}
    asked: dict[str, list[dict[str, Any]]] = {}
    for path, entries in files:
        task = posixpath.splitext(posixpath.basename(path))[0]
        for one in entries:
            keys = [_key(said, pictures) for said in (one["reference"], one["target"], *one["gallery"])]
            query = {"task": task, "condition": str(one["condition"]), "target": keys[1], "gallery": keys[2:]}
            asked.setdefault(keys[0], []).append(query)
    facts = {"galleries": {posixpath.basename(path): len(entries) for path, entries in files}}
    pairs = _pairs(pictures, asked, folder)
    return write_pairs(source, dest, options, pairs, len(pictures), progress, facts)


def _entries(said: Any) -> list[Any]:
    """The entries of a file of this layout, [] of another."""
    entries = said if isinstance(said, list) else []
    return entries if all(isinstance(one, dict) and set(one) >= FIELDS for one in entries) else []


def _key(said: Any, pictures: dict[str, Mapping[str, Any]]) -> str:
    """The key of a picture as an entry names it; what it names is kept in `pictures`."""
    entry = said if isinstance(said, dict) else {"image_id": said}
    name = next((str(entry[field]) for field in NAMES if entry.get(field) is not None), "unnamed")
    stem = posixpath.splitext(posixpath.basename(name))[0].replace(".", "_") or "unnamed"
    box = entry.get("instance_bbox")
    key = stem if box is None else "-".join([stem, *(f"{float(value):g}".replace(".", "_") for value in box)])
    pictures.setdefault(key, {"name": name, "box": box})
    return key


def _pairs(
    pictures: Mapping[str, Mapping[str, Any]], asked: Mapping[str, list[dict[str, Any]]], folder: Folder
) -> Iterator[dict[str, Any]]:
    files = {posixpath.splitext(posixpath.basename(path))[0]: path for path in folder.listing().files}
    for key, about in pictures.items():
        stem = posixpath.splitext(posixpath.basename(about["name"]))[0]
        path = files.get(stem) or files.get(stem.zfill(12))  # COCO's files are numbers of twelve digits
        data, error = folder.read(path) if path else (b"", "missing_file")
        if not error and about["box"] is not None:
            data, error = _cut(data, about["box"])
        yield {
            "key": key,
            "media": [picture(image_suffix(data) or "jpg", data)] if data else [],
            "origin": about["name"],
            "group": stem,
            "meta": as_json({"galleries": asked.get(key, [])}),
            "error": error or (None if data else EMPTY_IMAGE),
        }


def _cut(data: bytes, box: list[float]) -> tuple[bytes, str | None]:
    """The box of an encoded picture with its surroundings on a black square, as JPEG; or why there is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            whole = image.convert("RGB")
        x, y, width, height = (float(value) for value in box)
        left, top = max(0, round(x - AROUND * width)), max(0, round(y - AROUND * height))
        right = min(whole.width, round(x + (1 + AROUND) * width))
        bottom = min(whole.height, round(y + (1 + AROUND) * height))
        part = whole.crop((left, top, right, bottom))
        side = max(part.size)
        square = Image.new("RGB", (side, side))
        square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
        stream = io.BytesIO()
        square.save(stream, "JPEG", quality=95)
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        return b"", f"bad_box:{type(error).__name__}"
    return stream.getvalue(), None
