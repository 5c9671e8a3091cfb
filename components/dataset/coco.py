"""COCO captions: `captions_val2017.json` and its folder of pictures.

Each picture is one pair with all its captions (usually five), as `alt` with ordinals in order of
annotation id. The picture's entry in the JSON is the pair's metadata. A picture that is not there
is a row with the error "missing_file".
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from components.dataset import storage
from components.dataset.dataset import Dataset
from components.dataset.imagefolder import MISSING_FILE, UNSAFE_PATH
from components.dataset.source import (
    CopyingOptions,
    Keys,
    Progress,
    absolute,
    alt_captions,
    as_meta,
    list_files,
    picture,
    write_pairs,
)
from components.dataset.tar_index import EMPTY_IMAGE, is_unsafe, storable
from components.errors import DatasetError


class CocoOptions(CopyingOptions):
    images: str | None = Field(None, description="folder of the pictures; default: looked for beside the JSON")


def looks_like_coco(source: str) -> bool:
    try:
        return bool(_annotations(source))
    except DatasetError:
        return False


def coco_inputs(source: str, options: CocoOptions) -> list[str]:
    path = _annotations(source)
    return [path, _images_folder(path, read_annotations(path)["images"], options.images)]


def read_coco(source: str, dest: str, options: CocoOptions, progress: Progress) -> Dataset:
    """Copy COCO's pictures and captions into shards, in the JSON's order of pictures.

    Raises:
        DatasetError: no or several captions files, one that is no COCO captions JSON, or no pictures.
    """
    path = _annotations(source)
    content = read_annotations(path)
    folder = _images_folder(path, content["images"], options.images)
    captions: dict[Any, list[str]] = defaultdict(list)
    for one in sorted(content["annotations"], key=lambda one: one.get("id", 0)):
        captions[one.get("image_id")].append(one.get("caption"))
    known = {image.get("id") for image in content["images"]}
    facts = {"annotations_of_no_picture": sum(len(texts) for image, texts in captions.items() if image not in known)}
    pairs = _pairs(folder, content, captions)
    return write_pairs(path, dest, options, pairs, len(content["images"]), progress, facts)


def read_annotations(path: str) -> dict[str, Any]:
    """The captions JSON.

    Raises:
        DatasetError: it is not JSON, or has no pictures with captions.
    """
    content = storage.read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in ("images", "annotations")):
        raise DatasetError(f'{path} is no COCO JSON: it needs the lists "images" and "annotations"')
    if content["annotations"] and not any("caption" in one for one in content["annotations"]):
        raise DatasetError(f"{path} holds no captions (boxes or key points?); name a captions_*.json")
    if not all(isinstance(image, dict) and isinstance(image.get("file_name"), str) for image in content["images"]):
        raise DatasetError(f'{path} has pictures without "file_name"; name a captions_*.json as COCO writes it')
    return content


def _annotations(source: str) -> str:
    path = absolute(source)
    if path.endswith(".json"):
        if not storage.exists(path):
            raise DatasetError(f"{source} does not exist; check the path")
        return path
    found = [one for one in list_files(path, (".json",)) if re.search(r"captions_[^/]*\.json$", one)]
    if len(found) != 1:
        names = ", ".join(posixpath.basename(one) for one in found) or "none"
        raise DatasetError(f"{source} must hold one captions_*.json, it holds {names}; name the file itself")
    return found[0]


def _images_folder(path: str, images: list[dict[str, Any]], named: str | None) -> str:
    """Where the pictures are: the folder named, else the usual ones beside the JSON."""
    base = posixpath.dirname(path)
    split = re.sub(r"^captions_|\.json$", "", posixpath.basename(path))
    if named is not None:
        folders = [absolute(named)]
    else:
        above = posixpath.dirname(base)
        folders = [
            f"{top}/{sub}".rstrip("/") for top in (above, base) for sub in (split, f"images/{split}", "images", "")
        ]
    for folder in folders:
        if any(storage.exists(f"{folder}/{image['file_name']}") for image in images[:20]) or not images:
            return folder
    raise DatasetError(f"{path}: its pictures are not in {' or '.join(folders[:3])}; name their folder with `images`")


def _pairs(folder: str, content: dict[str, Any], captions: dict[Any, list[str]]) -> Iterator[dict[str, Any]]:
    licences = {one.get("id"): one.get("name") or one.get("url") for one in content.get("licenses") or []}
    keys = Keys()
    for image in content["images"]:
        name = image["file_name"]
        data, error = b"", None
        if is_unsafe(name):
            error = UNSAFE_PATH
        elif not storage.exists(f"{folder}/{name}"):
            error = MISSING_FILE
        else:
            data = storage.read_bytes(f"{folder}/{name}")
            error = None if data else EMPTY_IMAGE
        origin = image.get("coco_url") or image.get("flickr_url") or name
        licence = licences.get(image.get("license"))
        yield {
            "key": keys.of(storable(name)),
            "media": [picture(posixpath.splitext(name)[1].lower().lstrip(".") or "jpg", data)] if data else [],
            "captions": alt_captions(captions.get(image.get("id"), []), "COCO"),
            "licence": storable(licence) if isinstance(licence, str) else None,
            "origin": storable(str(origin)),
            "meta": as_meta(image),
            "error": error,
        }
