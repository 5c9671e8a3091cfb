"""Pictures as a tower wants them: (n, side, side, 3) uint8, the aspect ratio squashed.

Squashed by area like `PairBatch.squares`, so a feature computed while filtering, training or
serving is the same number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESIZE = "area averaging (OpenCV INTER_AREA)"


def squash(images: Sequence[np.ndarray] | np.ndarray, side: int) -> np.ndarray:
    """RGB uint8 arrays (h, w, 3) of any sizes, or one (n, h, w, 3) -> (n, side, side, 3) uint8."""
    import cv2

    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[1:3] == (side, side):
        return images
    views = [
        image if image.shape[:2] == (side, side) else cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        for image in images
    ]
    return np.stack(views) if views else np.zeros((0, side, side, 3), np.uint8)
