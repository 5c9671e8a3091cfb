"""Pictures made worse in a measured way, for benchmarks of robustness; RGB uint8 (h, w, 3) in and out.

What is damaged for judging is never what teaches: components/dataset/damage is of captions.
"""

from __future__ import annotations

import numpy as np


def blurred(image: np.ndarray, share: float) -> np.ndarray:
    """Gaussian blur whose deviation is a share of the shorter side."""
    import cv2

    found: np.ndarray = cv2.GaussianBlur(image, (0, 0), max(share * min(image.shape[:2]), 1e-3))
    return found


def noisy(image: np.ndarray, deviation: float, seed: tuple[int, int]) -> np.ndarray:
    """Gaussian noise of that deviation on values in [0, 1], clipped; the same for the same seed."""
    drawn = np.random.default_rng(seed).standard_normal(image.shape, np.float32) * np.float32(255 * deviation)
    return np.clip(np.rint(image + drawn), 0, 255).astype(np.uint8)


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its centre, at its own size; corners are filled with the nearest pixel of the border."""
    import cv2

    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    found: np.ndarray = cv2.warpAffine(
        image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found
