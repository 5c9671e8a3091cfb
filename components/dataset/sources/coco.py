"""COCO captions: `captions_val2017.json` and its folder of pictures.

Each picture is one pair with all its captions (usually five), as `alt` with ordinals in order of
annotation id. The picture's entry in the JSON is the pair's metadata. Ids match whether they are
written as numbers or as text. What cannot be used is a row with a reason: those of
components/dataset/sources/folder.py, `empty_image`, and

    bad_metadata     an entry that names no file, or whose id another picture has too
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES
from pairwright.components.dataset.sources.captions_of import (
    CaptionText,
    alt_entries,
    captions_of,
    encoding_labels,
    record_captions,
)
from pairwright.components.dataset.sources.folder import UNSAFE_PATH, Folder, suffix_of
from pairwright.components.dataset.sources.imagefolder import BAD_METADATA
from pairwright.components.dataset.sources.source import (
    FolderOptions,
    Progress,
    absolute,
    list_files,
    picture,
    write_pairs,
)
from pairwright.components.errors import DatasetError


class CocoOptions(FolderOptions):
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
    folder = Folder(_images_folder(path, content["images"], options.images), options.follow_links)
    captions, unread = _captions_by_image(content["annotations"])
    images = _by_file(content["images"])
    known = {id_of(image.get("id")) for _, group in images for image in group}
    lost = sum(len(texts) for image, texts in captions.items() if image not in known)
    notes = [f"captions of no picture in the JSON: {lost:,}"] if lost else []
    if unread:
        notes.append(f"annotations without a caption or a picture's id: {unread:,}")
    facts = {"annotations_of_no_picture": lost}
    pairs = _pairs(folder, content, images, captions)
    return write_pairs(path, dest, options, pairs, len(images), progress, facts, notes)


def read_annotations(path: str) -> dict[str, Any]:
    """The captions JSON.

    Raises:
        DatasetError: it is not JSON, or has no pictures with captions.
    """
    try:
        content = parse_json(storage.read_bytes(path))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); restore or rebuild it") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in ("images", "annotations")):
        raise DatasetError(f'{path} is no COCO JSON: it needs the lists "images" and "annotations"')
    annotations = content["annotations"]
    if annotations and not any(isinstance(one, dict) and record_captions(one) for one in annotations):
        raise DatasetError(f"{path} holds no captions (boxes or key points?); name a captions_*.json")
    if content["images"] and not any(_file_name(image) for image in content["images"]):
        raise DatasetError(f'{path} has pictures without "file_name"; name a captions_*.json as COCO writes it')
    return content


def id_of(value: Any) -> str | None:
    """An id as it is compared: 7, 7.0 and "7" are one; None for what is no id (null, a list)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value != value:
        return None
    return str(value).strip() or None


def _file_name(image: Any) -> str | None:
    name = image.get("file_name") if isinstance(image, dict) else None
    return name if isinstance(name, str) and name else None


def _captions_by_image(annotations: list[Any]) -> tuple[dict[str, list[CaptionText]], int]:
    """Captions by the id of their picture, in order of annotation id; and how many annotations held none."""
    found: dict[str, list[CaptionText]] = defaultdict(list)
    unread = 0
    for one in sorted(annotations, key=_order):
        image = id_of(one.get("image_id")) if isinstance(one, dict) else None
        texts = (captions_of(one["caption"]) if "caption" in one else record_captions(one)) if image else []
        if image is None or not texts:
            unread += 1
        else:
            found[image] += texts
    return found, unread


def _order(annotation: Any) -> tuple[bool, float, str]:
    """Numbers in their order, then the rest as text."""
    name = id_of(annotation.get("id")) if isinstance(annotation, dict) else None
    number = re.fullmatch(r"-?\d{1,18}(\.\d+)?", name or "")
    return (number is None, float(name) if number and name else 0.0, name or "")


def _by_file(images: list[Any]) -> list[tuple[str | None, list[dict[str, Any]]]]:
    """Entries of one file together, in order of first appearance; an entry that names none alone, without a name."""
    found: dict[Any, tuple[str | None, list[dict[str, Any]]]] = {}
    for number, image in enumerate(images):
        name = _file_name(image)
        entry = image if isinstance(image, dict) else {"entry": image}
        found.setdefault(posixpath.normpath(name) if name else number, (name, []))[1].append(entry)
    return list(found.values())


