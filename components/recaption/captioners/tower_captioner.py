"""Captions by a captioner with a vision tower of its own (the task `tower_captioner`): it looks at the pictures.

recaption: {expanded: {uses: tower_captioner, with: {model: "step:tuned", decoding: {search: beam, beams: 3}}}}
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Pixels
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings


class TowerCaptionsSettings(Settings):
    model: ModelFolder
    size: int = Field(224, ge=16, description="pixels; pictures are decoded at least this large")
    decoding: Decoding = Decoding()
    seed: int = Field(0, ge=0, description="of what is drawn, beside the pair's key")
    lang: str = Field("en", description="language of the captions, BCP 47")


@captioner("tower_captioner")
class TowerCaptions(Captioner[TowerCaptionsSettings]):
    """The best caption of each picture; None where the model has nothing to say."""

    requires = Pixels(size=224)
    libraries = ("torch", "transformers")
    runs_model = True

    @property
    def pixels(self) -> int:
        return self.settings.size

    def setup(self, device: str) -> None:
        from pairwright.components.models.captioner.tower_captioner import load_tower_captioner

        assert self.settings.model.path is not None
        self.model = load_tower_captioner(self.settings.model.path, device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        images = [image for image in pairs.images if image is not None]
        if not images:
            return []
        wish = self.settings
        seeds = [zlib.crc32(f"{wish.seed} {key}".encode()) for key in pairs.keys]
        found = self.model.generate({"image": self.model.shown(images)}, wish.decoding, (), seeds)
        return [Caption(texts[0], wish.lang) if texts[0] else None for texts in found]
