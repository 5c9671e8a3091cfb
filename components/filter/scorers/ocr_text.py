"""OCR text: what is written in the picture, and how much of the picture it covers.

    pairwright score data/raw ocr_text

PP-OCRv4 through RapidOCR, made cheap (components/models/text_in_pictures/text_reader.py): blind to small print.
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
        boxes: of each line its corners x0, y0, ... x3, y3 over the picture's width and height; what
            `masked_alignment` and `masked_image_features` need not find again.
    """

    requires = Pixels(size=224)
    runs_model = True
    libraries = ("rapidocr-onnxruntime", "onnxruntime", "opencv-python-headless")
    columns = {
        "text": pa.string(),
        "lines": pa.int32(),
        "share": pa.float32(),
        "confidence": pa.float32(),
        "boxes": pa.list_(pa.list_(pa.float32())),
    }

    @property
    def pixels(self) -> int:
        return self.settings.side

    def setup(self, device: str) -> None:
        from pairwright.components.models.text_in_pictures.text_reader import TextReader

        self.reader = TextReader(self.settings.side, self.settings.min_confidence)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        from pairwright.components.models.text_in_pictures.text_reader import covered_share, relative

        images = [image for image in pairs.images if image is not None]
        assert len(images) == len(pairs), "ocr_text sees only decoded pictures"
        found = [self.reader.lines(image) for image in images]
        boxes = [[box for box, _, _ in lines] for lines in found]
        shapes = [image.shape[:2] for image in images]
        return {
            "text": [" ".join(text for _, text, _ in lines) for lines in found],
            "lines": [len(lines) for lines in found],
            "share": [covered_share(one, shape) for one, shape in zip(boxes, shapes, strict=True)],
            "confidence": [float(np.mean([c for _, _, c in lines])) if lines else None for lines in found],
            "boxes": [relative(one, shape) for one, shape in zip(boxes, shapes, strict=True)],
        }
