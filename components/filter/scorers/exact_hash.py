"""Exact hashes: of the file's bytes, and of the picture it shows.

    pairwright score data/raw exact_hash

`pixels` is the SHA-256 of the decoded RGB and its size, so it is the same for a PNG that was
recompressed or stripped of its metadata. It needs every picture at full resolution, since a JPEG
decoded at an eighth depends on what the other scorers of the pass asked for; on a crawl of large
JPEGs `pixels: false` keeps the scaled decode and leaves only the hash of the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Pixels, RawBytes, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

DIGEST = pa.binary(32)


class ExactHashSettings(Settings):
    pixels: bool = True  # False: hash the bytes only, and decode nothing


@scorer("exact_hash")
class ExactHash(Scorer[ExactHashSettings]):
    """Columns: `bytes` and `pixels`, 32-byte SHA-256; `pixels` is null where the picture does not decode."""

    requires = Pixels() + RawBytes()
    sees_failures = True
    columns = {"bytes": DIGEST, "pixels": DIGEST}

    @property
    def pixels(self) -> int:
        return self.requires.pixels if self.settings.pixels else 0

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        images = pairs.images if self.settings.pixels and pairs.images else [None] * len(pairs)
        return {
            "bytes": [None if data is None else hashlib.sha256(data).digest() for data in pairs.raw],
            "pixels": [None if image is None else pixel_digest(image) for image in images],
        }


def pixel_digest(image: np.ndarray) -> bytes:
    """SHA-256 of an (h, w, 3) uint8 picture: its height and width, then its pixels row by row."""
    hasher = hashlib.sha256(np.asarray(image.shape[:2], dtype="<i4").tobytes())
    hasher.update(np.ascontiguousarray(image).data)
    return hasher.digest()
