"""Fusion student: a small model learns to merge texts as a teacher merged them, by saying words and by copying them.

    student: {uses: fusion_student, with: {fields: {web: alt, synthetic: seen}, target: teacher}}

CapsFusion (Yu et al., 2024) fine-tunes a LLaMA on a million merges of a larger model's; here a copying transformer
(components/models/copying) is learnt from nothing, since names are rare words, which a small vocabulary can only copy.
Cross-entropy over what the teacher wrote. A share of the groups is held out and never learnt from: of those alone its
likeness to the teacher is measured. `text_model: {uses: student, model: "step:student"}` then asks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import in_blocks
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.copying.model import Copying

MEASURED = 256  # held-out examples that are written, the first of an even spread


class FusionStudentSettings(TrainerSettings):
    fields: dict[str, str] = Field(min_length=1, description="name in the evidence -> caption source it is read from")
    target: str = Field(description="source of what the teacher wrote; pairs without it are not learnt from")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the groups that are only measured on")
    read: int = Field(128, ge=1, description="tokens of a field, the first, that are read")
    longest: int = Field(80, ge=1, description="tokens of a text")
    vocabulary: int = Field(8000, ge=1, description="commonest words it can say without copying")
    least: int = Field(5, ge=1, description="texts that must hold a word for that")
    width: int = Field(96, ge=8, description="a multiple of its heads")
    heads: int = Field(4, ge=1)
    layers: int = Field(2, ge=1, le=24, description="that read, and as many that write")
    batch_size: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


@task("fusion_student")
class FusionStudent(Task[FusionStudentSettings]):
    """Writes config.json, model.safetensors, vocabulary.json and card.md.

    Metrics, over pairs of held-out groups: `rouge_l` with what the teacher wrote, `ended` (share of texts that came to
    an end), `nats_per_token`, and how many `pairs_held_out` there are.
    """

    libraries = ("torch",)

    def caption_sources(self) -> tuple[str, ...]:
        return (*self.settings.fields.values(), self.settings.target)

    def reads(self) -> Reads:
        return Reads(texts=self.caption_sources())

    def build(self) -> Copying:
        from pairwright.components.models.copying.model import Copying
        from pairwright.components.models.copying.source import Vocabulary, vocabulary_of

        wish = self.settings
        self.held_out = _held_out(self.population.groups(), wish.held_out, wish.seed)
        learnt = in_blocks(self.population, np.flatnonzero(~self.held_out))
        texts = (text for some in learnt for source in self.caption_sources() for text in some.texts(source))
        words = vocabulary_of(texts, wish.vocabulary, wish.least)
        known = Vocabulary(words, tuple(wish.fields), wish.read)
        return Copying(known, wish.longest, wish.width, wish.heads, wish.layers).train()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        return self._tensors(examples) | {"held_out": torch.from_numpy(self.held_out[examples.numbers])}

    def _tensors(self, examples: Examples) -> dict[str, Any]:
        source, unknown = self.model.vocabulary.read(self._given(examples))
        targets = self.model.vocabulary.targets(examples.texts(self.settings.target), unknown, self.settings.longest)
        return {**source.named(), "targets": targets}

    def _given(self, examples: Examples) -> list[dict[str, str]]:
        texts = {name: examples.texts(source) for name, source in self.settings.fields.items()}
        return [{name: some[i] for name, some in texts.items()} for i in range(len(examples))]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"nats": self._nats(batch)}

    def _nats(self, batch: Any) -> Tensor:
        scores = self.model.scores(self.model.encode(batch), batch["words"], batch["targets"][:, :-1])
        nats: Tensor = self.model.nats(scores, batch["words"], batch["targets"])
        return nats

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"loss": (outputs["nats"] * self._counted(batch)).sum() / max(self.weight(batch), 1.0)}

    def weight(self, batch: Batch) -> float:
        """Words and ends to be said."""
        return float(self._counted(batch).sum())

    def _counted(self, batch: Any) -> Tensor:
        """Which of targets[:, 1:] are learnt, bool (n, t - 1)."""
        from pairwright.components.models.copying.source import PAD

        counted: Tensor = (batch["targets"][:, 1:] != PAD) & ~batch["held_out"][:, None]
        return counted

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.copying.folder import save_copying

        measured = self.measure()
        save_copying(self.model, folder, _card(self.settings, measured, trained))
        return measured

    def measure(self) -> dict[str, float]:
        """Of held-out pairs alone."""
        import torch

        from pairwright.components.caption_metrics.rouge import rouge_l
        from pairwright.components.caption_metrics.tokens import tokens_of
        from pairwright.components.models.copying.source import PAD

        numbers = np.flatnonzero(self.held_out)
        few = numbers[np.arange(min(len(numbers), MEASURED)) * len(numbers) // max(min(len(numbers), MEASURED), 1)]
        (examples,) = in_blocks(self.population, few)
        tensors = {name: value.to(self.device) for name, value in self._tensors(examples).items()}
        with torch.no_grad():
            nats = self._nats(tensors).double().sum()
        written = self.model.write(self._given(examples))
        told = [[tokens_of(text)] for text in examples.texts(self.settings.target)]
        return {
            "rouge_l": float(rouge_l([tokens_of(text) for text, _ in written], told).mean()),
            "ended": float(np.mean([ended for _, ended in written])),
            "nats_per_token": float(nats / (tensors["targets"][:, 1:] != PAD).sum()),
            "pairs_held_out": float(len(numbers)),
        }


def _held_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Bool (size,): whole groups, at least one of them and never all."""
    kinds = np.unique(groups)
    most = max(len(kinds) - 1, 1)
    drawn = np.random.default_rng(seed).permutation(kinds)[: min(max(round(share * len(kinds)), 1), most)]
    return np.isin(groups, drawn)


def _card(wish: FusionStudentSettings, measured: Mapping[str, float], trained: Trained) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(measured.items()))
    fields = ", ".join(f"`{name}` from `{source}`" for name, source in wish.fields.items())
    return f"""# Fusion student

A transformer of {wish.layers} and {wish.layers} layers that says words or copies them, learnt from nothing.

| | |
|---|---|
| reads | {fields} |
| learnt from | `{wish.target}` |
| pairs | {trained.pairs}, {trained.excluded} that lack a text left out |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

Figures are of pairs whose groups it did not learn from.
"""
