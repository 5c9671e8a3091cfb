"""The demo corpus: Tux Paint's stamps and Open Clip Art's drawings, as Debian packages them.

    pairwright ingest debian-clipart ./data        # ./data/raw, ./data/dev, ./data/test

Every text a picture came with is a caption of its own source:

    alt            a stamp's English caption; a drawing's SVG title, as noisy as it is, "" included
    translation    a stamp's caption in up to 77 other languages, with language tags
    keywords       a drawing's keywords, joined by ", "
    description    a drawing's description
    file_name      the file's stem
    folder         the folders it lies in

Pictures are made small (longest side 224 px, transparency over white): stamps as JPEG, drawings as
WebP. One that cannot be is a row with a reason. Symbolic links that repeat a picture under a second
name are pairs like any other: duplicates to find. `dev` and `test` are drawn from the stamps
(components/dataset/splits.py). The same packages give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import FEATURELESS, pdq_hash
from pairwright.components.dataset.media.svg import rasterise
from pairwright.components.dataset.shards.keys import safe_key
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import Medium, ShardWriter
from pairwright.components.dataset.sources.clipart_texts import PUBLIC_DOMAIN, read_drawing, read_stamp_text
from pairwright.components.dataset.sources.debian_packages import Tree, locate
from pairwright.components.dataset.splits import DEV, LEFT_OUT, TEST, TRAIN, Candidate, DrawSettings, Splits, draw
from pairwright.components.errors import DatasetError

Progress = Callable[[int, int | None, str], None]
STAMP, DRAWING = "tuxpaint-stamps-default", "openclipart-png"
STAMP_LICENCE = "GPL-2.0-only"
STAMP_AUTHOR = "Bill Kendrick and the Tux Paint contributors"
LICENCES = f"stamps: {STAMP_LICENCE}; drawings: {PUBLIC_DOMAIN} (public domain) but for those whose row says otherwise"
PAIRS_PER_SHARD = 1000
# Letters, digits and coins are a quarter of the stamps and say little about pictures.
DRAW = DrawSettings(pairs=200, largest_group=4, capped=(("symbols", 0.08),))


@dataclass(frozen=True)
class Item:
    """One pair before its picture is read: what `ShardWriter.add` needs, and where its media are."""

    key: str
    package: str
    path: Path
    category: str
    captions: list[dict[str, Any]]
    origin: str
    licence: str
    author: str | None
    family: str | None = None

    @property
    def alt(self) -> str | None:
        return next((one["text"] for one in self.captions if one["source"] == "alt"), None)


@dataclass(frozen=True)
class Picture:
    """A compacted picture with its hashes before and after compression, or why there is none."""

    media: list[Medium]
    hash: np.ndarray | None
    stored: np.ndarray | None
    error: str | None


def ingest_debian_clipart(
    dest: str,
    *,
    packages: str | None = None,
    max_side: int = 224,
    draw_settings: DrawSettings = DRAW,
    progress: Progress | None = None,
) -> list[Dataset]:
    """Write `dest/raw`, `dest/dev` and `dest/test`; returns them in this order.

    Args:
        packages: folder with the three .deb files or an unpacked tree; None: installed, else fetched by apt-get.
        max_side: longest side of the pictures, in pixels.

    Raises:
        DatasetError: the packages are not there and cannot be fetched, or hold no pictures.
        WorkspaceError: `dest` cannot be written.
    """
    tree = locate(packages)
    items = _unique([*_stamps(tree), *_drawings(tree)])
    if not items:
        raise DatasetError(f"{tree.share} holds no pictures; unpack the packages again")
    pictures = _pictures(items, max_side, progress)
    candidates = [_candidate(item, picture) for item, picture in zip(items, pictures, strict=True)]
    splits = draw(candidates, draw_settings)
    composition = splits.composition(candidates)
    order = sorted(range(len(items)), key=lambda i: hashlib.sha256(items[i].key.encode()).digest())
    written = []
    for name in (TRAIN, DEV, TEST):
        chosen = [index for index in order if splits.split[index] == name]
        facts = _facts(name, [items[i] for i in chosen], max_side, composition, splits)
        written.append(_write(f"{dest.rstrip('/')}/{name}", name, chosen, items, pictures, splits.group, facts))
    return written


def _stamps(tree: Tree) -> Iterator[Item]:
    """Every stamp with a PNG or an SVG; the PNG where there are both, as Tux Paint's authors drew it."""
    for path in sorted(tree.stamps.rglob("*")):
        if path.suffix not in (".png", ".svg") or (path.suffix == ".svg" and path.with_suffix(".png").exists()):
            continue
        text = path.with_suffix(".txt")
        english, translations = read_stamp_text(text.read_bytes()) if text.exists() else (None, [])
        captions = [] if english is None else [caption(english, lang="en", producer=f"{STAMP}/txt")]
        for ordinal, (lang, translated) in enumerate(translations):
            captions.append(caption(translated, "translation", ordinal, lang, f"{STAMP}/txt"))
        yield _item(tree, tree.stamps, path, STAMP, captions, STAMP_LICENCE, STAMP_AUTHOR, _family(path))


