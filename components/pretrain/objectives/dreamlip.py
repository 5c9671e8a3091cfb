"""DreamLIP (Zheng et al., 2024): parts of long captions as further captions, each grounded in the patches it speaks of.

    pretrain: {with: {objective: {uses: dreamlip, with: {sources: [alt, long], subcaptions: 6}}}}

x is a picture, p its patches, t_k its K sub-captions, drawn anew each epoch from all parts of its captions.

    L = 1/K sum_k CLIP(x, t_k) + weight L_group
    w_kp = minmax_p <t_k, p>, 0 below the threshold, divided by its sum over p
    v_k = norm(sum_p w_kp p)
    L_group = InfoNCE, both ways, between all B K of t_k and v_k, with a temperature of its own

So one long caption teaches what its sentences say one by one, and a sentence what part of the picture it means. In
the authors' code texts stacked K-major are viewed as B x K, so that patches meet other pictures' sentences; here a
picture's patches meet its own. Equations as in that code (github.com/zyf0619sjtu/DreamLIP); mechanism verified by
test, figure not reproduced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Objective
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.dataset.examples.example import Examples
    from pairwright.components.dataset.examples.wish import Reads

PARTS = {"sentences": r"(?<=[.!?;])\s+|\n+", "phrases": r"[.!?;,|]\s+|\n+"}
TINY = 1e-6


class DreamLipSettings(Settings):
    sources: tuple[str, ...] = Field(min_length=1, description="caption sources, all texts of each; one is enough")
    subcaptions: int = Field(6, ge=1, description="K, drawn of a pair's each epoch; a pair with fewer repeats them")
    parts: Literal["sentences", "phrases", "whole"] = Field(
        "sentences", description="what a caption is taken apart into; from columns of features it stays whole"
    )
    weight: float = Field(1.0, ge=0, description="of the grouping loss; 0 looks at no patches")
    threshold: float | None = Field(0.1, ge=0, lt=1, description="below which a patch has no share; None: 1 / P")
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step, of both losses")


@objective("dreamlip")
class DreamLip(Objective[DreamLipSettings]):
    """`loss` = `contrast` + weight * `grouping`."""

    requires = Captions("sources")
    captions = False

    @property
    def patches(self) -> bool:  # type: ignore[override]
        return self.settings.weight > 0

    @property
    def initial_log_scale(self) -> float:  # type: ignore[override]
        return math.log(self.settings.initial_scale)

    def modules(self) -> nn.Module | None:
        import torch
        from torch import nn

        if not self.patches:
            return None
        start = torch.tensor(math.log(self.settings.initial_scale), device=self.towers.model.device)
        self.own = nn.ParameterDict({"log_scale": nn.Parameter(start)})
        return self.own

    def reads(self) -> Reads:
        reads: Reads = self.towers.reads_texts(self.settings.sources)
        return reads

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        wish = self.settings
        if self.towers.settings.from_features:
            has = np.stack([examples.known(self.towers.column_of(source)) for source in wish.sources], 1)
            chosen = drawn(examples, [np.flatnonzero(row) for row in has], wish.subcaptions)
            return {
                "subcaptions": self.towers.collate_texts(examples, wish.sources)[np.arange(len(has))[:, None], chosen]
            }
        said = [examples.all_texts(source) for source in wish.sources]
        parts = [
            parts_of([text.text for texts in one for text in texts], wish.parts) for one in zip(*said, strict=True)
        ]
        chosen = drawn(examples, [np.arange(len(one)) for one in parts], wish.subcaptions)
        return {"subcaptions": self.towers.tokens_of([[one[k] for k in row] for one, row in zip(parts, chosen)])}

    def encode(self, batch: Any) -> dict[str, Tensor]:
        texts = self.towers.embed_texts(batch["subcaptions"])
        if not self.patches:
            return {"subcaptions": texts}
        return {"subcaptions": texts, "grouped": grouped(texts, batch["patches"], self.settings.threshold)}

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE, softmax_loss

        texts = outputs["subcaptions"]
        count = texts.shape[1]
        each = [
            softmax_loss(outputs["image"], texts[:, k], outputs["scale"], own=batch.own).mean() for k in range(count)
        ]
        contrast = sum(each[1:], start=each[0]) / count if count > 1 else each[0]
        if not self.patches:
            return {"loss": contrast}
        rows = range(len(texts))[batch.own]
        flat = slice(rows.start * count, rows.stop * count)
        scale = self.own["log_scale"].exp().clamp(max=MAX_SCALE)
        grouping = softmax_loss(outputs["grouped"].flatten(0, 1), texts.flatten(0, 1), scale, own=flat).mean()
        return {"loss": contrast + self.settings.weight * grouping, "contrast": contrast, "grouping": grouping}

    def after_step(self, seen: Any) -> None:
        from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE

        if self.patches:
            self.own["log_scale"].data.clamp_(max=math.log(MAX_SCALE))


def parts_of(texts: list[str], kind: str) -> list[str]:
    """The parts of all captions of a pair, each once, in their order."""
    whole = [text for text in texts if text.strip()]
    cut = [part.strip() for text in whole for part in re.split(PARTS[kind], text)] if kind in PARTS else whole
    return list(dict.fromkeys(part for part in cut if re.search(r"\w", part))) or whole or [""]


def drawn(examples: Examples, choices: list[np.ndarray], count: int) -> np.ndarray:
    """`count` of each pair's choices in an order drawn this epoch, from the start again where they end: (n, count)."""
    most = max(len(one) for one in choices)
    draw = examples.draw("subcaptions", (most,))
    orders = [one[np.argsort(draw[row, : len(one)], kind="stable")] for row, one in enumerate(choices)]
    return np.stack([np.resize(order, count) for order in orders])


def grouped(texts: Tensor, patches: Tensor, threshold: float | None) -> Tensor:
    """(n, K, d), (n, P, d) unit vectors -> v, (n, K, d): each text's patches, pooled."""
    from torch.nn import functional as F  # noqa: N812

    return F.normalize(patch_weights(texts, patches, threshold) @ patches, dim=-1)


def patch_weights(texts: Tensor, patches: Tensor, threshold: float | None) -> Tensor:
    """(n, K, d), (n, P, d) unit vectors -> w, (n, K, P), rows sum to 1; even where all patches are as near."""
    s = texts @ patches.transpose(1, 2)
    low, high = s.amin(2, keepdim=True), s.amax(2, keepdim=True)
    w = (s - low) / (high - low).clamp(min=TINY)
    w = w.masked_fill(w < (1 / s.shape[2] if threshold is None else threshold), 0.0)
    w = w.masked_fill(high - low < TINY, 1.0)
    return w / w.sum(2, keepdim=True)
