"""The eleven basic colour terms of English (Berlin and Kay, 1969), and which of them a pixel is called by.

Each pixel takes the nearest term in CIE Lab, where distances are nearly what the eye sees.
"""

from __future__ import annotations

import functools

import numpy as np

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


def terms_of(lab: np.ndarray) -> np.ndarray:
    """CIE Lab (..., 3) -> index into TERMS of each pixel (...)."""
    anchors, term_of = _anchors()
    pixels = lab.reshape(-1, 3)
    squared = (pixels**2).sum(1)[:, None] - 2 * pixels @ anchors.T + (anchors**2).sum(1)[None]
    found: np.ndarray = term_of[squared.argmin(1)].reshape(lab.shape[:-1])
    return found


def to_lab(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB -> float32 CIE Lab (D65), L in [0, 100]."""
    import cv2

    lab: np.ndarray = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return lab


@functools.cache
def _anchors() -> tuple[np.ndarray, np.ndarray]:
    """Of PALETTE: Lab (n, 3), and the term of each (n,)."""
    lab = to_lab(np.array([[rgb for _, rgb in PALETTE]], dtype=np.uint8)).reshape(-1, 3)
    return lab, np.array([TERMS.index(name) for name, _ in PALETTE])