def _drawings(tree: Tree) -> Iterator[Item]:
    """Every drawing's PNG, symbolic links included, with its SVG's metadata."""
    for path in sorted(tree.drawings.rglob("*.png")):
        about = read_drawing(tree.metadata / path.relative_to(tree.drawings).with_suffix(".svg"))
        captions = []
        if about.title is not None:
            captions.append(caption(about.title, producer="openclipart-svg/dc:title"))
        if about.keywords:
            captions.append(caption(", ".join(about.keywords), "keywords", producer="openclipart-svg/dc:subject"))
        if about.description:
            captions.append(caption(about.description, "description", producer="openclipart-svg/dc:description"))
        licence = about.licence or PUBLIC_DOMAIN
        yield _item(tree, tree.drawings, path, DRAWING, captions, licence, about.author)


def _item(
    tree: Tree,
    root: Path,
    path: Path,
    package: str,
    captions: list[dict[str, Any]],
    licence: str,
    author: str | None,
    family: str | None = None,
) -> Item:
    relative = path.relative_to(root)
    folder = relative.parent.as_posix()
    named = [
        caption(path.stem, "file_name", producer=f"{package}/path"),
        caption(folder, "folder", producer=f"{package}/path"),
    ]
    prefix = "stamp" if package == STAMP else "clipart"
    key = safe_key(f"{prefix}-{relative.with_suffix('').as_posix().replace('/', '-')}")
    return Item(
        key, package, path, relative.parts[0], captions + named, tree.origin(path), licence, author or None, family
    )


def _family(path: Path) -> str | None:
    """Numbered and filled/outlined variants of one motif in one folder: `rocket`, `rocket2`, `rocket_03`."""
    stem = re.sub(r"(?:_(?:filled|outlined?))?[_-]?\d*$", "", path.stem)
    return f"{path.parent.as_posix().partition('/stamps/')[2]}/{stem.lower()}" if len(stem) >= 3 else None


def _unique(items: Sequence[Item]) -> list[Item]:
    """Keys made different where two paths gave one: `a/b-c` and `a-b/c`."""
    seen: Counter[str] = Counter()
    unique = []
    for item in items:
        seen[item.key] += 1
        unique.append(item if seen[item.key] == 1 else replace(item, key=f"{item.key}~{seen[item.key]}"))
    return unique


def _pictures(items: Sequence[Item], max_side: int, progress: Progress | None) -> list[Picture]:
    found = []
    with ThreadPoolExecutor(max_workers=max(os.cpu_count() or 1, 1)) as threads:
        for done, picture in enumerate(threads.map(lambda item: compact(item, max_side), items), 1):
            found.append(picture)
            if progress is not None:
                progress(done, len(items), "pictures")
    return found


