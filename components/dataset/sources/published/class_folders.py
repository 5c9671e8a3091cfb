"""A folder a class, as ImageNet lies on disk: the folder's name is the class, a file beside says its words.

    val/n01440764/ILSVRC2012_val_00000293.JPEG        pictures, in folders of their class
    LOC_synset_mapping.txt                            n01440764 tench, Tinca tinca

Each picture is one pair with the labels `class`, the first of its words, and `wnid`, the folder's name, and no
caption: a class is asked for by prompts (zero_shot: {label: class}). Two classes of one word (ImageNet's cranes) stay
two: their folders' names follow the word. Words are read of a file of lines `FOLDER words`
(also with a tab or a comma), of JSON `{"0": ["n01440764", "tench"]}` as torchvision and Keras have it or `{"n01440764":
"tench"}`, or of lines in the folders' order (`classnames.txt`). Without one a folder is called by its own name.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import decode_text, parse_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, IMAGE_SUFFIXES
from pairwright.components.dataset.sources.folder import Folder, suffix_of
from pairwright.components.dataset.sources.imagefolder import NOT_A_PICTURE
from pairwright.components.dataset.sources.source import FolderOptions, Progress, absolute, picture, write_pairs
from pairwright.components.errors import DatasetError, nearest

NAMES = (
    "LOC_synset_mapping.txt", "imagenet_class_index.json", "synset_words.txt", "map_clsloc.txt", "classnames.txt",
    "classes.txt", "class_names.txt", "class_names.json", "classes.json", "labels.txt", "words.txt",
)  # fmt: skip
CLASS, FOLDER = "class", "wnid"


class ClassFoldersOptions(FolderOptions):
    names: str | None = Field(None, description="file of the classes' words; default: looked for in and beside SOURCE")


def looks_like_class_folders(source: str) -> bool:
    """Pictures in folders, all of them, and a file of the classes' words: a folder alone may be anything."""
    try:
        root = absolute(source)
        if storage.is_remote(root) or not storage.exists(root) or _names_file(root, None) is None:
            return False
        files = _pictures(Folder(root))
        return bool(files) and all(path.count("/") == 1 for path in files)
    except (DatasetError, OSError):
        return False


def class_folders_inputs(source: str, options: ClassFoldersOptions) -> list[str]:
    root = absolute(source).rstrip("/")
    names = _names_file(root, options.names)
    return [root, *([names] if names else [])]


def read_class_folders(source: str, dest: str, options: ClassFoldersOptions, progress: Progress) -> Dataset:
    """Copy pictures into shards, folder by folder.

    Raises:
        DatasetError: no folder holds a picture, or the file of words says nothing of a folder.
    """
    folder = Folder(absolute(source).rstrip("/"), options.follow_links)
    files = [path for path in _pictures(folder) if "/" in path]
    if not files:
        raise DatasetError(f"{source} holds no folder with pictures in it; name the folder that holds the classes'")
    classes = sorted({path.partition("/")[0] for path in files})
    path = _names_file(folder.root, options.names)
    words = class_words(path, classes) if path else {name: name for name in classes}
    notes = [] if path else ["no file of the classes' words: each is called by its folder's name (--set names=FILE)"]
    if shared := sorted({words[name] for name in classes if Counter(words.values())[words[name]] > 1}):
        notes.append(f"classes of one word have their folder's name beside it: {', '.join(shared[:5])}")
        words = {name: f"{word} ({name})" if word in shared else word for name, word in words.items()}
    facts = {"classes": len(classes)}
    return write_pairs(source, dest, options, _pairs(folder, files, words), len(files), progress, facts, notes)


def class_words(path: str, classes: list[str]) -> dict[str, str]:
    """Folder -> the first of its words.

    Raises:
        DatasetError: the file says nothing of a folder, or cannot be read.
    """
    data = storage.read_bytes(path)
    if path.lower().endswith(".json"):
        try:
            said = _of_json(parse_json(data), classes)
        except ValueError as error:
            raise DatasetError(f"{path} is not JSON ({error}); restore it") from None
    else:
        said = _of_lines([line for line in decode_text(data).text.splitlines() if line.strip()], classes)
    for name in classes:
        if not said.get(name):
            raise DatasetError(f'{path} has no words for the folder "{name}"{nearest(name, said)}; add them')
    return {name: said[name].split(",")[0].strip() for name in classes}


def _of_json(content: Any, classes: list[str]) -> dict[str, str]:
    if isinstance(content, list):
        return _in_order([str(one) for one in content], classes)
    if not isinstance(content, dict):
        return {}
    pairs = [value if isinstance(value, list) and len(value) == 2 else (key, value) for key, value in content.items()]
    return {str(name): str(words[0] if isinstance(words, list) and words else words) for name, words in pairs}


def _of_lines(lines: list[str], classes: list[str]) -> dict[str, str]:
    """`FOLDER words`, `FOLDER 3 words` (devkit) or words alone, a line a folder in order."""
    split = [re.split(r"[\s,]+", line.strip(), maxsplit=1) for line in lines]
    if not {parts[0] for parts in split} & set(classes):
        return _in_order(lines, classes)
    return {parts[0]: re.sub(r"^\d+[\s,]+", "", parts[1]).replace("_", " ") for parts in split if len(parts) == 2}


def _in_order(names: list[str], classes: list[str]) -> dict[str, str]:
    return dict(zip(classes, names, strict=True)) if len(names) == len(classes) else {}


def _names_file(root: str, named: str | None) -> str | None:
    if named is not None:
        if not storage.exists(absolute(named)):
            raise DatasetError(f"{named} does not exist; name the file of the classes' words")
        return absolute(named)
    found = (f"{top}/{name}" for top in (root, posixpath.dirname(root)) for name in NAMES)
    return next((path for path in found if storage.exists(path)), None)


def _pictures(folder: Folder) -> list[str]:
    return [path for path in folder.listing().files if suffix_of(path) in IMAGE_SUFFIXES]


def _pairs(folder: Folder, files: list[str], words: dict[str, str]) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for path in files:
        name = path.partition("/")[0]
        data, error = folder.read(path)
        suffix = suffix_of(path)
        if error is None and not data:
            error = EMPTY_IMAGE
        elif error is None and image_suffix(data) is None:
            error = NOT_A_PICTURE
        yield {
            "key": keys.of_path(path),
            "media": [picture(suffix, data)] if data else [],
            "captions": [],
            "labels": [(CLASS, storable(words[name])), (FOLDER, storable(name))],
            "origin": storable(path),
            "error": error,
        }
