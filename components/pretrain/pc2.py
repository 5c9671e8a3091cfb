"""PC2: two dual encoders learn from noisy pairs, each told by the other which are clean (Duan et al., 2024).

    pretrain: {uses: pc2, with: {source: alt, epochs: 20, warmup_epochs: 4}}

"PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in Cross-Modal Retrieval". With
s the cosines of a batch, m the margin, [x]+ = max(0, x):

    warm-up   sum_i mean_j [m + s_ij - s_ii]+ both ways, of all pairs
    split     after an epoch a mixture of two Gaussians on the epoch's losses, min-max scaled, gives P(clean) = p;
              y = p > 0.5. Another on the oscillation KL(c_i now || c_i an epoch ago) gives p_o, y_o.
    clean     sum_i max_j [m_i + s_ij - s_ii]+ both ways, m_i = m (10^y^ - 1) / 9, y^ = p y + (1 - p) p_o y_o
    noisy     the picture borrows the caption of the clean pair of its batch whose pseudo-prediction c is nearest
              (cosine); the same loss, with that cosine for y^, 0 below one half
    classify  CE(c_image, argmax c_caption) - lambda H, c the softmax of one head that both sides share

Each net is trained with the other's p, y and y^. H is the entropy of the batch's mean prediction (`entropy: mean`),
which keeps classes from collapsing into one. The authors' code (github.com/alipay/PC2-NoiseofWeb) takes each picture's
own (`entropy: sample`): at lambda = 10 every prediction is then uniform and tells nothing of its picture, so that what
is borrowed is borrowed from anyone (measured in tests/unit/systems/test_pc2.py).

Unlike theirs: both nets take each step, where theirs take an epoch in turns; losses and predictions of an epoch are
those met while training, where theirs are of a pass of its own; the margin is the pair's own, where theirs is, by
broadcasting, the negative's; pictures that borrowed one caption are no negatives of each other; the folder holds the
first net, theirs averages both nets' similarities. A bank holds 4 K bytes an example and net. Mechanism verified by
test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.clustering.mixture import min_max, two_gaussians
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

NETS = {"a": "b", "b": "a"}  # each and the one it is told by
TINY = 1e-8


class Pc2Settings(TrainerSettings):
    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    text_features: str = Field("text_features.vector", description="column of the locked text tower's features")
    dim: int = Field(256, ge=2, le=4096, description="of each net's space")
    margin: float = Field(0.2, gt=0, description="m")
    warmup_epochs: int = Field(4, ge=1, description="passes over all pairs before the first split")
    classes: int = Field(128, ge=2, description="K, of the pseudo-classification")
    hidden: int = Field(256, ge=1, description="of its head")
    classify: float = Field(1.0, ge=0, description="weight of the cross-entropy")
    entropy_weight: float = Field(10.0, ge=0, description="lambda")
    entropy: Literal["mean", "sample"] = Field("mean", description="whose: the mean prediction's, or each one's")
    borrow: float = Field(1.0, ge=0, description="weight of noisy pictures with borrowed captions")
    batch_size: int = Field(128, ge=2)


@task("pc2")
class Pc2(Task[Pc2Settings]):
    """Writes the first net as a dual encoder's folder; metrics: `clean_share` of pairs, `agreement` of the nets."""

    requires = Columns("image_features", "text_features")
    speaks = ("dual_encoder",)
    libraries = TOWER_LIBRARIES
    joint = True

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.image_features, self.settings.text_features))

    def build(self) -> nn.Module:
        import torch
        from torch import nn

        from pairwright.components.models.towers.untrained import new_dual_encoder

        wish = self.settings
        modules: dict[str, nn.Module] = {}
        for at, net in enumerate(NETS):
            seed = 2 * wish.seed + at
            towers = (wish.image_tower, wish.text_tower)
            modules[net] = new_dual_encoder(*towers, wish.dim, seed=seed, device=str(self.device))
            modules[net].log_scale.requires_grad_(False)  # type: ignore[union-attr]  # a hinge has no temperature
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                head = nn.Sequential(nn.Linear(wish.dim, wish.hidden), nn.ReLU(), nn.Linear(wish.hidden, wish.classes))
            modules[f"head_{net}"] = head.to(self.device)
        self.bank = {net: Bank(self.population.size, wish.classes) for net in NETS}
        return nn.ModuleDict(modules)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        columns = {"image": self.settings.image_features, "text": self.settings.text_features}
        return {side: torch.from_numpy(examples.column(name)) for side, name in columns.items()}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for net in NETS:
            encoder, head = self.model[net], self.model[f"head_{net}"]
            image, text = encoder.project_image(batch["image"]), encoder.project_text(batch["text"])
            outputs |= {f"{net}_image": image, f"{net}_text": text}
            spread = math.sqrt(image.shape[1])  # so that an entry is about 1, as the head's weights are drawn for
            outputs |= {f"{net}_image_class": head(spread * image), f"{net}_text_class": head(spread * text)}
        return outputs

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Of each net: parts by name and, with a row an example, `each` (its loss), `oscillation` and `prediction`."""
        named: dict[str, Tensor] = {}
        for net, teller in NETS.items():
            own = {name.removeprefix(f"{net}_"): value for name, value in outputs.items() if name.startswith(f"{net}_")}
            predicted = own["image_class"].softmax(1)
            parts = self._parts(own, predicted, self.bank[teller], batch)
            named |= {f"{net}_{name}": value for name, value in parts.items()}
            t = (own["image"] @ own["text"].T).detach()
            named[f"{net}_each"] = mean_hinge(t, self.settings.margin)
            named[f"{net}_prediction"] = predicted.detach()
            named[f"{net}_oscillation"] = self.bank[net].oscillation_of(batch.numbers, predicted.detach().cpu())
        named["loss"] = sum(self._weight(name) * value for name, value in named.items() if value.ndim == 0)  # type: ignore[assignment]
        return named

    def _weight(self, name: str) -> float:
        wish, part = self.settings, name[2:]
        return {"classify": wish.classify, "entropy": -wish.entropy_weight, "noisy": wish.borrow}.get(part, 1.0)

    def _parts(self, own: Mapping[str, Tensor], predicted: Tensor, told: Bank, batch: Batch) -> dict[str, Tensor]:
        """One net's named scalars, by what the other net says of this batch's pairs."""
        import torch
        from torch.nn import functional as F  # noqa: N812

        wish, image, text = self.settings, own["image"], own["text"]
        warming = batch.epoch < wish.warmup_epochs
        at = batch.numbers.cpu()
        clean = torch.ones(len(image), dtype=torch.bool) if warming else told.clean[at]
        clean = clean.to(image.device)
        parts: dict[str, Tensor] = {}
        if warming:
            parts["warmup"] = mean_hinge(image @ text.T, wish.margin).mean()
        elif clean.any():
            trust = told.trust[at].to(image)[clean]
            parts["clean"] = hardest_hinge(image[clean] @ text[clean].T, soft_margin(trust, wish.margin)).mean()
            if wish.borrow and not clean.all():
                parts["noisy"] = self._noisy(image, text, predicted, clean)
        if (wish.classify or wish.entropy_weight) and clean.any():
            logits, label = own["image_class"][clean], own["text_class"][clean].argmax(1)
            each = wish.entropy == "sample"
            probability = predicted[clean] if each else predicted[clean].mean(0, keepdim=True)
            parts["classify"] = F.cross_entropy(logits, label)
            parts["entropy"] = entropy(probability).mean()
        return parts or {"clean": image.sum() * 0.0}

    def _noisy(self, image: Tensor, text: Tensor, predicted: Tensor, clean: Tensor) -> Tensor:
        """The loss of this batch's noisy pictures with the captions they borrow."""
        lender, likeness = borrowed(predicted.detach(), clean)
        trust = likeness.masked_fill(likeness < 0.5, 0.0)
        scores = image[~clean] @ text[lender].T
        same = lender[:, None] == lender[None, :]
        return hardest_hinge(scores, soft_margin(trust, self.settings.margin), same).mean()

    def after_step(self, seen: Seen) -> None:
        for net, bank in self.bank.items():
            bank.loss[seen.numbers] = seen.values[f"{net}_each"].float()
            bank.oscillation[seen.numbers] = seen.values[f"{net}_oscillation"].float()
            bank.prediction[seen.numbers] = seen.values[f"{net}_prediction"].float()

    def after_epoch(self, epoch: int) -> None:
        if epoch + 1 >= self.settings.warmup_epochs:
            for bank in self.bank.values():
                bank.split()

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{net}.{name}": value for net, bank in self.bank.items() for name, value in vars(bank).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for net, bank in self.bank.items():
            for name in vars(bank):
                setattr(bank, name, state[f"{net}.{name}"].clone())

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        self.model["a"].save(folder, _card(self.settings, trained))
        p = [bank.probability for bank in self.bank.values()]
        agreed = float(((p[0] > 0.5) == (p[1] > 0.5)).float().mean())
        return {"clean_share": float((p[0] > 0.5).float().mean()), "agreement": agreed}


