"""Format captioner: one captioner that says a picture's caption in whichever format it is told.

    captioner: {uses: format_captioner, with: {formats: {short_told: 1, dense_told: 1, fused_told: 1},
                                               prompt: alt, prompted: [fused_told]}}

Lai et al., 2024, "Revisit large-scale image-caption data": one captioner, adapted to several formats, is asked for the
one that a consumer wants. Its `formats` are caption sources; each pair's is drawn anew each epoch by these weights, of
those it has, and its number is a token of the prefix. A format that fuses the alt-text is told its words (`prompted`),
the others are not. What it says afterwards is of the format asked for (`prefix_captioner` with `format: dense_told`).
The ends of sentences are words, so that a dense caption has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.pretrain.captioners.captioner import MEASURED, CaptionerSettings, Captioning, nats_of
from pairwright.components.registry import task

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.prefix import Part


class FormatCaptionerSettings(CaptionerSettings):
    formats: dict[str, Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="caption source of each format -> how often it is drawn"
    )
    prompted: tuple[str, ...] = Field((), description="those of `formats` that are told the words of `prompt`")
    max_words: int = Field(64, ge=1, le=256, description="words and ends of sentences of the longest format")

    @model_validator(mode="after")
    def _formats_and_prompt(self) -> Self:
        told = {"control": self.control, "lengths": self.lengths, "languages": self.languages, "box": self.box}
        told |= {"user": self.user, "count": self.count}
        if others := [name for name, value in told.items() if value]:
            raise ValueError(f"a format is told beside the picture and the prompt alone; leave {', '.join(others)} out")
        if (self.prompt is None) != (not self.prompted):
            raise ValueError("`prompt` and `prompted`, the formats that are told it, go together; give both or neither")
        if wrong := [name for name in self.prompted if name not in self.formats]:
            raise ValueError(f"prompted names {', '.join(wrong)}, which formats do not")
        return self


@task("format_captioner")
class FormatCaptioner(Captioning[FormatCaptionerSettings]):
    """Writes what the task `captioner` writes. Metrics, over pairs it was trained on: `nats_per_word_FORMAT`."""

    requires = Columns("features") + Captions("formats", "prompt")
    stops = True

    @property
    def said(self) -> tuple[str, ...]:
        return tuple(self.settings.formats)

    def reads(self) -> Reads:
        wish = self.settings
        found = Reads(columns=(wish.features,), texts=self.said, any_of=(self.said,))
        return found + Reads(texts=(wish.prompt,), optional=frozenset({wish.prompt})) if wish.prompt else found

    def parts(self) -> list[Part]:
        from pairwright.components.models.captioner.prefix import Part

        return [*super().parts(), Part("format", "number", len(self.said), names=self.said)]

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        from pairwright.components.models.captioner.prefix import not_told

        wish = self.settings
        found = self.told(examples, examples.drawn_sources(wish.formats))
        out = torch.from_numpy(examples.draw("image") < wish.image_dropout)
        tokens = self.model.tokens.encode(examples.captions(wish.formats), self.model.longest)
        return found | {"image": not_told(found["image"], out), "tokens": tokens}

    def told(self, examples: Examples, chosen: np.ndarray) -> dict[str, Tensor]:
        """What is told of pairs whose formats have these indices, int64 (n,)."""
        import torch

        from pairwright.components.models.captioner.prefix import not_told, vectors_of
        from pairwright.components.models.captioner.tokens import prompts_of

        wish, numbers = self.settings, torch.from_numpy(np.asarray(chosen, np.int64))
        image = vectors_of(examples.column(wish.features), wish.vectors)
        found = {"image": image, "format": numbers + 1}
        if wish.prompt is not None:
            own = torch.tensor([name in wish.prompted for name in self.said])[numbers]
            words = prompts_of(self.model.tokens, examples.texts(wish.prompt), wish.prompt_tokens)
            found["prompt"] = not_told(words, ~own)
        return found

    def measured(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for index, source in enumerate(self.said):
            nats = words = 0.0
            for examples in spread(self.population, MEASURED):
                texts = examples.texts(source)
                rows = [at for at, text in enumerate(texts) if text]
                told = {name: value[rows] for name, value in self.told(examples, np.full(len(texts), index)).items()}
                tokens = self.model.tokens.encode([texts[at] for at in rows], self.model.longest)
                nats += float(nats_of(self.model, told, tokens).sum()) if rows else 0.0
                words += float(self.model.counted(tokens).sum())
            found[f"nats_per_word_{source}"] = nats / max(words, 1.0)
        return found
