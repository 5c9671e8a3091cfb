"""Donors for composed scenes: drawn things with plain names, in three splits; and scenes made of them."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

NAMES = {
    "": (
        "ant",
        "bear",
        "camel",
        "deer",
        "eagle",
        "fox",
        "goat",
        "hen",
        "iguana",
        "jay",
        "koala",
        "lion",
        "mole",
        "newt",
    ),
    "-dev": ("quail", "rat", "seal", "toad", "urchin", "viper", "wolf", "yak"),
    "-test": ("anvil", "broom", "candle", "drum", "easel", "fan", "globe", "harp"),
}


def thing(name: str, side: int = 64, alpha: bool = True) -> bytes:
    """A star of the name's own form, as PNG: with transparency, or over white."""
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8).astype(float)
    corners = 5 + int(seed[0] % 6)
    image = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    points = []
    for corner in range(2 * corners):
        radius = side / 2 * (0.95 if corner % 2 else 0.3 + 0.5 * seed[corner + 1] / 255)
        angle = math.pi * corner / corners + seed[30]
        points.append((side / 2 + radius * math.cos(angle), side / 2 + radius * math.sin(angle)))
    draw = ImageDraw.Draw(image)
    draw.polygon(points, fill=(90, 90, 90, 255))
    draw.ellipse((side * 0.35, side * 0.35, side * 0.65, side * 0.65), fill=(230, 230, 230, 255))
    if not alpha:
        over = Image.new("RGBA", image.size, (255, 255, 255, 255))
        over.alpha_composite(image)
        image = over.convert("RGB")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def things_dataset(root: Path, name: str, names: Sequence[str], looks: Sequence[str] | None = None) -> Dataset:
    """A dataset of things; `looks` are the names whose forms they have, where not their own."""
    with ShardWriter(f"{root}/{name}", name, licence="CC0-1.0") as writer:
        for said, look in zip(names, looks or names, strict=True):
            media = [("image", "image", "png", thing(look))]
            writer.add(said, media, [caption(said, lang="en")], licence="CC0-1.0", author=f"who drew {look}")
    return writer.dataset


def donors(root: Path) -> str:
    """`things`, `things-dev` and `things-test` under `root`; the first one's path."""
    for ending, names in NAMES.items():
        things_dataset(root, f"things{ending}", names)
    return f"{root}/things"


def scenes_datasets(root: Path, count: int = 60, evaluation_count: int = 36, **options: object) -> list[Dataset]:
    """Scenes to train on, `-dev` and `-test`, of drawn things; under `root`/made."""
    wish = {"count": count, "evaluation_count": evaluation_count, **options}
    return ingest_all("scenes", donors(root), f"{root}/made", **wish)
