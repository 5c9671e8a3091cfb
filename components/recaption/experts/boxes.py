"""Columns of whoever sees boxes: one list a picture, one value a box."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

BOXES: Mapping[str, pa.DataType] = {
    "boxes": pa.list_(pa.list_(pa.float32())),  # x0, y0, x1, y1 as shares of the picture's width and height
    "labels": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),  # 0..1
}
