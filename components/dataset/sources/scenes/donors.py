"""Things to compose scenes of: pictures of one thing each, cut out, with its name.

    donors = read_donors(open_dataset("data/emoji"))        # {"dog": [Donor, ...], ...}

A picture with transparency is taken as it is (emoji keep theirs). One without is cut along its plain ground, if its
border is of one colour; else it is no donor. A name is a caption of at most MOST_WORDS plain words, without article,
that says no colour, size or number.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.pdq import FEATURELESS, NEAR, hamming, pdq_hash
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.reading import sidecar_rows
from pairwright.components.dataset.sources.scenes.painting import SEEN, trimmed
from pairwright.components.dataset.sources.scenes.scene import COLOURS, SIZES
from pairwright.components.dataset.splits import normalise

MOST_WORDS = 2
LONGEST = 96  # pixels: larger pictures are made smaller, as things of a scene are
SLACK = 12  # of 255: how far a border of one colour may stray, as JPEG makes it
# Groups and subgroups of emoji that are no things, or whose names are none.
NO_THINGS = frozenset({"Smileys & Emotion", "People & Body", "Symbols", "Flags", "Component"})
NO_THINGS |= {"time", "sky & weather", "sport", "place-map", "event"}
# Words a phrase has of its own: a "green book" that is painted red would be both.
SAID_BY_PHRASES = frozenset({*COLOURS, *SIZES, "black", "white", "brown", "grey", "pink", "golden", "two", "three"})
_PLAIN = re.compile(r"[a-z]+(?:[ -][a-z]+)*")


@dataclass(frozen=True)
class Donor:
    """One picture of a thing.

    Attributes:
        key: dataset/key, as users see it.
        rgba: uint8 (h, w, 4), trimmed to what is seen.
        hash: PDQ hash (32,) uint8 over white, None where it would mean nothing.
    """

    key: str
    name: str
    rgba: np.ndarray
    hash: np.ndarray | None
    licence: str
    author: str


def read_donors(dataset: Dataset, source: str = "alt") -> tuple[dict[str, list[Donor]], Counter[str]]:
    """Every donor of a dataset by name, in its order; and how many of its pairs are none, by reason."""
    found: dict[str, list[Donor]] = {}
    refused: Counter[str] = Counter()
    for shard in dataset.shards:
        for row in sidecar_rows(shard.read_sidecar()):
            media = [one for one in row["media"] or () if one["role"] == "image"]
            name = thing_name(captions_from(row["captions"], source))
            labels = {one["name"]: one["value"] for one in row["labels"] or ()}
            if row["error"] or not media or name is None or {labels.get("group"), labels.get("subgroup")} & NO_THINGS:
                refused["no thing's picture with a short name"] += 1
                continue
            try:
                rgba = cut_out(shard.read_member(media[0]))
            except ValueError as error:
                refused[str(error)] += 1
                continue
            said = (f"{dataset.name}/{row['key']}", name, rgba, _hash(rgba), row["licence"] or "", row["author"] or "")
            found.setdefault(name, []).append(Donor(*said))
    return found, refused


def thing_name(captions: Iterable[str]) -> str | None:
    """The first caption as a thing's name, or None where it is none."""
    said = normalise(next(iter(captions), ""))
    words = set(re.split(r"[ -]", said))
    fits = _PLAIN.fullmatch(said) and len(said.split()) <= MOST_WORDS and not words & SAID_BY_PHRASES
    return said if fits else None


def cut_out(data: bytes) -> np.ndarray:
    """An encoded picture as RGBA, trimmed to what is seen.

    Raises:
        ValueError: it cannot be read, has no plain ground, or nothing is left of it.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            rgba = np.asarray(image.convert("RGBA")) if alpha else None
    except (OSError, ValueError, Image.DecompressionBombError):
        raise ValueError("the picture cannot be read") from None
    if rgba is None or rgba[..., 3].min() == 255:
        decoded = decode(data, min_side=LONGEST)
        if decoded.image is None:
            raise ValueError("the picture cannot be read")
        rgba = _without_ground(decoded.image)
    rgba = trimmed(rgba)
    scale = LONGEST / max(rgba.shape[:2])
    if scale < 1:
        shape = (max(1, round(rgba.shape[1] * scale)), max(1, round(rgba.shape[0] * scale)))
        rgba = trimmed(cv2.resize(rgba, shape, interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(rgba)


def _without_ground(image: np.ndarray) -> np.ndarray:
    """RGB -> RGBA whose ground, flooded from the border, is invisible.

    Raises:
        ValueError: the border is not of one colour.
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(np.int64)
    colour = np.median(border, axis=0)
    if (np.abs(border - colour) > SLACK).any(1).mean() > 0.02:
        raise ValueError("the ground is not of one colour")
    framed = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[float(value) for value in colour])
    mask = np.zeros((framed.shape[0] + 2, framed.shape[1] + 2), np.uint8)
    slack = (2 * SLACK,) * 3
    cv2.floodFill(framed, mask, (0, 0), 0, slack, slack, 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE)
    alpha = np.where(mask[2:-2, 2:-2] > 0, 0, 255).astype(np.uint8)
    return np.dstack([image, alpha])


def apart(splits: Mapping[str, dict[str, list[Donor]]]) -> dict[str, dict[str, list[Donor]]]:
    """Donors of several splits, the one that comes last first served: no name and no look in two of them.

    A name is compared in its plain form, as `normalise` gives it; a look by PDQ's radius.
    """
    names: set[str] = set()
    looks = np.zeros((0, 32), np.uint8)
    kept: dict[str, dict[str, list[Donor]]] = {}
    for split in reversed(list(splits)):
        fresh = {
            name: [one for one in some if one.hash is None or not (hamming(one.hash[None], looks) <= NEAR).any()]
            for name, some in splits[split].items()
            if name not in names
        }
        kept[split] = {name: some for name, some in fresh.items() if some}
        names |= set(kept[split])
        hashes = [one.hash for some in kept[split].values() for one in some if one.hash is not None]
        looks = np.concatenate([looks, np.stack(hashes)]) if hashes else looks
    return {split: kept[split] for split in splits}


def _hash(rgba: np.ndarray) -> np.ndarray | None:
    """Of the picture over white."""
    seen = rgba[..., 3:] >= SEEN
    bits, quality = pdq_hash(np.where(seen, rgba[..., :3], 255).astype(np.uint8))
    return bits if quality > FEATURELESS else None