def _annotations(source: str) -> str:
    path = absolute(source)
    if path.lower().endswith(".json"):
        if not storage.exists(path):
            raise DatasetError(f"{source} does not exist; check the path")
        return path
    found = [one for one in list_files(path, (".json",)) if re.search(r"captions_[^/]*\.json$", one, re.I)]
    if len(found) != 1:
        names = ", ".join(posixpath.basename(one) for one in found) or "none"
        raise DatasetError(f"{source} must hold one captions_*.json, it holds {names}; name the file itself")
    return found[0]


def _images_folder(path: str, images: list[Any], named: str | None) -> str:
    """Where the pictures are: the folder named, else the usual ones beside the JSON."""
    base = posixpath.dirname(path)
    split = re.sub(r"^captions_|\.json$", "", posixpath.basename(path), flags=re.I)
    if named is not None:
        folders = [absolute(named)]
    else:
        above = posixpath.dirname(base)
        folders = [
            f"{top}/{sub}".rstrip("/") for top in (above, base) for sub in (split, f"images/{split}", "images", "")
        ]
    places = [place for name in map(_file_name, images) if name and (place := Folder(base).place(name))]
    for folder in folders:
        if storage.exists(folder) and (not images or any(_exists(f"{folder}/{place}") for place in places)):
            return folder
    raise DatasetError(f"{path}: its pictures are not in {' or '.join(folders[:3])}; name their folder with `images`")


def _exists(path: str) -> bool:
    try:
        return storage.exists(path)
    except (OSError, ValueError):  # a name no file system takes
        return False


def _pairs(
    folder: Folder,
    content: dict[str, Any],
    images: list[tuple[str | None, list[dict[str, Any]]]],
    captions: dict[str, list[CaptionText]],
) -> Iterator[dict[str, Any]]:
    licences = {id_of(one.get("id")): one.get("name") or one.get("url") for one in _dicts(content.get("licenses"))}
    files_of = Counter(name for _, group in images for name in {id_of(one.get("id")) for one in group})
    keys = Keys()
    for number, (name, group) in enumerate(images):
        ids = list(dict.fromkeys(id_of(one.get("id")) for one in group))
        shared = next((one for one in ids if one is not None and files_of[one] > 1), None)
        data, error = _picture(folder, name, number)
        if shared is not None:
            error = f"{BAD_METADATA}:id {shared} is of several pictures"
        texts = [text for one in ids if one is not None and not shared for text in captions.get(one, [])]
        first = group[0]
        origin = first.get("coco_url") or first.get("flickr_url") or name or f"images:{number}"
        licence = licences.get(id_of(first.get("license")))
        stated = suffix_of(name or "")
        suffix = stated if stated in IMAGE_SUFFIXES else image_suffix(data) or "jpg"
        yield {
            "key": keys.of_path(name) if name else keys.of_name(f"images-{number}"),
            "media": [picture(suffix, data)] if data else [],
            "captions": alt_entries(texts, "COCO"),
            "labels": encoding_labels(texts),
            "licence": storable(licence) if isinstance(licence, str) else None,
            "origin": storable(str(origin)),
            "meta": as_json(first if len(group) == 1 else group),
            "error": error,
        }


def _picture(folder: Folder, name: str | None, number: int) -> tuple[bytes, str | None]:
    if name is None:
        return b"", f"{BAD_METADATA}:entry {number} of images names no file"
    place = folder.place(name) or _inside_by_name(folder, name)
    if place is None:
        return b"", UNSAFE_PATH
    data, error = folder.read(place)
    return data, error or (None if data else EMPTY_IMAGE)


def _inside_by_name(folder: Folder, name: str) -> str | None:
    """A name that leaves the folder and comes back by the folder's own name (`../images/0.jpg`)."""
    own = posixpath.basename(folder.root)
    return folder.place(posixpath.relpath(posixpath.join("/", own, name), posixpath.join("/", own)))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
