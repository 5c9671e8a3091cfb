"""Text in pictures: where it is and what it says, by PP-OCRv4 through RapidOCR on onnxruntime.

    reader = TextReader(side=224)
    reader.lines(picture)        # [(4 corners in pixels, "BRIDGE 42", 0.98)]

The detector runs at a longest side of 224 pixels and without the upside-down classifier: several times
cheaper than as shipped, and blind to small print. A flat picture holds no text and is not looked at.
One thread: the shard map runs in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

FLAT = 2.0  # standard deviation of luma, of 255, under which no letter can stand out

Box = Sequence[Sequence[float]]  # 4 corners (x, y), pixels
Line = tuple[Box, str, float]  # where, what, and how sure, 0..1


class TextReader:
    """Lines of text; `side` is the longest side given to the detector, pixels."""

    def __init__(self, side: int = 224, min_confidence: float = 0.5) -> None:
        from rapidocr_onnxruntime import RapidOCR

        self.side = side
        self.reader = RapidOCR(
            det_limit_side_len=side,
            det_limit_type="max",
            text_score=min_confidence,
            use_cls=False,
            intra_op_num_threads=1,
            inter_op_num_threads=1,
        )

    def lines(self, image: np.ndarray) -> list[Line]:
        """(box of 4 corners in pixels of `image`, text, confidence) of each line, top to bottom.

        A region counts only if it reads as text with the confidence asked for: to a detector alone,
        many strokes of a drawing look like letters.
        """
        if float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).std()) < FLAT:
            return []
        bgr = cv2.cvtColor(_shrunk(image, self.side), cv2.COLOR_RGB2BGR)
        scale = max(image.shape[:2]) / max(bgr.shape[:2])
        lines, _ = self.reader(bgr, use_det=True, use_cls=False, use_rec=True)
        return [
            ([[x * scale, y * scale] for x, y in box], str(text), float(confidence))
            for box, text, confidence in lines or []
        ]


def covered_share(boxes: Sequence[Box], shape: tuple[int, int]) -> float:
    """Share of an (h, w) picture inside at least one box, to a 128-cell grid on the longer side."""
    if not boxes:
        return 0.0
    scale = 128 / max(shape)
    grid = np.zeros((max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)), np.uint8)
    for box in boxes:
        cv2.fillConvexPoly(grid, np.round(np.asarray(box) * scale).astype(np.int32), 1)
    return float(grid.mean())


def relative(boxes: Sequence[Box], shape: tuple[int, int]) -> list[list[float]]:
    """Each box's corners as x0, y0, ... x3, y3 over the (h, w) picture's width and height."""
    return [[float(v) for x, y in box for v in (x / shape[1], y / shape[0])] for box in boxes]


def absolute(boxes: Sequence[Sequence[float]], shape: tuple[int, int]) -> list[Box]:
    """The inverse of `relative`, for a picture decoded at any size."""
    return [[[x * shape[1], y * shape[0]] for x, y in zip(box[::2], box[1::2], strict=True)] for box in boxes]


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longest side at most twice `side`: recognition keeps detail, detection loses none."""
    longest = max(image.shape[:2])
    if longest <= 2 * side:
        return image
    size = (max(image.shape[1] * 2 * side // longest, 1), max(image.shape[0] * 2 * side // longest, 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