class Bank:
    """What one net remembers of each example, by its number.

    Attributes:
        loss, oscillation: (N,) of the last epoch it was met; NaN before. prediction: (N, K) likewise, 0 before.
        probability: (N,) P(clean); clean: bool (N,), the label y; trust: (N,) y^. All clean before the first split.
    """

    def __init__(self, size: int, classes: int) -> None:
        import torch

        self.loss, self.oscillation = torch.full((size,), math.nan), torch.full((size,), math.nan)
        self.prediction = torch.zeros(size, classes)
        self.probability, self.trust = torch.ones(size), torch.ones(size)
        self.clean = torch.ones(size, dtype=torch.bool)

    def oscillation_of(self, numbers: Tensor, predicted: Tensor) -> Tensor:
        """KL(predicted || remembered) of each (n,); 0 where nothing is remembered."""
        before = self.prediction[numbers.cpu()]
        now = predicted.float().clamp(min=TINY)
        kl = (now * (now.log() - before.clamp(min=TINY).log())).sum(1)
        return kl.where(before.sum(1) > 0, kl.new_zeros(()))

    def split(self) -> None:
        """Fit both mixtures to what is known; an example that was never met stays as it was."""
        import torch

        known = np.flatnonzero(~torch.isnan(self.loss).numpy())
        p = _lower(self.loss.numpy()[known])
        p_o = _lower(self.oscillation.numpy()[known])
        y = p > _threshold(p)
        trust = p * y + (1 - p) * p_o * (p_o > _threshold(p_o))
        for kept, values in ((self.probability, p), (self.clean, y), (self.trust, trust)):
            kept[known] = torch.from_numpy(values).to(kept.dtype)


