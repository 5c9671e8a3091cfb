"""Text captioner: a captioner that is trained on captions alone, and afterwards shown pictures.

    fit:
      captioner: {uses: text_captioner, with: {features: captions.vector, source: alt, noise: 0.12}}
    recaption:
      said: {uses: prefix_captioner, with: {model: "step:captioner", features: pictures.vector, level: none}}

Where pictures and texts share a space, what a decoder learnt to say of a caption's vector it says of a picture's (and
of a clip's, and of a sound's): no weight changes. `captions.vector` and `pictures.vector` are columns of one dual
encoder's space (`text_embedding`, `image_embedding`). The two lie apart: see modality_gap.py for `noise` and `adapter`.

- CLOSE (Gu, Clark and Kembhavi, 2023): w = 0.12 of single captions, 0.04 of several and of questions (`prompt` is the
  question, `source` the answer, `features` the caption's vector), 0.08 of entailment (`prompt` is the hypothesis).
- MultiCapCLIP (Yang et al., 2023): `concepts` nearest to the noised vector are told beside it; the vector may be that
  of one of 5 `similar` captions; each is said in one of its `translations`, drawn anew each epoch and told; w = 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.pretrain.captioners.captioner import COUNTED, CaptionerSettings, Captioning, measure
from pairwright.components.pretrain.text_only.concept_phrases import concept_phrases
from pairwright.components.pretrain.text_only.modality_gap import Adapter, Kind, noised
from pairwright.components.pretrain.text_only.similar_captions import SimilarCaptions
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.task import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.models.captioner.folder import TaughtOn
    from pairwright.components.models.captioner.prefix import Part

AMONG = 20_000  # captions whose vectors others are exchanged for
RECALLED = "concepts"  # the part of the prefix


class TextCaptionerSettings(CaptionerSettings):
    features: str = Field("captions.vector", description="step.column of captions' unit vectors in the shared space")
    noise: float = Field(0.12, ge=0, description="w: standard deviation, a number of the vector, of what training adds")
    adapter: Kind = Field("none", description="what moves captions' vectors to where pictures' are")
    paired: str | None = Field(None, description="step.column of pictures' unit vectors, for an adapter alone")
    pairs: int = Field(1024, ge=2, description="pairs an adapter is fitted on, at most, evenly over the data")
    covariance_scale: float = Field(3.0, ge=0, description="s of `adapter: covariance`")
    exchanged: float = Field(
        0.0, ge=0, le=1, description="share of captions, drawn each epoch, told by another's vector"
    )
    similar: int = Field(5, ge=1, description="captions that are most similar, of which that other one is drawn")
    concepts: Annotated[int, Field(ge=1)] | tuple[str, ...] = Field(
        (), description="phrases of which the nearest are told: as many, the commonest of the captions, or these"
    )
    recalled: int = Field(8, ge=1, description="phrases that are told of a pair")
    told_as: Literal["vectors", "words"] = Field("vectors", description="what is told of a phrase")
    phrase_words: int = Field(4, ge=1, description="of a phrase told as words, the first tokens")
    phrase_template: str = Field("{}", description="what is embedded of a phrase")
    encoder: ModelFolder | None = Field(None, description="dual encoder of the shared space, which embeds the phrases")
    translations: tuple[str, ...] = Field(
        (), description="sources of the same captions in other `languages`; one is drawn each epoch"
    )

    @model_validator(mode="after")
    def _what_goes_together(self) -> Self:
        if (self.adapter == "none") != (self.paired is None):
            raise ValueError("`adapter` (mean, linear or covariance) and `paired` go together; give both or neither")
        if bool(self.concepts) != (self.encoder is not None):
            raise ValueError("`concepts` and the `encoder` that embeds them go together; give both or neither")
        if self.translations and (not self.languages or self.lengths):
            raise ValueError("`translations` need `languages` to tell them apart, and no `lengths`")
        if self.phrase_template.count("{}") != 1:
            raise ValueError("`phrase_template` holds {} once, where the phrase stands")
        return self


@task("text_captioner")
class TextCaptioner(Captioning[TextCaptionerSettings]):
    """Writes what the task `captioner` writes; `nats_per_word` is of captions' own vectors, moved and without noise."""

    requires = Columns("features", "control", "box", "paired") + Captions("source", "prompt", "translations")
    libraries = ("transformers", *TOWER_LIBRARIES)
    adapter: Adapter | None = None
    others: SimilarCaptions | None = None
    phrases: tuple[str, ...] = ()

    def reads(self) -> Reads:
        wish, found = self.settings, super().reads()
        found += Reads(texts=wish.translations, optional=frozenset(wish.translations))
        return found + Reads(columns=(wish.paired,), optional=frozenset({wish.paired})) if wish.paired else found

    def parts(self) -> list[Part]:
        from pairwright.components.models.captioner.prefix import Part

        wish, found = self.settings, super().parts()
        if not wish.concepts:
            return found
        as_words = Part(RECALLED, "words", wish.recalled * wish.phrase_words)
        width = self.population.width(wish.features)
        return [*found, as_words if wish.told_as == "words" else Part(RECALLED, "vector", width, most=wish.recalled)]

    def build(self) -> Captioner:
        self.adapter = self._adapter()
        self.others = self._others() if self.settings.exchanged else None
        self.phrases = self._phrases()
        model = super().build()
        if self.phrases:
            self._remember(model)
        return model

    def _phrases(self) -> tuple[str, ...]:
        wish = self.settings
        if not isinstance(wish.concepts, int):
            return wish.concepts
        texts = (text for some in spread(self.population, COUNTED) for text in some.texts(wish.source))
        return tuple(concept_phrases(texts, wish.concepts))

    def _remember(self, model: Captioner) -> None:
        """Give the model its memory of phrases.

        Raises:
            InvalidRecipe: the encoder's space is not the one that captions' vectors are of.
        """
        from pairwright.components.models.captioner.memory import Memory
        from pairwright.components.models.captioner.tokens import prompts_of

        wish = self.settings
        vectors, width = self.embedded(self.phrases), self.population.width(wish.features)
        if vectors.shape[1] != width:
            raise InvalidRecipe(
                f"text_captioner: {wish.features} holds {width} numbers, the encoder's space has {vectors.shape[1]}; "
                "name the encoder that made the column"
            )
        as_words = wish.told_as == "words"
        tokens = prompts_of(model.tokens, self.phrases, wish.phrase_words) if as_words else None
        model.memory = Memory(RECALLED, self.phrases, vectors, min(wish.recalled, len(vectors)), tokens)

    def embedded(self, phrases: tuple[str, ...]) -> Tensor:
        """Phrases in the shared space, (m, d) unit vectors on the CPU."""
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        assert self.settings.encoder is not None
        encoder = load_dual_encoder(self.settings.encoder, str(self.device or "cpu"))
        return encoder.encode_text([self.settings.phrase_template.format(one) for one in phrases]).float().cpu()

    @property
    def said(self) -> tuple[str, ...]:
        return (self.settings.source, *self.settings.translations)

    def written(self) -> Iterator[str]:
        yield from super().written()
        if self.settings.told_as == "words":
            yield from self.phrases * self.settings.least  # whatever captions say, they are known

    def _adapter(self) -> Adapter | None:
        """Fitted on those of the examples that have a picture; the same after every stop.

        Raises:
            InvalidRecipe: fewer than two of them have one.
        """
        import torch

        wish = self.settings
        if wish.paired is None:
            return None
        texts, images = [], []
        for examples in spread(self.population, wish.pairs):
            known = examples.known(wish.paired) & ~np.isnan(examples.column(wish.paired)).any(1)
            texts.append(np.asarray(examples.column(wish.features), np.float32)[known])
            images.append(np.asarray(examples.column(wish.paired), np.float32)[known])
        text, image = (torch.from_numpy(np.concatenate(some)) for some in (texts, images))
        if len(text) < 2 or text.shape[1] != image.shape[1]:
            raise InvalidRecipe(
                f"text_captioner: adapter: {wish.adapter} is fitted on pairs with {wish.features} and {wish.paired} in "
                f"one space; {len(text)} have both, of {text.shape[1]} and {image.shape[1]} numbers"
            )
        return Adapter(wish.adapter, text, image, wish.covariance_scale)

    def _others(self) -> SimilarCaptions:
        """What vectors are exchanged for: up to AMONG captions, evenly over the data."""
        import torch

        wish, texts, vectors = self.settings, [], []
        for examples in spread(self.population, AMONG):
            texts += examples.texts(wish.source)
            vectors.append(np.asarray(examples.column(wish.features), np.float32))
        return SimilarCaptions(texts, torch.from_numpy(np.concatenate(vectors)))

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        wish, found = self.settings, dict(super().collate(examples))
        if self.others is not None:
            which = torch.from_numpy(examples.draw("exchanged") < wish.exchanged)
            choice, texts = torch.from_numpy(examples.draw("similar")), examples.texts(wish.source)
            found["image"] = self.others.exchanged(texts, found["image"], wish.similar, which, choice)
        return found | self._translated(examples) if wish.translations else found

    def _translated(self, examples: Examples) -> dict[str, Tensor]:
        """Each caption in one of the languages it has, drawn for this epoch, and which that is."""
        import torch

        wish = self.settings
        sources = (wish.source, *wish.translations)
        drawn = examples.drawn_sources(dict.fromkeys(sources, 1.0))
        texts = [examples.all_texts(sources[max(which, 0)])[row][0] for row, which in enumerate(drawn)]
        number = {lang: at for at, lang in enumerate(wish.languages, 1)}
        return {
            "tokens": self.model.tokens.encode([one.text for one in texts], self.model.longest),
            "language": torch.tensor([number.get(one.lang or "", 0) for one in texts]),
        }

    def shown(self, text: Tensor, training: bool = False) -> Tensor:
        """Captions' vectors as the decoder sees them, (n, d)."""
        moved = text if self.adapter is None else self.adapter(text, training)
        return noised(moved, self.settings.noise) if training else moved

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return super().encode(batch.beside(image=self.shown(batch["image"], training=True)))

    def card(self, measured: Mapping[str, float], trained: Trained, tower: TaughtOn | None = None) -> str:
        own = "It was trained on captions' vectors alone; what it is shown are pictures' vectors of the same space.\n"
        return f"{super().card(measured, trained, tower)}\n{own}"

    def measured(self) -> dict[str, float]:
        return measure(self.model, self.population, self.settings, self.shown)
