"""OCR text: what is written in the picture, and how much of the picture it covers.

    pairwright score data/raw ocr_text

PP-OCRv4 through RapidOCR on onnxruntime, its detector at a longest side of 224 pixels and without the
upside-down classifier: several times cheaper than as shipped, and blind to small print. A flat
picture holds no text and is not looked at. One thread a worker: the shard map runs in parallel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pydantic import Field

from components.component import Pixels, Scorer
from components.dataset.pairs import PairBatch
from components.registry import scorer
from components.settings import Settings

FLAT = 2.0  # standard deviation of luma, of 255, under which no letter can stand out


class OcrTextSettings(Settings):
    side: int = Field(224, ge=64, le=2048, multiple_of=32, description="longest side given to the detector, pixels")
    min_confidence: float = Field(0.5, ge=0, le=1, description="of a line that is kept")


@scorer("ocr_text")
class OcrText(Scorer[OcrTextSettings]):
    """Text found in each picture, top to bottom.

    Columns:
        text: the lines, joined by spaces; "" if none.
        lines: how many.
        share: area of their boxes over the picture's area, 0..1.
        confidence: mean of the lines' recognition confidence, 0..1; null if there is none.
    """

    requires = Pixels(size=224)
    libraries = ("rapidocr-onnxruntime", "onnxruntime", "opencv-python-headless")
    columns = {"text": pa.string(), "lines": pa.int32(), "share": pa.float32(), "confidence": pa.float32()}

    @property
    def pixels(self) -> int:
        return self.settings.side

    def setup(self, device: str) -> None:
        from rapidocr_onnxruntime import RapidOCR

        self.reader = RapidOCR(
            det_limit_side_len=self.settings.side,
            det_limit_type="max",
            text_score=self.settings.min_confidence,
            use_cls=False,
            intra_op_num_threads=1,
            inter_op_num_threads=1,
        )

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        found = [self.read(image) for image in pairs.images if image is not None]
        assert len(found) == len(pairs), "ocr_text sees only decoded pictures"
        return {
            "text": [" ".join(text for _, text, _ in lines) for lines in found],
            "lines": [len(lines) for lines in found],
            "share": [
                covered_share([box for box, _, _ in lines], image.shape[:2])
                for lines, image in zip(found, pairs.images, strict=True)
                if image is not None
            ],
            "confidence": [float(np.mean([c for _, _, c in lines])) if lines else None for lines in found],
        }

    def read(self, image: np.ndarray) -> list[tuple[Sequence[Sequence[float]], str, float]]:
        """(box of 4 corners in pixels of `image`, text, confidence) of each line."""
        if float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).std()) < FLAT:
            return []
        bgr = cv2.cvtColor(_shrunk(image, self.settings.side), cv2.COLOR_RGB2BGR)
        scale = max(image.shape[:2]) / max(bgr.shape[:2])
        lines, _ = self.reader(bgr, use_det=True, use_cls=False, use_rec=True)
        return [
            ([[x * scale, y * scale] for x, y in box], str(text), float(confidence))
            for box, text, confidence in lines or []
        ]


def covered_share(boxes: Sequence[Sequence[Sequence[float]]], shape: tuple[int, int]) -> float:
    """Share of an (h, w) picture inside at least one box, to a 128-cell grid on the longer side."""
    if not boxes:
        return 0.0
    scale = 128 / max(shape)
    grid = np.zeros((max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)), np.uint8)
    for box in boxes:
        cv2.fillConvexPoly(grid, np.round(np.asarray(box) * scale).astype(np.int32), 1)
    return float(grid.mean())


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with its longest side at most twice `side`: recognition keeps detail, detection loses none."""
    longest = max(image.shape[:2])
    if longest <= 2 * side:
        return image
    size = (max(image.shape[1] * 2 * side // longest, 1), max(image.shape[0] * 2 * side // longest, 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
