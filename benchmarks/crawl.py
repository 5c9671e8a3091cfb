"""A crawl of JPEGs to measure on: textured 400 to 640 px pictures with captions, as img2dataset leaves them."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

WORDS = ("red", "blue", "old", "small", "cat", "boat", "house", "tree", "river", "street", "photo", "of", "a", "the")
DIFFERENT = 200  # pictures drawn; the others repeat their bytes, which no scorer can profit from


def make_crawl(root: str, pairs: int, shards: int, seed: int = 0, sides: tuple[int, int] = (400, 640)) -> Dataset:
    """A dataset of `pairs` pairs in `shards` shards under `root`; `sides` bounds height and width, pixels."""
    random = np.random.default_rng(seed)
    pictures = [_jpeg(random, sides) for _ in range(min(DIFFERENT, pairs))]
    with ShardWriter(root, "crawl", pairs_per_shard=-(-pairs // shards)) as writer:
        for number in range(pairs):
            text = " ".join(random.choice(WORDS, size=random.integers(3, 14)))
            data = pictures[number % len(pictures)]
            writer.add(
                f"{number:08d}", [("image", "image", "jpg", data)], [caption(text)], meta=b'{"status": "success"}'
            )
    return writer.dataset


def _jpeg(random: np.random.Generator, sides: tuple[int, int]) -> bytes:
    height, width = random.integers(*sides, 2)
    coarse = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture += random.integers(-12, 12, picture.shape, dtype=np.int16)
    return bytes(simplejpeg.encode_jpeg(np.clip(picture, 0, 255).astype(np.uint8), quality=85, colorsubsampling="420"))
