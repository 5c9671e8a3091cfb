"""Projection heads fitted on features of two locked towers, in seconds (locked-image tuning, Zhai et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.finite import require_finite
from pairwright.components.models.dual_encoders.contrastive import Targets, same_group, softmax_loss, weighted_mean
from pairwright.components.models.dual_encoders.heads import Heads, as_features
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import Kept, fit_here
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task

WARM_UP_SHARE = 0.1


class HeadsSettings(TrainerSettings):
    dim: int = Field(256, ge=2, le=4096, description="of the shared space")


class FitHeads(Task[HeadsSettings]):
    """Symmetric InfoNCE between two projections; pairs of one group are positives of each other."""

    name = "heads"
    joint = True

    def reads(self) -> Reads:
        return Reads(columns=("image", "text", "weight"))

    def build(self) -> nn.Module:
        widths = (self.population.width("image"), self.population.width("text"))
        return Heads(*widths, self.settings.dim, self.settings.seed)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        fields = {name: torch.from_numpy(examples.column(name)) for name in ("image", "text", "weight")}
        return fields | {"groups": torch.from_numpy(examples.groups)}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        image, text = self.model.image_projection(batch["image"]), self.model.text_projection(batch["text"])
        return {"image": image, "text": text}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        alike = Targets(same_group(batch["groups"], batch.own))
        each = softmax_loss(outputs["image"], outputs["text"], self.model.scale, alike, batch.own)
        return {"loss": weighted_mean(each, batch["weight"], batch.own)}


def fit_heads(
    image: Any,
    text: Any,
    *,
    dim: int = 256,
    steps: int = 300,
    batch_size: int = 512,
    lr: float = 1e-3,
    weight_decay: float = 0.1,
    seed: int = 0,
    weights: Any = None,
    groups: Sequence[int] | np.ndarray | None = None,
    kept: Kept | None = None,
) -> Heads:
    """Heads trained on pairs of features by the softmax contrastive loss. Same seed, same heads.

    Args:
        image: (n, image width) features; `text`: (n, text width), row for row.
        steps: optimizer steps of `batch_size` pairs each (all pairs if there are fewer).
        weights: (n,) non-negative weight of each pair's loss; all 1 if None.
        groups: (n,) integer ids; pairs of one id (the same caption) are positives of each other.
        kept: where the fit goes on after a kill.

    Raises:
        NotFinite: a feature is not.
        ModelError: three steps in a row were not finite.
    """
    x, y = as_features(image), as_features(text)
    require_finite(x, "the picture features of the heads")
    require_finite(y, "the text features of the heads")
    weight = torch.ones(len(x)) if weights is None else as_features(weights)
    ids = np.arange(len(x)) if groups is None else np.asarray(groups)
    columns = {"image": x.numpy(), "text": y.numpy(), "weight": weight.numpy()}
    settings = HeadsSettings(
        dim=dim,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        warmup_steps=max(1, int(WARM_UP_SHARE * steps)),
        clip_norm=float("inf"),
    )
    task = FitHeads(settings)
    fit_here(task, ArrayPopulation(columns, groups=ids.astype(np.int64)), kept=kept)
    heads: Heads = task.model
    return heads
