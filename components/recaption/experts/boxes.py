"""Boxes: the columns of whoever sees them, one list a picture and one value a box, and what stands in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

BOXES: Mapping[str, pa.DataType] = {
    "boxes": pa.list_(pa.list_(pa.float32())),  # x0, y0, x1, y1 as shares of the picture's width and height
    "labels": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),  # 0..1
}


def crop(image: np.ndarray, box: Sequence[float], margin: float = 0.0) -> np.ndarray:
    """RGB (h, w, 3) -> what is in a box of shares and `margin` of its sides around it, of at least one pixel."""
    height, width = image.shape[:2]
    across, down = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    left, top, right, bottom = (
        min(max(side, 0.0), 1.0) for side in (box[0] - across, box[1] - down, box[2] + across, box[3] + down)
    )
    x0, y0 = min(int(left * width), width - 1), min(int(top * height), height - 1)
    x1, y1 = max(round(right * width), x0 + 1), max(round(bottom * height), y0 + 1)
    return image[y0:y1, x0:x1]
