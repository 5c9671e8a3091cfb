"""GeneCIS's training (Vaze et al., 2023): a combiner of picture and condition learns from triplets mined of captions.

    pretrain: {uses: genecis_combiner, init: "step:align", with: {source: alt, triplets: 20000}}

    L = mean over mined (reference, condition, target): cross-entropy of s <query, target_j> over the batch's targets

from query to target only, s = 100; no triplet is labelled by anyone. An example is a target; which of its mined
references is asked from is drawn each epoch, and an example that no triplet aims at is only a wrong answer. The
distractor is mined, and unused by the loss, as in the released code. The towers are locked; the projections, which
`init` may take from a dual encoder, and the combiner are trained. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import in_blocks
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import DatasetError
from pairwright.components.pretrain.composed.miner import Telling, Triplet, mine, read_concreteness
from pairwright.components.pretrain.composed.task import ComposedSettings, ComposedTask, contrast
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.composed.net import ComposedNet


class GenecisCombinerSettings(ComposedSettings):
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    source: str = Field("alt", description="captions that triplets are mined of")
    triplets: int = Field(20_000, ge=1, description="drawn; fewer are found")
    least: int = Field(5, ge=2, description="pictures that tell of a subject, at least")
    concreteness: Path | None = Field(None, description="table of Word and Conc.M; without one no triplet is refused")
    threshold: float = Field(4.8, description="mean concreteness of the six nouns, to be exceeded")
    hidden: int = Field(512, ge=1, description="width of the combiner's layers")
    dropout: float = Field(0.5, ge=0, lt=1)
    initial_scale: float = Field(100.0, gt=0, le=100, description="s, which is not learnt")


@task("genecis_combiner")
class GenecisCombiner(ComposedTask[GenecisCombinerSettings]):
    requires = Columns("image_features") + Captions("source")

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.image_features,), texts=(self.settings.source,))

    def net(self, image_width: int, text_width: int) -> ComposedNet:
        from pairwright.components.models.composed.combiner import Combiner

        wish = self.settings
        return Combiner(image_width, text_width, dim=wish.dim, hidden=wish.hidden, dropout=wish.dropout)

    def build(self) -> nn.Module:
        built = super().build()
        built.get_parameter("log_scale").requires_grad_(False)
        mined, refused = self._mined()
        if not mined:
            raise DatasetError(
                f'genecis_combiner: no triplet can be mined of "{self.settings.source}" ({refused} were too abstract): '
                f"no subject is told of by {self.settings.least} pictures with two objects; lower `least`"
            )
        said = list(dict.fromkeys(one.condition for one in mined))
        place = {text: number for number, text in enumerate(said)}
        self.conditions = self.text_tower.features(said).clone().cpu()
        self.aimed: dict[int, list[tuple[int, int]]] = {}
        for one in mined:
            self.aimed.setdefault(one.target, []).append((one.reference, place[one.condition]))
        return built

    def start_from(self, folder: Path) -> None:
        import math

        import torch

        super().start_from(folder)
        with torch.no_grad():
            self.model.log_scale.fill_(math.log(self.settings.initial_scale))

    def _mined(self) -> tuple[list[Triplet], int]:
        from pairwright.components.dataset.captions.scene_graph import scene_graph

        wish = self.settings
        tellings = []
        for some in in_blocks(self.population, np.arange(self.population.size)):
            for number, caption in zip(some.numbers.tolist(), some.texts(wish.source), strict=True):
                tellings += [Telling(number, one) for one in scene_graph(caption)]
        ratings = None if wish.concreteness is None else read_concreteness(wish.concreteness)
        return mine(
            tellings, wish.triplets, wish.seed, least=wish.least, concreteness=ratings, threshold=wish.threshold
        )

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        column = self.settings.image_features
        aimed = [self.aimed.get(number, []) for number in examples.numbers.tolist()]
        drawn = examples.draw("triplet")
        chosen = [some[int(at * len(some))] if some else None for some, at in zip(aimed, drawn, strict=True)]
        own = examples.numbers.tolist()
        references = np.array([n if one is None else one[0] for one, n in zip(chosen, own, strict=True)], np.int64)
        conditions = [0 if one is None else one[1] for one in chosen]
        return {
            "target": torch.from_numpy(examples.column(column)),
            "reference": self.column_of(column, references, examples),
            "condition": self.conditions[conditions],
            "asked": torch.tensor([one is not None for one in chosen]),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        query = self.model.query(batch["reference"], batch["condition"])
        return {"query": query, "target": self.model.target(batch["target"])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"loss": contrast(outputs["query"], outputs["target"], self.model.scale, batch.own, batch["asked"])}
