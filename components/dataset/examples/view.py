"""How a task sees a picture this epoch: a piece of it, flipped or not; a pure function of (seed, epoch, key).

A piece is half to all of the picture's area, of about its form, and fills (side, side): the random resized crop of
Szegedy et al. (2015), gentler than theirs, because a caption speaks of the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pairwright.components.dataset.examples.example import Examples, Region
from pairwright.components.dataset.examples.wish import FramesWish, ImageWish

LEAST_AREA = 0.5
FORM = 4 / 3  # a piece is at most so much wider or higher than the picture, in its own proportions


@dataclass(frozen=True)
class View:
    """A piece (x0, y0, x1, y1) as shares of width and height, and whether left and right are exchanged.

    Attributes:
        square: the piece is resized to a square; else the picture stays as it is.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    square: bool = False

    def min_side(self, side: int) -> int:
        """Pixels the picture's shorter side needs for the piece to have `side` of its own."""
        return int(np.ceil(side / min(self.box[2] - self.box[0], self.box[3] - self.box[1])))

    def of(self, image: np.ndarray, side: int) -> np.ndarray:
        """The piece of (h, w, 3) uint8 as (side, side, 3), or the picture in its own size; flipped or not."""
        if self.square:
            height, width = image.shape[:2]
            x0, x1 = _pixels(self.box[0], self.box[2], width)
            y0, y1 = _pixels(self.box[1], self.box[3], height)
            piece = image[y0:y1, x0:x1]
            finer = min(piece.shape[:2]) >= side
            image = cv2.resize(piece, (side, side), interpolation=cv2.INTER_AREA if finer else cv2.INTER_LINEAR)
        return np.ascontiguousarray(image[:, ::-1]) if self.flip else image

    def regions(self, regions: Sequence[Region]) -> list[Region]:
        """The regions whose middle is seen, cut to the piece, in shares of it."""
        return [seen for one in regions if (seen := self._region(one)) is not None]

    def _region(self, region: Region) -> Region | None:
        wide, high = self.box[2] - self.box[0], self.box[3] - self.box[1]
        x0, x1 = ((x - self.box[0]) / wide for x in (region.box[0], region.box[2]))
        y0, y1 = ((y - self.box[1]) / high for y in (region.box[1], region.box[3]))
        if not (0 <= (x0 + x1) / 2 <= 1 and 0 <= (y0 + y1) / 2 <= 1):
            return None
        x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in (x0, y0, x1, y1))
        return replace(region, box=(1 - x1, y0, 1 - x0, y1) if self.flip else (x0, y0, x1, y1))


WHOLE = View()


def _pixels(start: float, end: float, size: int) -> tuple[int, int]:
    first = min(int(start * size), size - 1)
    return first, max(first + 1, min(size, round(end * size)))


def views(examples: Examples, role: str, wish: ImageWish | FramesWish) -> list[View]:
    """The view of each example's picture or clip of a role."""
    boxes = _boxes(examples.draw(f"crop {role}", (4,))) if wish.crop else [WHOLE.box] * len(examples)
    flips = examples.draw(f"flip {role}") < 0.5 if wish.flip else np.zeros(len(examples), bool)
    return [View(box, bool(flip), wish.crop) for box, flip in zip(boxes, flips)]


def _boxes(draws: np.ndarray) -> list[tuple[float, float, float, float]]:
    """From four numbers in [0, 1) each: area, form, and where the piece lies."""
    area = LEAST_AREA + (1 - LEAST_AREA) * draws[:, 0]
    # The form is drawn among those whose longer side still fits, so that the area is what was drawn.
    most = np.minimum(FORM, 1 / area)
    form = most ** (2 * draws[:, 1] - 1)
    wide, high = np.minimum(np.sqrt(area * form), 1), np.minimum(np.sqrt(area / form), 1)
    x0, y0 = draws[:, 2] * (1 - wide), draws[:, 3] * (1 - high)
    return list(zip(x0.tolist(), y0.tolist(), (x0 + wide).tolist(), (y0 + high).tolist()))
