"""Image: whether the picture reads, and its own size, form and contrast.

    pairwright score data/raw image

Width and height are the picture's own, from its header, whatever size it was decoded at; `error`
says why a picture cannot be read, in the decoder's words ("decode:truncated").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SIDE = 64  # pixels; contrast is a low-frequency property, so a thumbnail tells it


class ImageSettings(Settings):
    pass


@scorer("image")
class Image(Scorer[ImageSettings]):
    """Facts of each picture, readable or not.

    Columns:
        readable: whether it decoded.
        error: why it did not; null if it did.
        width, height: pixels, its own; null where even the header does not read.
        aspect: longer side over shorter side, at least 1.
        format: "jpeg", "png", ... as the decoder names it.
        file_bytes: of the encoded picture.
        contrast: standard deviation of luma over its largest possible one, 0 (flat) to 1; null if unreadable.
    """

    requires = Pixels(size=SIDE)
    libraries = ("opencv-python-headless",)
    sees_failures = True
    columns = {
        "readable": pa.bool_(),
        "error": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "aspect": pa.float32(),
        "format": pa.string(),
        "file_bytes": pa.int64(),
        "contrast": pa.float32(),
    }

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        facts = pairs.facts or [{} for _ in pairs.keys]
        sizes = [(fact.get("width") or None, fact.get("height") or None) for fact in facts]
        return {
            "readable": [error is None and image is not None for error, image in zip(pairs.errors, pairs.images)],
            "error": list(pairs.errors),
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
            "aspect": [max(w, h) / min(w, h) if w and h else None for w, h in sizes],
            "format": [fact.get("format") or None for fact in facts],
            "file_bytes": [fact.get("bytes") for fact in facts],
            "contrast": [None if image is None else contrast(image) for image in pairs.images],
        }


def contrast(image: np.ndarray) -> float:
    """Standard deviation of the luma of an (h, w, 3) uint8 picture over 127.5: 0 flat, 1 half black half white."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    factor = min(luma.shape) // SIDE
    if factor >= 2:  # by a whole factor, which is several times faster
        height, width = luma.shape[0] // factor, luma.shape[1] // factor
        whole = luma[: height * factor, : width * factor]
        luma = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return min(float(cv2.meanStdDev(luma)[1][0, 0]) / 127.5, 1.0)
