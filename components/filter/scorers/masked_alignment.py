"""Masked alignment: how well a caption fits its picture once the text drawn on it is covered.

    score: {ocr: ocr_text, seen: {uses: masked_alignment, with: {model: org/clip, boxes: ocr.boxes}}}
    keep:  {not_only_read: "seen.score >= quantile(seen.score, 0.5)"}

T-MARS (Maini et al., 2023): nearly half of a crawl's pictures bear text that repeats their caption, and
a dual encoder scores such pairs high by reading. Text is found, covered with its surroundings' mean
colour, and the covered picture is scored; the paper keeps the upper half. Mechanism verified by test,
the paper's figures are not reproduced (it finds text by FAST, this reads with PP-OCRv4). Offline, where
no public dual encoder is given, use `masked_image_features` with `crossfit_alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Captions, Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.models.text_in_pictures.text_mask import TextMask, TextMaskSettings
from pairwright.components.models.text_in_pictures.text_reader import covered_share
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder


class MaskedAlignmentSettings(TextMaskSettings):
    model: ModelFolder  # resolved by the flow: a folder and its weights' hash
    source: str = "alt"  # which caption is scored


@scorer("masked_alignment")
class MaskedAlignment(Scorer[MaskedAlignmentSettings]):
    """Columns are null where the picture does not decode or the caption is absent.

    Columns:
        score: cosine in [-1, 1] of the picture without its text and the caption.
        unmasked: of the picture as it is; `score` itself, bit for bit, where there is no text.
        lines: of text covered. share: of the picture covered, 0..1, before the boxes' margin.
    """

    requires = Pixels(size=224) + Captions("source") + Columns("boxes")
    libraries = (*TOWER_LIBRARIES, "rapidocr-onnxruntime", "opencv-python-headless")
    columns = {"score": pa.float32(), "unmasked": pa.float32(), "lines": pa.int32(), "share": pa.float32()}
    runs_model = True

    @property
    def pixels(self) -> int:
        looked_at = self.settings.side if self.settings.boxes is None else 0
        return max(self.requires.pixels, looked_at, image_side(self.settings.model))

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)
        self.mask = TextMask(self.settings)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        covered, boxes = self.mask(pairs)
        images = [image for image in pairs.images if image is not None]
        texts = self.model.encode_text([text or "" for text in pairs.captions(self.settings.source)])
        unmasked = (self.model.encode_image(images) * texts).sum(-1).cpu().numpy()  # as `alignment` does
        score = unmasked.copy()
        written = np.flatnonzero([len(found) > 0 for found in boxes])
        if len(written):
            vectors = self.model.encode_image([covered[i] for i in written])
            score[written] = (vectors * texts[written]).sum(-1).cpu().numpy()
        return {
            "score": score,
            "unmasked": unmasked,
            "lines": [len(found) for found in boxes],
            "share": [covered_share(found, image.shape[:2]) for found, image in zip(boxes, images, strict=True)],
        }
