"""Region colours: the colours of what stands in each box of a picture, apart from the ground around it.

    recaption:
      seen:    {uses: detector, with: {model: ./detr-resnet-50}}
      painted: {uses: region_colours, with: {boxes: seen.boxes}}

A box holds a thing and some ground. The ground is what is like the pixels just outside the box; where nothing else is
in it (a box of a part of one thing), all of it counts. What is in shadow is called by the same paint in light: an
orange thing's dark side is brown only by itself. Attributes of FuseCap (Rotstein et al., 2024) come from an
extractor that also names materials and states (`region_attributes`); here they are colours, by their basic terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.colour_terms import TERMS, terms_of, to_lab
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SIDE = 32  # pixels; a box is shrunk to this square
RING = 0.06  # of a box's longer side: how far around it ground is looked for
SAMPLES = 96  # pixels of the ring that the box's own are held against
LEAST = 0.02  # of a box: a thing that takes less of it is none
HUES = 16  # of the circle: pixels of one are one paint in more or less light
GREY = 12.0  # chroma in CIE Lab under which a pixel has no hue
LIGHT = 0.85  # of a paint's pixels this share is darker than what it is called by


class RegionColoursSettings(Settings):
    boxes: str = Field(description="step.column of boxes x0, y0, x1, y1 as shares of the picture")
    size: int = Field(224, ge=32, description="pixels; shorter side of the picture that boxes are cut from")
    min_share: float = Field(0.25, gt=0, le=1, description="share of a thing below which a colour is not named")
    most: int = Field(2, ge=1, description="colours of a thing, at most, the commonest first")
    like_ground: float = Field(14.0, ge=0, description="distance in CIE Lab under which a pixel is like the ground")


@scorer("region_colours")
class RegionColours(Scorer[RegionColoursSettings]):
    """Column `names`: for each box its colours by falling share; null where the picture has no boxes column."""

    columns: Mapping[str, pa.DataType] = {"names": pa.list_(pa.list_(pa.string()))}  # type: ignore[misc]
    requires = Pixels(size=224) + Columns("boxes")
    libraries = ("opencv-python-headless",)

    @property
    def pixels(self) -> int:
        return self.settings.size

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        boxes = pairs.columns[self.settings.boxes]
        rows = []
        for image, some in zip(pairs.images, boxes, strict=True):
            assert image is not None, "region_colours sees only decoded pictures"
            rows.append([self._named(image, box) for box in some])
        return {"names": rows}

    def _named(self, image: np.ndarray, box: Sequence[float]) -> list[str]:
        inside, ring = box_and_ring(image, box)
        pixels = to_lab(inside).reshape(-1, 3)
        thing = pixels
        if len(ring):
            ground = to_lab(ring[None])[0]
            apart = np.sqrt(((pixels[:, None] - ground[None]) ** 2).sum(2)).min(1) > self.settings.like_ground
            thing = pixels[apart] if apart.mean() >= LEAST else pixels
        shares = np.bincount(terms_of(lit(thing)), minlength=len(TERMS)) / len(thing)
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= self.settings.min_share]
        return [TERMS[i] for i in order[: self.settings.most]]


def lit(lab: np.ndarray) -> np.ndarray:
    """CIE Lab (n, 3) -> the same, each pixel with a hue as the purest of its hue.

    Light makes a paint's chroma more, shadow and an edge that blends with the ground make it less.
    """
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    turn = np.arctan2(lab[:, 2], lab[:, 1]) / (2 * np.pi) + 1
    hue = np.where(chroma < GREY, -1, (turn * HUES + 0.5).astype(np.int64) % HUES)
    found = lab.copy()
    for one in np.unique(hue[hue >= 0]):
        # Neighbouring hues are one paint's, too: shading turns a hue a little.
        apart = np.abs(hue - one)
        near = (hue >= 0) & (np.minimum(apart, HUES - apart) <= 1)
        bright = near & (chroma >= np.quantile(chroma[near], LIGHT))
        found[hue == one] = lab[bright].mean(0)
    return found


def box_and_ring(image: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """RGB (h, w, 3) and a box -> what is in it (SIDE, SIDE, 3), and at most SAMPLES pixels around it (n, 3).

    The ring is empty where the box is the whole picture.
    """
    height, width = image.shape[:2]
    x0, y0 = int(np.floor(box[0] * width)), int(np.floor(box[1] * height))
    x1, y1 = max(int(np.ceil(box[2] * width)), x0 + 1), max(int(np.ceil(box[3] * height)), y0 + 1)
    margin = max(round(RING * max(x1 - x0, y1 - y0)), 1)
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    around = image[top : y1 + margin, left : x1 + margin]
    outside = np.ones(around.shape[:2], bool)
    outside[y0 - top : y1 - top, x0 - left : x1 - left] = False
    ring = around[outside]
    inside = cv2.resize(image[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return inside, ring[:: max(len(ring) // SAMPLES, 1)][:SAMPLES]
