"""Masking of rendered text, as T-MARS does it (Maini et al., 2023): a box takes its surroundings' mean colour.

    mask = TextMask(TextMaskSettings())
    pictures, boxes = mask(pairs)

A picture whose only tie to its caption is the caption's own words drawn on it teaches reading, not
seeing; without its text it no longer matches. `fill: inpaint` grows the surroundings inward instead
(Telea, 2004). A picture without text comes back as it went in, the same array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_in_pictures.text_reader import Box, TextReader, absolute
from pairwright.components.settings import Settings

RING = 0.5  # width of the surroundings, of the box's shorter side
INPAINT_RADIUS = 3.0  # pixels


class TextMaskSettings(Settings):
    """Settings of whatever scores a picture without its text."""

    boxes: str | None = Field(None, description="step.column of `ocr_text`'s boxes; None looks for text itself")
    side: int = Field(224, ge=64, le=2048, multiple_of=32, description="longest side given to the detector, pixels")
    min_confidence: float = Field(0.5, ge=0, le=1, description="of a line that is masked")
    margin: float = Field(0.15, ge=0, le=1, description="a box grows by this share of its shorter side all round")
    fill: Literal["surroundings", "inpaint"] = "surroundings"


class TextMask:
    """Covers the lines of pictures, found here or by an earlier `ocr_text`."""

    def __init__(self, settings: TextMaskSettings) -> None:
        self.settings = settings
        self.reader = TextReader(settings.side, settings.min_confidence) if settings.boxes is None else None

    def __call__(self, pairs: PairBatch) -> tuple[list[np.ndarray], list[list[Box]]]:
        """The decoded pictures of a batch without their text, and the boxes covered in each.

        A picture without text is the batch's own array.
        """
        images = [image for image in pairs.images if image is not None]
        assert len(images) == len(pairs), "only decoded pictures can be masked"
        if self.reader is not None:
            boxes = [[box for box, _, _ in self.reader.lines(image)] for image in images]
        else:
            stored = pairs.columns[str(self.settings.boxes)]
            boxes = [absolute(found, image.shape[:2]) for found, image in zip(stored, images, strict=True)]
        options: dict[str, Any] = {"margin": self.settings.margin, "fill": self.settings.fill}
        return [cover(image, found, **options) for image, found in zip(images, boxes, strict=True)], boxes


def cover(image: np.ndarray, boxes: Sequence[Box], *, margin: float = 0.15, fill: str = "surroundings") -> np.ndarray:
    """RGB uint8 (h, w, 3) with every box, grown by `margin` of its shorter side, filled.

    The mean colour is of a ring round the box, other boxes left out; of all that is no text where the
    ring is empty; of the whole picture where everything is text.
    """
    if not boxes:
        return image
    shapes = [_grown(box, margin) for box in boxes]
    written = np.zeros(image.shape[:2], np.uint8)
    for shape in shapes:
        cv2.fillConvexPoly(written, shape, 255)
    if fill == "inpaint":
        return np.asarray(cv2.inpaint(np.ascontiguousarray(image), written, INPAINT_RADIUS, cv2.INPAINT_TELEA))
    covered = image.copy()
    for box, shape in zip(boxes, shapes, strict=True):
        inside, around = np.zeros_like(written), np.zeros_like(written)
        cv2.fillConvexPoly(inside, shape, 255)
        cv2.fillConvexPoly(around, _grown(box, margin + RING), 255)
        covered[inside > 0] = _mean_colour(image, (around > 0) & (written == 0), written == 0)
    return covered


def _mean_colour(image: np.ndarray, ring: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    where = ring if ring.any() else elsewhere
    pixels = image[where] if where.any() else image.reshape(-1, 3)
    return np.asarray(np.round(pixels.mean(axis=0)), dtype=np.uint8)


def _grown(box: Box, margin: float) -> np.ndarray:
    """(4, 2) int32 corners pushed out along both sides by `margin` of the shorter one, 1 pixel at least."""
    corners = np.asarray(box, np.float64)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    width, height = np.linalg.norm(along), np.linalg.norm(across)
    push = max(margin * min(width, height), 1.0)
    x, y = along / max(width, 1e-9) * push, across / max(height, 1e-9) * push
    grown = corners + np.stack([-x - y, x - y, x + y, -x + y])
    return np.asarray(np.round(grown), dtype=np.int32)
