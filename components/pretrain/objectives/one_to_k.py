"""1-to-K contrastive loss (CCRK; Nie et al., 2024): a picture and its caption in K languages at once.

    pretrain: {with: {objective: {uses: one_to_k, with: {texts: [alt, "translation@de", "translation@ja"]}}}}

    L = (L_i2t + L_t2i) / 2
    L_i2t = -1/B sum_i 1/K sum_k log softmax over all B K texts of s <x_i, y_ik>
    L_t2i = -1/(B K) sum_ik log softmax over all B pictures of s <y_ik, x_i>

With K identical texts L_i2t is InfoNCE + log K. A picture's own texts are never negatives of each other. The authors'
code divides L_t2i by K once more (`released`). No image-text matching head is here: the loss alone.
Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions, Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.examples.wish import Reads


class OneToKSettings(Settings):
    texts: tuple[str, ...] = Field(min_length=1, description="caption sources; a pair needs a text of each")
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step")
    released: bool = Field(False, description="L_t2i divided by K, as the authors' code does")


@objective("one_to_k")
class OneToK(Objective[OneToKSettings]):
    requires = Captions("texts")
    captions = False

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def reads(self) -> Reads:
        reads: Reads = self.towers.reads_texts(self.settings.texts, every=True)
        return reads

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        return {"languages": self.towers.collate_texts(examples, self.settings.texts)}

    def encode(self, batch: Any) -> dict[str, Tensor]:
        return {"languages": self.towers.embed_texts(batch["languages"])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        i2t, t2i = one_to_k(outputs["image"], outputs["languages"], outputs["scale"], batch.own)
        share = 1 / len(self.settings.texts) if self.settings.released else 1.0
        return {"loss": (i2t + share * t2i) / 2, "i2t": i2t, "t2i": t2i}


def one_to_k(image: Tensor, texts: Tensor, scale: Tensor | float, own: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """(n, d), (n, K, d) unit vectors of the joint batch -> L_i2t and L_t2i over the own rows."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    pictures, languages = texts.shape[:2]
    to_text = F.log_softmax(scale * image[own] @ texts.flatten(0, 1).T, dim=1).unflatten(1, (pictures, languages))
    rows = torch.arange(pictures, device=image.device)[own]
    i2t = -to_text[torch.arange(len(rows), device=image.device), rows].mean()
    to_image = scale * texts[own].flatten(0, 1) @ image.T
    t2i = F.cross_entropy(to_image, rows.repeat_interleave(languages))
    return i2t, t2i
