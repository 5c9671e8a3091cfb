"""SPRC (Bai et al., 2024): the reference, read together with the text, becomes a prompt before that text.

    pretrain: {uses: sprc, with: {patches: patch_features.vector, reference: reference, modification: modification}}

    L = itc + w_rtc rtc + w_align align
    itc    cross-entropy of s <query_i, target_j>, best of the target's queries, j over the batch, one way
    rtc    the same of the learnt prompt's query, which no picture is in
    align  mean square of (the mean of a row's fused prompts - the mean learnt prompt, detached)

The align term's target is one vector, the same for every row, and its gradient reaches the fusion alone. Released
weights are .4 and .4 for CIRR; the FashionIQ trainer ignores them (all weights 1). The temperature starts at .07 and is
learnt. A pair is a target; its reference is another pair, named by a label, and what was changed a caption of its own.
Towers are locked: patches are a column, words the text tower's word vectors. Mechanism verified by test, figure not
reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.pretrain.composed.task import ComposedSettings, ComposedTask, contrast, places
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.composed.net import ComposedNet, Words


class SprcSettings(ComposedSettings):
    patches: str = Field("patch_features.vector", description="column of the locked image tower's patches")
    grid: int = Field(3, ge=1, le=16, description="patches across and down, as that column has them")
    reference: str = Field("reference", description="label that names the key of the pair asked from")
    modification: str = Field("modification", description="captions that say what is changed")
    queries: int = Field(8, ge=1, le=64, description="of the Q-Former, and tokens of a prompt; the paper has 32")
    width: int = Field(128, ge=8, description="of the Q-Former; a multiple of its heads")
    layers: int = Field(2, ge=1, le=12)
    heads: int = Field(4, ge=1)
    most_words: int = Field(24, ge=1, description="word pieces of a text that are read")
    rtc: float = Field(0.4, ge=0, description="w_rtc; 0 leaves the term out")
    align: float = Field(0.4, ge=0, description="w_align; 0 leaves the term out")


@task("sprc")
class Sprc(ComposedTask[SprcSettings]):
    """`loss` with its parts `itc`, `rtc` and `align`."""

    requires = Columns("patches") + Captions("modification")

    def reads(self) -> Reads:
        wish = self.settings
        return Reads(
            columns=(wish.patches,),
            texts=(wish.modification,),
            labels=(wish.reference,),
            optional=frozenset((wish.modification, wish.reference)),  # a pair without one may be another's reference
        )

    def net(self, image_width: int, text_width: int) -> ComposedNet:
        from pairwright.components.models.composed.qformer import QFormer

        wish = self.settings
        shape = {"dim": wish.dim, "width": wish.width, "layers": wish.layers, "heads": wish.heads}
        shape |= {"queries": wish.queries, "grid": wish.grid, "most_words": wish.most_words}
        return QFormer(image_width, text_width, **shape)

    def build(self) -> nn.Module:
        built = super().build()
        found = self.population.width(self.settings.patches)
        if found != self.settings.grid**2 * self.image_tower.width:
            raise ColumnError(
                f"sprc: {self.settings.patches} is {found} wide, {self.settings.grid} x {self.settings.grid} patches "
                f"of {self.image_tower.width} are not; give both the same grid and tower"
            )
        self.numbers = {self.population.key(number): number for number in range(self.population.size)}
        return built

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        wish = self.settings
        texts = examples.texts(wish.modification)
        found = places(self.numbers, examples.labels(wish.reference))
        asked = (found >= 0) & np.array([bool(text) for text in texts])
        words, real = self.words(texts)
        return {
            "target": torch.from_numpy(examples.column(wish.patches)),
            "reference": self.column_of(wish.patches, np.where(found >= 0, found, examples.numbers), examples),
            "words": {"vectors": words, "real": real},
            "asked": torch.from_numpy(asked),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        net, said = self.model, (batch["words"]["vectors"], batch["words"]["real"])
        return sprc_outputs(net, self._patches(batch["reference"]), said, self._patches(batch["target"]))

    def _patches(self, flat: Tensor) -> Tensor:
        """(n, g g width) as the column has them -> (n, g g, width)."""
        return flat.float().unflatten(1, (self.settings.grid**2, -1))

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        wish, scale, asked = self.settings, self.model.scale, batch["asked"]
        named = {"itc": contrast(outputs["query"], outputs["target"], scale, batch.own, asked)}
        loss = named["itc"]
        if wish.rtc:
            named["rtc"] = contrast(outputs["learnt"], outputs["target"], scale, batch.own, asked)
            loss = loss + wish.rtc * named["rtc"]
        if wish.align:
            named["align"] = align(outputs["fused"][batch.own], self.model.prompt, asked[batch.own])
            loss = loss + wish.align * named["align"]
        return {**named, "loss": loss, "logit_scale": scale}


def sprc_outputs(net: Any, reference: Tensor, said: Words, target: Tensor) -> dict[str, Tensor]:
    """Everything the three terms need, a row an example: `fused` is the mean of a row's prompts."""
    prompt = net.fused(reference, said)
    return {
        "query": net.sentence(prompt, said),
        "learnt": net.learnt(said),
        "target": net.target(target),
        "fused": prompt.mean(1),
    }


def align(fused: Tensor, prompt: Tensor, asked: Tensor) -> Tensor:
    """Mean square of (n, width) fused means from the one mean of the learnt prompts (1, Q, width), detached."""
    goal = prompt.detach().mean(1)
    each = (fused - goal).square().mean(1)
    counted = asked.to(each.dtype)
    return (each * counted).sum() / counted.sum().clamp(min=1)
