"""CoLLM (Huynh et al., 2025): composed queries learnt from pictures and captions alone, their triplets made on the fly.

    pretrain: {uses: collm, with: {source: alt, steps: 400}}

Of pair i with vector v_i and caption w_i: an augmented v'_i; j, its nearest other among those encoded together;

    h*_i = slerp(h'_i, h'_j, alpha)                   the reference, which no one took
    w*_i = "show w_i instead of w_j", ... or w_i      the modification: one of 15 templates for 75% of pairs
    L    = mean of InfoNCE(h*_i), InfoNCE(w_i), InfoNCE([h*_i; w*_i]), each to z_i = f(v_i) over the batch

A language model embeds all three queries. No triplet is read, labelled or mined. Here v are a locked tower's features,
augmented by noise and dropout, and the language model is small, over the text tower's word vectors (composer.py); the
paper tunes CLIP's towers and a large one by LoRA. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.pretrain.composed.task import ComposedSettings, ComposedTask, contrast
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.composed.net import ComposedNet

# {new} is the target's caption, {old} its neighbour's. None is a frame of composed scenes (sources/scenes/grammar.py).
TEMPLATES = (
    "show {new} instead of {old}",
    "{new} rather than {old}",
    "change {old} to {new}",
    "not {old}, {new}",
    "{new} and no longer {old}",
    "turn {old} into {new}",
    "from {old} to {new}",
    "exchange {old} for {new}",
    "no {old}; {new}",
    "where it was {old}, want {new}",
    "{old} becomes {new}",
    "without {old}, with {new}",
    "it had {old}, it has {new}",
    "find {new}, unlike {old}",
    "{new}, which differs from {old}",
)


class CollmSettings(ComposedSettings):
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    source: str = Field("alt", description="captions")
    alpha: float = Field(0.5, ge=0, le=1, description="of slerp: 0 is the picture itself, 1 its neighbour")
    templated: float = Field(0.75, ge=0, le=1, description="share of pairs whose text is made by a template")
    noise: float = Field(0.1, ge=0, description="of the augmentation, in standard deviations of a picture's features")
    dropout: float = Field(0.1, ge=0, lt=1, description="of the augmentation: features left out")
    image_only: float = Field(1.0, ge=0, description="weight of the term of h*")
    text_only: float = Field(1.0, ge=0, description="weight of the term of w")
    width: int = Field(128, ge=8, description="of the language model; a multiple of its heads")
    layers: int = Field(2, ge=1, le=12)
    heads: int = Field(4, ge=1)
    most_words: int = Field(40, ge=1, description="word pieces of a text that are read")


@task("collm")
class Collm(ComposedTask[CollmSettings]):
    """`loss` with its parts `composed`, `image_only` and `text_only`."""

    requires = Columns("image_features") + Captions("source")

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.image_features,), texts=(self.settings.source,))

    def net(self, image_width: int, text_width: int) -> ComposedNet:
        from pairwright.components.models.composed.composer import Composer

        wish = self.settings
        shape = {"dim": wish.dim, "width": wish.width, "layers": wish.layers, "heads": wish.heads}
        return Composer(image_width, text_width, **shape, most_words=wish.most_words)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        template = (examples.draw("template") * len(TEMPLATES)).astype(int)
        template[examples.draw("templated") >= self.settings.templated] = -1
        return {
            "image": torch.from_numpy(examples.column(self.settings.image_features)),
            "captions": examples.texts(self.settings.source),
            "template": torch.from_numpy(template),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        net, wish = self.model, self.settings
        h = net.image_projection(augmented(batch["image"], wish.noise, wish.dropout))
        neighbour = nearest_other(h)
        reference = slerp(h, h[neighbour], wish.alpha)
        captions, drawn = batch["captions"], batch["template"].tolist()
        said = [
            captions[i] if at < 0 else TEMPLATES[at].format(new=captions[i], old=captions[j])
            for i, (at, j) in enumerate(zip(drawn, neighbour.tolist(), strict=True))
        ]
        outputs = {"composed": net.read(reference, self._words(said)), "target": net.target(batch["image"])}
        if wish.image_only:
            outputs["image_only"] = net.read(reference, None)
        if wish.text_only:
            outputs["text_only"] = net.read(None, self._words(captions))
        return outputs

    def _words(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        vectors, real = self.words(texts)
        return vectors.to(self.device), real.to(self.device)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        weights = {"composed": 1.0, "image_only": self.settings.image_only, "text_only": self.settings.text_only}
        scale = self.model.scale
        named = {
            name: contrast(outputs[name], outputs["target"], scale, batch.own)
            for name, weight in weights.items()
            if weight
        }
        loss = sum(weights[name] * value for name, value in named.items()) / sum(weights.values())
        return {**named, "loss": loss, "logit_scale": scale}  # type: ignore[dict-item]


def slerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """(n, d) unit vectors -> unit vectors on the great circle from a (alpha 0) to b (alpha 1).

    Where the two are all but the same, or opposite, the straight line is taken and brought to unit length.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812

    # An angle's gradient is unbounded where it is 0; what lies so near is taken by the line anyway.
    cosine = (a * b).sum(-1, keepdim=True).clamp(-1, 1)
    near = cosine.abs() > 1 - 1e-5
    angle = torch.arccos(torch.where(near, torch.zeros_like(cosine), cosine))
    curved = (torch.sin((1 - alpha) * angle) * a + torch.sin(alpha * angle) * b) / torch.sin(angle)
    return F.normalize(torch.where(near, (1 - alpha) * a + alpha * b, curved), dim=-1)


def nearest_other(vectors: Tensor) -> Tensor:
    """The row of each unit vector's nearest other, int64 (n,); a vector alone has none but itself."""
    import torch

    if len(vectors) < 2:
        return torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    likeness = (vectors @ vectors.T).detach()
    return likeness.fill_diagonal_(-torch.inf).argmax(1)


def augmented(features: Tensor, noise: float, dropout: float) -> Tensor:
    """Features (n, width) with noise of so many of a row's standard deviations, and some left out; torch's stream."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    changed = features.float()
    if noise:
        changed = changed + noise * changed.std(1, keepdim=True) * torch.randn_like(changed)
    return F.dropout(changed, dropout) if dropout else changed
