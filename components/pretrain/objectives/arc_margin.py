"""ArcMargin: a picture must lie an angle nearer to its class's centre than to any other (ArcFace; Deng et al., 2019).

    objective: {uses: arc_margin, with: {classes: pair.label.subgroup}}                      # 2SFT's first stage
    objective: {uses: arc_margin, with: {classes: pair.label.subgroup, captions: [alt, keywords]}}    # MCIP

    L = -1/n sum_i log softmax_j s phi_ij at j = y_i,    phi_ij = cos(theta_ij + m) at j = y_i, cos(theta_ij) elsewhere

theta_ij is the angle between picture i and centre j; m = 0 is the normalised softmax. Past theta = pi - m, where the
cosine would rise again, phi goes on as cos(theta) - m sin(m), as in the authors' code. Class centres are learnt here
and are no part of the model: its folder has the base's tensors and no others.

Multi-caption ArcMargin (Visual-Computing/MCIP) adds, for each source of pseudo-captions, the same loss with the batch's
captions of that source as centres, a picture's own being its class; a caption of a picture of its own class is then no
wrong answer. Which margins, scales and captions the paper takes is not public: these are starting values.
Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions, Objective
from pairwright.components.dataset.examples.identity import Identity, identities, identity_reads
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.dataset.examples.example import Examples


class ArcMarginSettings(Settings):
    classes: Identity = Field(description="what makes two pictures of one class, e.g. pair.label.subgroup")
    margin: float = Field(0.3, ge=0, lt=math.pi / 2, description="m, radians")
    scale: float = Field(16.0, gt=0, description="s")
    captions: tuple[str, ...] = Field((), description="sources of pseudo-captions that are centres, too; MCIP's")
    caption_weight: float = Field(1.0, ge=0, description="of the captions' loss beside the classes'; 0 leaves it out")


@objective("arc_margin")
class ArcMargin(Objective[ArcMarginSettings]):
    """`loss` = classes + caption_weight * mean over sources of the captions' loss."""

    requires = Captions("captions")
    captions = False  # the caption a pair that others look at is not

    @property
    def sources(self) -> tuple[str, ...]:
        return self.settings.captions if self.settings.caption_weight else ()

    def reads(self) -> Reads:
        read = replace(identity_reads(self.settings.classes), optional=frozenset())  # a pair needs its class
        more: Reads = self.towers.reads_texts(self.sources, every=True) if self.sources else Reads()
        return read + more

    def modules(self) -> nn.Module | None:
        import numpy as np

        from pairwright.components.models.clustering.centres import Centres

        self.known = np.unique(self.population.identities(self.settings.classes))
        self.centres = Centres(len(self.known), self.towers.model.dim, self.towers.settings.seed)
        return self.centres

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import numpy as np
        import torch

        at = np.searchsorted(self.known, identities(examples, self.settings.classes))
        fields: dict[str, Any] = {"class": torch.from_numpy(at.astype(np.int64))}
        if self.sources:
            fields["captions"] = self.towers.collate_texts(examples, self.sources)
        return fields

    def encode(self, batch: Any) -> dict[str, Tensor]:
        return {"captions": self.towers.embed_texts(batch["captions"])} if self.sources else {}

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        import torch
        from torch.nn import functional as F  # noqa: N812

        wish, own, of_class = self.settings, batch.own, batch["class"]
        image = outputs["image"][own]
        cosines = image @ self.centres().T
        named = {"classes": F.cross_entropy(arc_logits(cosines, of_class[own], wish.margin, wish.scale), of_class[own])}
        named["loss"] = named["classes"]
        if self.sources:
            rows = torch.arange(len(of_class), device=image.device)[own]
            fellow = of_class[own, None] == of_class[None, :]
            fellow[torch.arange(len(rows), device=image.device), rows] = False  # its own caption is the right answer
            each = []
            for texts in outputs["captions"].unbind(1):
                logits = arc_logits(image @ texts.T, rows, wish.margin, wish.scale).masked_fill(fellow, -torch.inf)
                each.append(F.cross_entropy(logits, rows))
            named["captions"] = torch.stack(each).mean()
            named["loss"] = named["classes"] + wish.caption_weight * named["captions"]
        return named


def arc_logits(cosines: Tensor, target: Tensor, margin: float, scale: float) -> Tensor:
    """s phi: cosines (n, c) and each row's target (n,) -> logits (n, c); with m = 0 they are s cos, bit for bit."""
    import torch

    if not margin:
        return scale * cosines
    cos = cosines.gather(1, target[:, None])
    sin = (1 - cos.square()).clamp(min=1e-12).sqrt()
    phi = cos * math.cos(margin) - sin * math.sin(margin)
    phi = torch.where(cos > math.cos(math.pi - margin), phi, cos - margin * math.sin(margin))
    return scale * cosines.scatter(1, target[:, None], phi)