def _lower(values: np.ndarray) -> np.ndarray:
    scaled = min_max(values)
    return two_gaussians(scaled).lower(scaled) if len(scaled) > 1 and scaled.any() else np.ones(len(scaled))


def _threshold(p: np.ndarray) -> float:
    """One half; where none is below it, what leaves a hundredth out, as in the authors' code, if that can be told."""
    if not len(p) or p.min() <= 0.5:
        return 0.5
    hundredth = float(np.sort(p)[len(p) // 100])
    return hundredth if hundredth < p.max() else 0.5


def soft_margin(y: Tensor, margin: float) -> Tensor:
    """m (10^y - 1) / 9: 0 at y = 0 and m at y = 1."""
    return margin * (10**y - 1) / 9


def mean_hinge(scores: Tensor, margin: float) -> Tensor:
    """mean_j [m + s_ij - s_ii]+ both ways, of each pair: (n, n) -> (n,)."""
    import torch

    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    hinge = [(margin + s - s.diagonal()[:, None]).clamp(min=0).masked_fill(own, 0.0) for s in (scores, scores.T)]
    return hinge[0].mean(1) + hinge[1].mean(1)


def hardest_hinge(scores: Tensor, margin: Tensor, same: Tensor | None = None) -> Tensor:
    """max_j [m_i + s_ij - s_ii]+ both ways, of each pair: (n, n), (n,) -> (n,).

    Args:
        same: bool (n, n), pairs that are no negatives of each other; the diagonal if None.
    """
    import torch

    none = torch.eye(len(scores), dtype=torch.bool, device=scores.device) if same is None else same
    hinge = [(margin[:, None] + s - s.diagonal()[:, None]).masked_fill(none, -math.inf) for s in (scores, scores.T)]
    return hinge[0].amax(1).clamp(min=0) + hinge[1].amax(1).clamp(min=0)


def borrowed(predicted: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """(n, K) predictions, bool (n,) -> of each noisy row the clean row nearest to it, and their cosine."""
    from torch.nn import functional as F  # noqa: N812

    unit = F.normalize(predicted, dim=1)
    cosine, nearest = (unit[~clean] @ unit[clean].T).max(1)
    return clean.nonzero().flatten()[nearest], cosine


def entropy(p: Tensor) -> Tensor:
    """-sum_k p log p of each row, in nats: (n, K) -> (n,)."""
    return -(p * p.clamp(min=TINY).log()).sum(1)


def _card(wish: Pc2Settings, trained: Trained) -> str:
    return f"""# Dual encoder, learnt from noisy pairs (PC2)

The first of two nets that told each other which pairs are clean.

| | |
|---|---|
| towers | image `{wish.image_tower.reference}`, text `{wish.text_tower.reference}`, locked |
| data | {trained.pairs} pairs of {trained.shards} shards ({trained.excluded} more lacked features) |
| warm-up | {wish.warmup_epochs} epochs of all pairs |
| margin | {wish.margin:g} |
| classes | {wish.classes}, entropy of each {wish.entropy} weighs {wish.entropy_weight:g} |
| batch | {wish.batch_size} pairs, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |

It was not tested for fairness or for safety, and its scores are no probabilities.
"""
