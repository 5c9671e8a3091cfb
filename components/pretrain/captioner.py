"""Captioner: a decoder learns to say a picture's caption, told how well that caption fits (NoC).

    captioner: {uses: captioner, with: {features: image_features.vector, source: alt, control: level.bin}}

Kang et al., 2023, "Noise-aware learning from web-crawled image-text data": nothing is dropped for fitting badly; each
pair's alignment level is a token of the prefix, so that what noisy captions say is learnt as what is said at a low
level, and captions are then asked for at the top one. Plain cross-entropy. A pair without a level, and a share
`control_dropout` of the others, are trained with the token that says nothing, which guidance needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import Population
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.prefix_captioner import PrefixCaptioner

READ_AT_ONCE = 1024  # examples
COUNTED = 200_000  # examples whose words make the vocabulary, evenly over the population
MEASURED = 4096  # examples the trained model is measured on, likewise


class CaptionerSettings(TrainerSettings):
    features: str = Field("image_features.vector", description="step.column of a locked image tower's features")
    source: str = Field("alt", description="captions the decoder learns to say")
    control: str | None = Field(None, description="step.column of whole numbers from 1: how well each caption fits")
    control_levels: int = Field(8, ge=2, le=127, description="levels of `control`, the last one the best")
    control_dropout: float = Field(0.1, ge=0, lt=1, description="share of pairs, drawn each epoch, told no level")
    prefix: int = Field(4, ge=1, le=64, description="tokens a picture")
    width: int = Field(128, ge=8, description="of the decoder; a multiple of its heads")
    heads: int = Field(4, ge=1)
    layers: int = Field(6, ge=1, le=48, description="of the decoder")
    max_words: int = Field(16, ge=1, le=256, description="a caption's words beyond these are not learnt")
    vocabulary: int = Field(4000, ge=1, description="commonest words the decoder knows")
    least: int = Field(2, ge=1, description="captions that must hold a word for the decoder to know it")
    batch_size: int = Field(128, ge=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


@task("captioner")
class CaptionerTask(Task[CaptionerSettings]):
    """Writes config.json, model.safetensors, vocabulary.txt, card.md and, with levels, a picture of what each costs.

    Metrics, over pairs it was trained on: `nats_per_word`; with a control also `nats_per_word_level_N` and
    `nats_per_word_shuffled`, where each pair is told another's level.
    """

    requires = Columns("features", "control") + Captions("source")
    libraries = ("torch",)

    def reads(self) -> Reads:
        wish = self.settings
        control = () if wish.control is None else (wish.control,)
        return Reads(columns=(wish.features, *control), texts=(wish.source,), optional=frozenset(control))

    def build(self) -> nn.Module:
        from pairwright.components.models.prefix_captioner import PrefixCaptioner, PrefixShape
        from pairwright.components.models.words import vocabulary_of

        wish = self.settings
        shape = PrefixShape(
            features=self.population.width(wish.features),
            prefix=wish.prefix,
            levels=0 if wish.control is None else wish.control_levels,
            width=wish.width,
            layers=wish.layers,
            heads=wish.heads,
            max_words=wish.max_words,
        )
        captions = (text for some in _spread(self.population, COUNTED) for text in some.texts(wish.source))
        return PrefixCaptioner(shape, vocabulary_of(captions, wish.vocabulary, wish.least)).train()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        wish = self.settings
        levels = levels_of(examples, wish)
        levels[examples.draw("control") < wish.control_dropout] = 0
        return {
            "features": torch.from_numpy(examples.column(wish.features)),
            "tokens": self.model.tokens_of(examples.texts(wish.source)),
            "levels": torch.from_numpy(levels),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"logits": self.model.logits(batch["features"], batch["levels"], batch["tokens"][:, :-1])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        nats = self.model.nats(outputs["logits"], batch["tokens"])
        return {"loss": nats.sum() / self.weight(batch)}

    def weight(self, batch: Batch) -> float:
        """Words and ends to be said."""
        from pairwright.components.models.words import PAD

        return float((batch["tokens"][:, 1:] != PAD).sum())

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        measured = measure(self.model, self.population, self.settings)
        self.model.save(folder, _card(self.settings, measured, trained, len(self.model.words)))
        if self.settings.control is not None:
            _draw_levels(measured, folder)
        return measured


def levels_of(examples: Examples, wish: CaptionerSettings) -> np.ndarray:
    """int64 (n,): each example's level from 1, or 0 where it has none.

    Raises:
        ColumnError: a value is none of the levels.
    """
    if wish.control is None:
        return np.zeros(len(examples), np.int64)
    known = examples.known(wish.control)
    values = np.where(known, np.asarray(examples.column(wish.control), np.float64), 0.0)
    wrong = known & ~((values >= 1) & (values <= wish.control_levels) & (values == np.floor(values)))
    if wrong.any():
        raise ColumnError(
            f"captioner: {wish.control} is {values[wrong][0]:g} for {examples.keys[int(np.argmax(wrong))]}; levels are "
            f"whole numbers from 1 to {wish.control_levels}, set control_levels to the bins there are"
        )
    return values.astype(np.int64)


def measure(model: PrefixCaptioner, population: Population, wish: CaptionerSettings) -> dict[str, float]:
    """Nats a word of their captions over up to 4096 examples: at their levels, by level, and at another's."""
    import torch

    parts = [(torch.from_numpy(e.column(wish.features)), e.texts(wish.source), levels_of(e, wish))
             for e in _spread(population, MEASURED)]  # fmt: skip
    features = torch.cat([part[0] for part in parts])
    tokens = model.tokens_of([text for part in parts for text in part[1]])
    levels = torch.from_numpy(np.concatenate([part[2] for part in parts]))
    nats, words = _costs(model, features, levels, tokens)
    found = {"nats_per_word": float(nats.sum() / words.sum()), "pairs_measured": float(len(levels))}
    if wish.control is None:
        return found
    others = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(wish.seed))]
    found["nats_per_word_shuffled"] = float(_costs(model, features, others, tokens)[0].sum() / words.sum())
    for level in levels.unique().tolist():
        at = levels == level
        name = f"nats_per_word_level_{level}" if level else "nats_per_word_no_level"
        found[name] = float(nats[at].sum() / words[at].sum())
    return found


