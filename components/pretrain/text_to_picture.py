"""Text to picture in the smallest: 16 x 16 pixels learnt from captions, to see what captions teach a generator.

    train:
      draws: {uses: text_to_picture, with: {source: recap, prompts: alt, steps: 600}}

RECAP (Segalis et al., 2023, "A picture is worth a thousand words: principled recaptioning improves image generation")
relabels a corpus and trains Stable Diffusion on it; here a decoder of a few thousand weights is trained by the mean
square of its pixels. Its card says how far the captions it learnt from lie from the prompts it will be asked in
(prompt_discrepancy.py). Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import ImageWish, Reads
from pairwright.components.pretrain.captioners.captioner import COUNTED, MEASURED
from pairwright.components.pretrain.prompt_discrepancy import discrepancy
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.picture_decoder import PictureDecoder

SHOWN = 6  # pictures of the card's figure
RUNS = (1, 2)  # words of a run


class TextToPictureSettings(TrainerSettings):
    source: str = Field("alt", description="captions it learns from")
    prompts: str | None = Field(None, description="source of texts as it will be asked in, for the discrepancy alone")
    side: int = Field(16, ge=8, le=64, description="pixels; a multiple of 4")
    width: int = Field(64, ge=8, description="a multiple of its heads")
    layers: int = Field(2, ge=1, le=12)
    heads: int = Field(4, ge=1)
    max_words: int = Field(48, ge=1, le=256, description="words of a text beyond these are not read")
    vocabulary: int = Field(4000, ge=1)
    least: int = Field(2, ge=1, description="captions that must hold a word for it to be known")
    batch_size: int = Field(128, ge=1)
    weight_decay: float = Field(0.01, ge=0)

    @model_validator(mode="after")
    def _sizes_divide(self) -> Self:
        if self.width % self.heads or self.side % 4:
            raise ValueError(
                f"width ({self.width}) must be a multiple of heads ({self.heads}), side ({self.side}) of 4"
            )
        return self


@task("text_to_picture")
class TextToPicture(Task[TextToPictureSettings]):
    """Writes config.json, model.safetensors, vocabulary.txt, card.md and a figure of what it draws.

    Metrics, of pairs it was trained on: `mean_square` of the pixels; with prompts `discrepancy_1`, `discrepancy_2`, in
    nats, of words and of pairs of words.
    """

    requires = Captions("source", "prompts")
    libraries = ("torch",)
    speaks = ("picture_decoder",)

    def reads(self) -> Reads:
        wish = self.settings
        prompts = (wish.prompts,) if wish.prompts else ()
        return Reads({"image": ImageWish(wish.side)}, texts=(wish.source, *prompts), optional=frozenset(prompts))

    def build(self) -> PictureDecoder:
        from pairwright.components.models.picture_decoder import PictureDecoder
        from pairwright.components.models.words import vocabulary_of

        wish = self.settings
        words = vocabulary_of(self._texts(wish.source, COUNTED), wish.vocabulary, wish.least)
        return PictureDecoder(words, wish.max_words, wish.width, wish.layers, wish.heads, wish.side)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        from pairwright.components.models.towers.pixels import squash

        pictures = squash(examples.media("image"), self.settings.side)
        tokens = self.model.encode(examples.texts(self.settings.source))
        return {"tokens": tokens, "pixels": torch.from_numpy(pictures.astype(np.float32) / 255)}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"drawn": self.model(batch["tokens"])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"loss": (outputs["drawn"].float() - batch["pixels"]).square().mean()}

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.picture_decoder import save_picture_decoder

        found = self.measured()
        rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(found.items()))
        about = f"| captions | `{self.settings.source}` |\n| pairs | {trained.pairs} |\n{rows}"
        save_picture_decoder(self.model, folder, f"# Text to picture\n\n| | |\n|---|---|\n{about}\n")
        self._drawn(folder)
        return found

    def measured(self) -> dict[str, float]:
        """What `save` tells of the model and of what it was taught in."""
        wish, squares = self.settings, []
        for examples in self._some(SHOWN * 64):
            drawn, made = self.model.draw(examples.texts(wish.source)), self.collate(examples)
            squares.append(np.square(drawn - made["pixels"].numpy()).mean((1, 2, 3)))
        found = {"mean_square": float(np.concatenate(squares).mean())}
        if wish.prompts is not None:
            taught, asked = (list(self._texts(source, MEASURED)) for source in (wish.source, wish.prompts))
            found |= {f"discrepancy_{n}": discrepancy(taught, asked, n) for n in RUNS}
        return found

    def _some(self, most: int) -> Iterator[Examples]:
        return spread(self.population, most)

    def _texts(self, source: str, most: int) -> Iterator[str]:
        return (text for examples in self._some(most) for text in examples.texts(source) if text)

    def _drawn(self, folder: Path) -> None:
        """figures/drawn.svg: pictures of the data, and below each what is drawn of its caption."""
        from pairwright.components.models.figures import save_figures, svg_axes

        examples = next(self._some(SHOWN))
        real = self.collate(examples)["pixels"].numpy()
        drawn = self.model.draw(examples.texts(self.settings.source))
        figure, axes = svg_axes("", "")
        axes.imshow(np.concatenate([_row(real), _row(drawn)]), interpolation="nearest")
        axes.set_axis_off()
        said = "Above pictures of the data, shrunk; below what is drawn of their captions."
        save_figures(folder, [("drawn.svg", "Drawn from captions", said, figure)])


def _row(pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Side by side, a white line between."""
    return np.concatenate([np.pad(one, ((1, 1), (1, 1), (0, 0)), constant_values=1.0) for one in pictures], axis=1)
