"""Dominant colours, in the basic colour terms of English.

Each pixel takes the nearest of eleven terms (Berlin and Kay, 1969) in CIE Lab, where distances are
nearly what the eye sees. A border of one plain colour is background: it is named apart, and only
what stands on it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

# sRGB anchors, several a term where one point does not cover what people call by it.
PALETTE: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("black", (0, 0, 0)),
    ("black", (28, 28, 30)),
    ("white", (255, 255, 255)),
    ("white", (240, 240, 238)),
    ("grey", (128, 128, 128)),
    ("grey", (80, 80, 82)),
    ("grey", (190, 190, 190)),
    ("red", (220, 20, 30)),
    ("red", (150, 10, 20)),
    ("orange", (255, 140, 0)),
    ("orange", (235, 110, 35)),
    ("yellow", (255, 225, 25)),
    ("yellow", (245, 235, 120)),
    ("green", (40, 160, 60)),
    ("green", (15, 80, 30)),
    ("green", (150, 205, 90)),
    ("blue", (30, 70, 210)),
    ("blue", (15, 25, 100)),
    ("blue", (110, 180, 235)),
    ("purple", (125, 40, 160)),
    ("purple", (170, 120, 210)),
    ("pink", (255, 130, 180)),
    ("pink", (255, 190, 205)),
    ("brown", (115, 65, 25)),
    ("brown", (160, 105, 60)),
)
TERMS = tuple(dict.fromkeys(name for name, _ in PALETTE))


class ColoursSettings(Settings):
    side: int = Field(48, ge=8, le=512, description="pixels; pictures are shrunk to this square first")
    min_share: float = Field(0.12, ge=0, le=1, description="share of the foreground below which a colour is not named")
    plain_border: float = Field(
        0.8, gt=0, le=1, description="share of border pixels of one colour that makes background"
    )


@scorer("colours")
class Colours(Scorer[ColoursSettings]):
    """Columns: `names` by falling share, `shares` of the foreground, `background` ("" if it is not plain)."""

    columns: Mapping[str, pa.DataType] = {  # type: ignore[misc]
        "names": pa.list_(pa.string()),
        "shares": pa.list_(pa.float32()),
        "background": pa.string(),
    }
    requires = Pixels(size=48)
    libraries = ("opencv-python-headless",)

    def setup(self, device: str) -> None:
        self.anchors = to_lab(np.array([[rgb for _, rgb in PALETTE]], dtype=np.uint8)).reshape(-1, 3)
        self.term_of = np.array([TERMS.index(name) for name, _ in PALETTE])

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        described = [self._describe(picture) for picture in pairs.squares(self.settings.side)]
        names, shares, background = zip(*described, strict=True) if described else ((), (), ())
        return {"names": list(names), "shares": list(shares), "background": list(background)}

    def _describe(self, picture: np.ndarray) -> tuple[list[str], list[float], str]:
        """(side, side, 3) uint8 RGB -> names, shares, background."""
        terms = self._terms(picture)
        border = np.concatenate([terms[0], terms[-1], terms[1:-1, 0], terms[1:-1, -1]])
        counts = np.bincount(border, minlength=len(TERMS))
        plain = counts.max() >= self.settings.plain_border * len(border)
        foreground = np.ones(terms.shape, dtype=bool)
        if plain:
            foreground = terms != counts.argmax()
            # White paint on a white page cannot be told from the page; a picture of one colour is that colour.
            if foreground.mean() < 0.02:
                foreground[:] = True
        shares = np.bincount(terms[foreground], minlength=len(TERMS)) / max(int(foreground.sum()), 1)
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= max(self.settings.min_share, 1e-9)]
        return [TERMS[i] for i in order], [float(shares[i]) for i in order], TERMS[counts.argmax()] if plain else ""

    def _terms(self, picture: np.ndarray) -> np.ndarray:
        """Index of each pixel's colour term, (side, side)."""
        pixels = to_lab(picture).reshape(-1, 3)
        squared = (pixels**2).sum(1)[:, None] - 2 * pixels @ self.anchors.T + (self.anchors**2).sum(1)[None]
        found: np.ndarray = self.term_of[squared.argmin(1)].reshape(picture.shape[:2])
        return found


def to_lab(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB -> float32 CIE Lab (D65), L in [0, 100]."""
    import cv2

    lab: np.ndarray = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return lab