def _costs(model: PrefixCaptioner, features: Tensor, levels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of each caption and the words it has, its end among them, float64 (n,) both."""
    import torch

    from pairwright.components.models.prefix_captioner import BLOCK
    from pairwright.components.models.words import PAD

    device, found = model.place.device, []
    with torch.no_grad():
        for rows in torch.arange(len(tokens)).split(BLOCK):
            said = tokens[rows].to(device)
            logits = model.logits(features[rows].to(device), levels[rows].to(device), said[:, :-1])
            found.append(model.nats(logits, said).double().sum(1).cpu())
    return torch.cat(found), (tokens[:, 1:] != PAD).double().sum(1)


def _spread(population: Population, most: int) -> Iterator[Examples]:
    """At most so many examples, evenly over the population, in its order: the same ones in every run."""
    count = min(population.size, most)
    numbers = np.arange(count) * population.size // max(count, 1)
    for start in range(0, count, READ_AT_ONCE):
        yield population.read(numbers[start : start + READ_AT_ONCE], 0, 0)


def _draw_levels(measured: Mapping[str, float], folder: Path) -> None:
    """figures/levels.svg: what a word costs at each level."""
    from pairwright.components.models.figures import save_figures, svg_axes

    prefix = "nats_per_word_level_"
    levels = sorted(int(name.removeprefix(prefix)) for name in measured if name.startswith(prefix))
    figure, axes = svg_axes("alignment level", "nats a word")
    axes.bar([str(level) for level in levels], [measured[f"{prefix}{level}"] for level in levels], alpha=0.6)
    axes.axhline(measured["nats_per_word"], linewidth=1)
    axes.axhline(measured["nats_per_word_shuffled"], linestyle="--", linewidth=1)
    caption = (
        f"A word costs {measured['nats_per_word']:.2f} nats (line), {measured['nats_per_word_shuffled']:.2f} where "
        "each pair is told another's level (dashed). Pairs it was trained on."
    )
    save_figures(folder, [("levels.svg", "What captions cost at each level", caption, figure)])


def _card(wish: CaptionerSettings, measured: Mapping[str, float], trained: Trained, words: int) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(measured.items()))
    told = "none" if wish.control is None else f"`{wish.control}`, 1 to {wish.control_levels}, the last fits best"
    return f"""# Captioner

A causal decoder of {wish.layers} layers after {wish.prefix} tokens of a picture's features, learnt from nothing.

| | |
|---|---|
| features | `{wish.features}`, the tower locked |
| captions | `{wish.source}`, {words} words known |
| control | {told} |
| pairs | {trained.pairs}, {trained.excluded} without features or caption left out |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

Figures are of pairs it was trained on: they tell levels apart, not how good its captions are.
"""
