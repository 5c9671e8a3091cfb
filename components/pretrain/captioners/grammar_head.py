"""A grammar head: a text encoder's features tell a caption from the same caption with its words disordered.

    filter: {fit: {grammar: {uses: grammar_head, with: {source: alt, tower: builtin:minilm}}}}

CLIP Reward (Cho et al., 2022): every caption is an example of label 1, and of label 0 once a run of its words is
repeated, left out, or words are put in, exchanged or shuffled, drawn anew each epoch; binary cross-entropy, the tower
locked. A tenth of the captions, told by their keys, teaches nothing, and on these it is measured.

The authors tune CLIP's text encoder beside the head; here it is locked, as the retriever that shares it must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions
from pairwright.components.dataset.captions.corruptions import CORRUPTIONS, DRAWS, corrupted
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.models.words import words_of
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.grammar import GrammarModel

HELD = 10  # one caption in so many teaches nothing
MEASURED = 512  # of these, evenly over the population
KINDS = tuple(CORRUPTIONS)


class GrammarHeadSettings(TrainerSettings):
    source: str = Field("alt", description="captions as people write them")
    tower: ModelFolder = Field(
        ModelFolder(reference="builtin:minilm"), description="text tower, or a dual encoder's folder; it stays locked"
    )
    hidden: int = Field(512, ge=1, description="units between the features and the probability")
    batch_size: int = Field(64, ge=1)
    steps: int = Field(300, ge=1, description="optimizer steps, where `epochs` is not given")


@task("grammar_head")
class GrammarHead(Task[GrammarHeadSettings]):
    """Writes config.json, model.safetensors, the tower and card.md.

    Metrics: `told_KIND`, the share of held-out captions that are more probable than their corruption of that kind, a
    tie being half of one; `probability`, the mean one of captions as they are.
    """

    requires = Captions("source")
    libraries = TOWER_LIBRARIES
    model: GrammarModel

    def reads(self) -> Reads:
        return Reads(texts=(self.settings.source,))

    def build(self) -> GrammarModel:
        from pairwright.components.models.grammar import GrammarModel
        from pairwright.components.models.towers.towers import load_text_tower

        return GrammarModel(load_text_tower(self.settings.tower, str(self.device)), self.settings.hidden).train()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        """Captions in lower case without punctuation, as captioners say them, and one corruption of each."""
        import torch

        words = [words_of(text) for text in examples.texts(self.settings.source)]
        kinds = (examples.draw("kind") * len(KINDS)).astype(int)
        return {
            "caption": [" ".join(one) for one in words],
            "corrupted": [
                " ".join(made)
                for made in corruptions(words, [KINDS[kind] for kind in kinds], examples.draw("words", (DRAWS,)))
            ],
            "teaches": torch.from_numpy(teaches(examples)),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        both = [*batch["caption"], *batch["corrupted"]]
        features = self.model.features(both).to(batch["teaches"].device)
        right, wrong = self.model(features).chunk(2)
        return {"right": right, "wrong": wrong}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        from torch.nn import functional as F  # noqa: N812

        each = F.softplus(-outputs["right"]) + F.softplus(outputs["wrong"])  # -log s(right) - log (1 - s(wrong))
        return {"loss": (each * batch["teaches"]).sum() / max(self.weight(batch), 1.0) / 2}

    def weight(self, batch: Batch) -> float:
        return float(batch["teaches"].sum())

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.grammar import save_grammar

        measured = self._measured()
        save_grammar(self.model, folder, _card(self.settings, measured, trained))
        return measured

    def _measured(self) -> dict[str, float]:
        size = self.population.size
        numbers = np.arange(min(size, HELD * MEASURED)) * size // min(size, HELD * MEASURED)
        seen = self.population.read(numbers, 0, self.settings.seed)
        held = np.flatnonzero(~teaches(seen))[:MEASURED]
        words = [words_of(seen.texts(self.settings.source)[at]) for at in held]
        found = {"captions_measured": float(len(words))}
        if not words:
            return found
        whole = self.model.probability([" ".join(one) for one in words])
        found["probability"] = float(whole.mean())
        draws = seen.draw("measured", (DRAWS,))[held]
        others = [word for one in words for word in one]
        for kind in KINDS:
            made = [corrupted(one, kind, draw, others) for one, draw in zip(words, draws.tolist(), strict=True)]
            able = [at for at, one in enumerate(made) if one is not None]
            if able:
                worse = self.model.probability([" ".join(made[at] or ()) for at in able])
                found[f"told_{kind}"] = float(((whole[able] > worse) + 0.5 * (whole[able] == worse)).float().mean())
        return found


def teaches(examples: Examples) -> np.ndarray:
    """Which captions are learnt from, bool (n,): a function of their keys."""
    return np.asarray(examples.hashes % np.uint64(HELD) != 0)


def corruptions(words: list[list[str]], kinds: list[str], draws: np.ndarray) -> list[list[str]]:
    """A corruption of each caption: of its kind, or of the next one that the caption is long enough for.

    What is inserted are words of the other captions. A caption of no words becomes one of those.
    """
    others = [word for one in words for word in one] or ["a"]
    found = []
    for one, kind, draw in zip(words, kinds, draws.tolist(), strict=True):
        first = KINDS.index(kind)
        tried = (corrupted(one, KINDS[(first + at) % len(KINDS)], draw, others) for at in range(len(KINDS)))
        found.append(next((made for made in tried if made is not None), others[:1]))
    return found


def _card(wish: GrammarHeadSettings, measured: Mapping[str, float], trained: Trained) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in measured.items())
    return f"""# Grammar head

How probably a text is a caption as people write them, by features of `{wish.tower.reference}`.

| | |
|---|---|
| captions | `{wish.source}`, {trained.pairs} pairs, nine in ten learnt from |
| corruptions | {", ".join(KINDS)} |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

Figures are of captions it did not learn from; corruptions are of the kinds it learnt.
"""
