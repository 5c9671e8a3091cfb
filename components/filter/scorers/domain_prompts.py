"""Domain prompts: how much a picture looks like its domain, by a dual encoder asked in words.

    score:
      looks: {uses: domain_prompts, with: {model: org/clip, positive: [a satellite image],
              negative: [a photo taken on the ground, a logo]}}
    keep:  {of_the_domain: "looks.score >= 0.5"}

RS5M's second sieve (Zhang et al., 2024): a caption may say "aerial view" over any picture, so the picture
itself is compared with prompts for and against. The score is the softmax over all prompts, at the
model's own temperature, summed over those for. Mechanism verified by test, the paper's thresholds are
not reproduced. Without a public dual encoder use `domain_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class DomainPromptsSettings(Settings):
    model: ModelFolder
    positive: tuple[str, ...] = Field(min_length=1, description="prompts that say the domain")
    negative: tuple[str, ...] = Field(min_length=1, description="prompts that say what it is taken for instead")


@scorer("domain_prompts")
class DomainPrompts(Scorer[DomainPromptsSettings]):
    """Columns are null where the picture does not decode.

    Columns:
        score: probability of the positive prompts together, 0..1.
        prompt: the likeliest prompt of all.
    """

    requires = Pixels(size=224)
    libraries = TOWER_LIBRARIES
    columns = {"score": pa.float32(), "prompt": pa.string()}
    runs_model = True

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.model))

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)
        self.prompts = [*self.settings.positive, *self.settings.negative]
        self.texts = self.model.encode_text(self.prompts)  # (p, d), unit norm

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        images = self.model.encode_image([image for image in pairs.images if image is not None])
        chances = (images @ self.texts.T * self.model.scale.detach()).softmax(-1)  # (n, p)
        return {
            "score": chances[:, : len(self.settings.positive)].sum(-1),
            "prompt": [self.prompts[index] for index in chances.argmax(-1).tolist()],
        }
