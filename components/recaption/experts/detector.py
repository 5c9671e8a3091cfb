"""Detector: what stands where in a picture, by any object detector of `transformers` from a folder.

recaption: {seen: {uses: detector, with: {model: ./detr-resnet-50, min_score: 0.5}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.boxes import BOXES
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class DetectorSettings(Settings):
    model: ModelFolder
    size: int = Field(512, ge=16, description="pixels; shorter side the model is given, where the picture has it")
    min_score: float = Field(0.5, ge=0, le=1, description="probability over which a box is kept")
    most: int = Field(20, ge=1, description="boxes kept at most, the surest first")


@scorer("detector")
class BoxDetector(Scorer[DetectorSettings]):
    """Columns `boxes`, `labels`, `scores`, the surest first; empty where nothing was found."""

    columns = BOXES
    requires = Pixels(size=512)
    runs_model = True
    libraries = ("torch", "transformers")

    @property
    def pixels(self) -> int:
        return self.settings.size

    def setup(self, device: str) -> None:
        from pairwright.components.models.detector import load_detector

        assert self.settings.model.path is not None
        self.detector = load_detector(self.settings.model.path, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        images = [image for image in pairs.images if image is not None]
        assert len(images) == len(pairs), "detector sees only decoded pictures"
        found = [some[: self.settings.most] for some in self.detector.find(images, self.settings.min_score)]
        return {
            "boxes": [[list(one.box) for one in some] for some in found],
            "labels": [[one.label for one in some] for some in found],
            "scores": [[one.score for one in some] for some in found],
        }
