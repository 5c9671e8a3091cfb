"""Prefix captioner: what a captioner of the recipe's own says of each picture, decoded as it is told to.

    recaption: {told: {uses: prefix_captioner, with: {model: "step:captioner", level: top}}}                      # NoC
    recaption: {sharp: {uses: prefix_captioner, with: {model: "step:captioner", decoding: {guidance: 2}}}}
    recaption: {dense: {uses: prefix_captioner, with: {model: "step:captioner", format: dense_told,
                                                       form: {least_sentences: 2}}}}
    recaption: {other: {uses: prefix_captioner, with: {model: "step:captioner", pick: 1,
                                                       decoding: {search: beam, beams: 2, groups: 2}}}}

Its prefix holds the picture and whatever else it was trained with and is given here; `top` asks for captions as those
of the best aligned pairs, `none` says nothing of alignment.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.recaption.formats import Form, problem_with_form
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor

UNSAYABLE = "string_not_known"  # a caption's note: what it had to hold is no word of the model's, or is too long


class PrefixCaptionerSettings(Settings):
    model: ModelFolder
    features: str = Field("image_features.vector", description="step.column the captioner was trained on")
    count: str | None = Field(None, description="step.column of how many of a pair's vectors are its own, as trained")
    level: Annotated[int, Field(ge=1)] | Literal["top", "none"] = Field(
        "top", description="how well captions should fit, as its training's control said: a level, the highest, or none"
    )
    length: Annotated[int, Field(ge=1)] | None = Field(None, description="words a caption should have, if it was told")
    format: str | None = Field(None, description="source whose kind of caption it should be, of those it was taught")
    form: Form = Field(Form(), description="bounds a caption must keep; one that breaks one gives way to `fallback`")
    fallback: str | None = Field(None, description="caption source that stands in for it; none: the pair has none")
    prompt: str | None = Field(None, description="source of the words it is told before, if it was trained with some")
    user: str | None = Field(None, description="step.column of a list of words: those of the user it is to write as")
    box: str | None = Field(None, description="step.column of 4 numbers: the part of the picture to speak of")
    include: str | None = Field(None, description="source of a string each caption must hold, e.g. what is written")
    decoding: Decoding = Decoding()
    pick: int = Field(0, ge=0, description="which of the beams is the caption, of each group the best first")
    seed: int = Field(0, ge=0, description="of what is drawn, beside the pair's key")
    lang: str = Field("en", description="language of the captions, BCP 47; one of those it was trained with, if told")

    @model_validator(mode="after")
    def _pick_is_a_beam(self) -> Self:
        if self.pick >= self.decoding.beams:
            raise ValueError(f"pick ({self.pick}) is none of {self.decoding.beams} beams, which count from 0")
        return self


@captioner("prefix_captioner")
class PrefixCaptions(Captioner[PrefixCaptionerSettings]):
    """None where the model has nothing to say; of a captioner from nothing, in lower case without punctuation."""

    requires = Columns("features", "count", "user", "box") + Captions("prompt", "include", "fallback")
    may_lack = ("fallback",)
    libraries = ("torch", "transformers")
    runs_model = True

    def setup(self, device: str) -> None:
        """Raises InvalidRecipe where the model was trained without what is asked for."""
        from pairwright.components.models.captioner.folder import load_captioner

        assert self.settings.model.path is not None
        self.model, self.device = load_captioner(self.settings.model.path, device), device
        self.level = self._number("control", "level", self.settings.level)
        self.length = self._number("length", "length", self.settings.length or "none")
        wish = self.settings
        for part, given in (("prompt", wish.prompt), ("box", wish.box), ("user", wish.user)):
            if given is not None and part not in self.model.parts:
                raise InvalidRecipe(f"prefix_captioner: {self.settings.model.reference} was trained without a {part}")
        self.format = self._named("format", self.settings.format)
        languages = list(self.model.parts["language"].names) if "language" in self.model.parts else []
        if languages and self.settings.lang not in languages:
            raise InvalidRecipe(f"prefix_captioner: lang {self.settings.lang} was not learnt; give one of {languages}")
        self.language = languages.index(self.settings.lang) + 1 if languages else None

    def _number(self, part: str, name: str, wish: int | str) -> int | None:
        """The value asked for of a part that is a number, None where none is."""
        known = self.model.parts[part].size if part in self.model.parts else 0
        if wish == "none":
            return None
        if not known or (wish != "top" and int(wish) > known):
            has = f"{name}s 1 to {known}" if known else f"no {name}s; say {name}: none"
            raise InvalidRecipe(
                f"prefix_captioner: {name} {wish} is asked for, {self.settings.model.reference} has {has}"
            )
        return known if wish == "top" else int(wish)

    def _named(self, part: str, wish: str | None) -> int | None:
        """The number of a name that is asked for of a part whose values have some, None where none is."""
        names = list(self.model.parts[part].names) if part in self.model.parts else []
        if wish is None:
            return None
        if wish not in names:
            has = f"one of {names}" if names else f"none; leave {part} out"
            raise InvalidRecipe(
                f"prefix_captioner: {part} {wish} was not learnt by {self.settings.model.reference}: {has}"
            )
        return names.index(wish) + 1

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        if not len(pairs):
            return []
        wish = self.settings
        required = self._required(pairs)
        seeds = [zlib.crc32(f"{wish.seed} {key}".encode()) for key in pairs.keys]
        found = self.model.generate(self._told(pairs), wish.decoding, [one or [] for one in required], seeds)
        texts = [captions[wish.pick] for captions in found]
        notes = [UNSAYABLE if one is None else None for one in required]
        others = pairs.captions(wish.fallback) if wish.fallback else [None] * len(pairs)
        return [self._formed(*one) for one in zip(texts, notes, others, strict=True)]

    def _formed(self, text: str, note: str | None, other: str | None) -> Caption | None:
        """The caption, or what stands in for one that is not of its form."""
        problem = problem_with_form(text, self.settings.form) if text else "empty"
        if problem is None:
            return Caption(text, self.settings.lang, note)
        return Caption(other or None, self.settings.lang, problem) if other or text else None

    def _told(self, pairs: PairBatch) -> dict[str, Tensor]:
        import torch

        from pairwright.components.models.captioner.prefix import vectors_of
        from pairwright.components.models.captioner.tokens import prompts_of

        wish, model = self.settings, self.model
        counts = None if wish.count is None else np.asarray(pairs.columns[wish.count])
        features = np.asarray(pairs.columns[wish.features], np.float32)
        told = {"image": vectors_of(features, model.parts["image"].most, counts)}
        numbers = (
            ("control", self.level),
            ("length", self.length),
            ("language", self.language),
            ("format", self.format),
        )
        for part, value in numbers:
            if value is not None:
                told[part] = torch.full((len(pairs),), value)
        if wish.box is not None:
            boxes = [[np.nan] * 4 if box is None else box for box in pairs.columns[wish.box]]
            told["box"] = torch.from_numpy(np.asarray(boxes, np.float32))
        if wish.user is not None:
            words = [" ".join(own if own is not None else ()) for own in pairs.columns[wish.user]]
            told["user"] = prompts_of(model.tokens, words, model.parts["user"].size)
        if wish.prompt is not None:
            texts = [text or "" for text in pairs.captions(wish.prompt)]
            told["prompt"] = prompts_of(model.tokens, texts, model.parts["prompt"].size)
        return {name: value.to(self.device) for name, value in told.items()}

    def _required(self, pairs: PairBatch) -> list[list[int] | None]:
        """Tokens each caption must hold, [] where nothing is asked for, None where they cannot be said."""
        if self.settings.include is None:
            return [[] for _ in pairs.keys]
        longest = min(self.settings.decoding.most or self.model.longest, self.model.longest)
        found = [self.model.tokens.string(text) if text else [] for text in pairs.captions(self.settings.include)]
        return [one if one is not None and len(one) <= longest else None for one in found]