def compact(item: Item, max_side: int) -> Picture:
    """The item's picture, longest side at most `max_side`, encoded; never raises for a bad picture.

    Other media of a stamp (its .ogg descriptions) would join here, as further entries of `media`.
    """
    try:
        data = _read(item.path, 2 * max_side)
    except (OSError, ValueError) as error:
        return Picture(
            [], None, None, f"svg:{error}" if item.path.suffix == ".svg" else f"unreadable:{type(error).__name__}"
        )
    decoded = decode(data, min_side=max_side)
    if decoded.image is None:
        return Picture([], None, None, decoded.error)
    image = decoded.image
    scale = max_side / max(image.shape[:2])
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    suffix, encoded = _encode(image, photograph=item.package == STAMP)
    return Picture([("image", "image", suffix, encoded)], _hash(image), _hash(decode(encoded, max_side).image), None)


def _read(path: Path, width: int) -> bytes:
    """A picture file's bytes; of an SVG those of a PNG, `width` px wide, over white."""
    return rasterise(path=path, width=width, background="white") if path.suffix == ".svg" else path.read_bytes()


def _hash(image: np.ndarray | None) -> np.ndarray | None:
    """The PDQ hash, None where it would mean nothing."""
    bits, quality = (None, 0) if image is None else pdq_hash(image)
    return bits if quality > FEATURELESS else None


def _encode(image: np.ndarray, *, photograph: bool) -> tuple[str, bytes]:
    """(suffix, bytes): JPEG for stamps, many of them photographs; WebP for drawings, at half the size."""
    stream = io.BytesIO()
    if photograph:
        Image.fromarray(image).save(stream, "JPEG", quality=88, optimize=True)
        return "jpg", stream.getvalue()
    Image.fromarray(image).save(stream, "WEBP", quality=80, method=4)
    return "webp", stream.getvalue()


def _candidate(item: Item, picture: Picture) -> Candidate:
    drawable = item.package == STAMP and picture.error is None and bool(item.alt)
    return Candidate(item.key, item.category, drawable, item.alt, picture.hash, item.family, picture.stored)


def _facts(
    name: str, items: Sequence[Item], max_side: int, composition: dict[str, Any], splits: Splits
) -> dict[str, Any]:
    """What is published with a dataset: composition of the draw, licences and authors of each shard."""
    shards = [items[start : start + PAIRS_PER_SHARD] for start in range(0, len(items), PAIRS_PER_SHARD)]
    return {
        "max_side": max_side,
        "split": name,
        "composition": composition,
        "packages": dict(sorted(Counter(item.package for item in items).items())),
        "attribution": [
            {
                "shard": f"{number:05d}",
                "licences": dict(sorted(Counter(item.licence for item in shard).items())),
                "authors": sorted({item.author for item in shard if item.author}),
            }
            for number, shard in enumerate(shards)
        ],
        "left_out": sum(split == LEFT_OUT for split in splits.split),
    }


def _write(
    dest: str,
    name: str,
    chosen: Sequence[int],
    items: Sequence[Item],
    pictures: Sequence[Picture],
    groups: Sequence[str],
    facts: dict[str, Any],
) -> Dataset:
    description = {
        TRAIN: "Tux Paint stamps and Open Clip Art drawings, as noisy as they came",
        DEV: "Tux Paint stamps to tune and promote on",
        TEST: "Tux Paint stamps to report on",
    }[name]
    with ShardWriter(
        dest, name, pairs_per_shard=PAIRS_PER_SHARD, description=description, licence=LICENCES, facts=facts
    ) as writer:
        for index in chosen:
            item, picture = items[index], pictures[index]
            writer.add(
                item.key,
                picture.media,
                item.captions,
                [("category", item.category), ("collection", item.package)],
                licence=item.licence,
                author=item.author,
                origin=item.origin,
                group=groups[index],
                error=picture.error,
            )
    return writer.dataset
