"""Background: how much of a picture is plain ground, and how simple the scene on it is.

    score: {scene: background}
    keep:  {clean_picture: "scene.simplicity >= 0.3"}

Let's Go Shopping (Bao et al., 2024) finds shop pictures to be one centred object on a clean ground
where web pictures are cluttered; these columns measure that without a model. The ground is what is
connected to the border and close to the border's own colour (its median), so a white shirt on white keeps
its folds and a picture framed in black is not taken for a product shot. The weights in `simplicity`
are ours: mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SIDE = 96  # pixels; the layout of a scene is a low-frequency property
MARGIN = 2  # pixels of SIDE that count as border
STRONG_EDGE = 100  # Sobel magnitude (a step of 255 has 1020) from which a pixel lies on an edge
PART = 0.005  # share of the picture from which a connected piece of foreground is a part of the scene


class BackgroundSettings(Settings):
    tolerance: int = Field(20, ge=1, le=128, description="of 255: largest channel difference to the ground's colour")


@scorer("background")
class Background(Scorer[BackgroundSettings]):
    """Columns are float32, null where the picture does not decode.

    Columns:
        share: of the picture that is ground, 0..1.
        border_variation: standard deviation of the border's luma over 127.5; 0 is one colour all round.
        brightness: luma of the ground, 0..1; 1 is white.
        parts: pieces of foreground of at least half a percent of the picture (int32).
        centred: 1 where the foreground's centre of mass is the picture's, 0 where it is at a corner.
        edges: share of the pixels that lie on a strong edge.
        simplicity: share x centred x (1 - border_variation), over the clutter 1 + 4 edges + (parts - 1) / 4.
    """

    requires = Pixels(size=SIDE)
    libraries = ("opencv-python-headless",)
    columns = {
        "share": pa.float32(),
        "border_variation": pa.float32(),
        "brightness": pa.float32(),
        "parts": pa.int32(),
        "centred": pa.float32(),
        "edges": pa.float32(),
        "simplicity": pa.float32(),
    }

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        rows = [scene(square, self.settings.tolerance) for square in pairs.squares(SIDE)]
        return {name: [row[name] for row in rows] for name in self.columns}


def scene(square: np.ndarray, tolerance: int = 20) -> dict[str, float]:
    """The scorer's columns for one (SIDE, SIDE, 3) uint8 picture."""
    luma = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    frame = np.ones(luma.shape, bool)
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    colour = np.median(square[frame], axis=0)
    ground = ground_mask(square, colour, frame, tolerance)
    facts = {
        "share": float(ground.mean()),
        "border_variation": min(float(luma[frame].std()) / 127.5, 1.0),
        "brightness": float(colour @ (0.299, 0.587, 0.114)) / 255,
        "parts": _parts(~ground),
        "centred": _centred(~ground),
        "edges": _edges(luma),
    }
    clutter = 1 + 4 * facts["edges"] + max(facts["parts"] - 1, 0) / 4
    facts["simplicity"] = facts["share"] * facts["centred"] * (1 - facts["border_variation"]) / clutter
    return facts


def ground_mask(square: np.ndarray, colour: np.ndarray, frame: np.ndarray, tolerance: int) -> np.ndarray:
    """(h, w) bool: pixels within `tolerance` of the ground's colour that are connected to the border."""
    near = (np.abs(square.astype(np.int16) - colour).max(axis=2) <= tolerance).astype(np.uint8)
    _, labels = cv2.connectedComponents(near, connectivity=8)
    reached = np.unique(labels[frame & (near > 0)])
    mask: np.ndarray = np.isin(labels, reached) & (near > 0)
    return mask


def _parts(foreground: np.ndarray) -> int:
    count, _, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=8)
    return int((stats[1:count, cv2.CC_STAT_AREA] >= PART * foreground.size).sum())


def _centred(foreground: np.ndarray) -> float:
    """1 less the distance from the foreground's centre of mass to the picture's, over half the diagonal.

    1 where there is no foreground: nothing is off centre.
    """
    rows, columns = np.nonzero(foreground)
    if not len(rows):
        return 1.0
    height, width = foreground.shape
    down = (rows.mean() + 0.5) / height - 0.5
    across = (columns.mean() + 0.5) / width - 0.5
    return float(max(1 - np.hypot(down, across) / np.hypot(0.5, 0.5), 0.0))


def _edges(luma: np.ndarray) -> float:
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3)
    return float((np.hypot(across, down) >= STRONG_EDGE).mean())
