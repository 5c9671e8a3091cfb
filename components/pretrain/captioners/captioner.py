"""Captioner: a decoder learns to say a picture's caption, after whatever else it is told of the pair.

    captioner: {uses: captioner, with: {features: image_features.vector, source: alt, control: level.bin}}
    captioner: {uses: captioner, with: {source: alt, image_dropout: 0.5}}              # can be guided

With `control` it is NoC (Kang et al., 2023, "Noise-aware learning from web-crawled image-text data"): nothing is
dropped for fitting badly; each pair's alignment level is a token of the prefix, so that what noisy captions say is
learnt as what is said at a low level, and captions are then asked for at the top one. With `image_dropout` it learns
p(caption) beside p(caption | picture), which guidance weighs against each other (Kornblith et al., 2023). Plain
cross-entropy. What a pair lacks, and a share of what it has, drawn anew each epoch, is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import Population
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.pretrain.captioners.captioner_levels import draw_levels
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task, Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.models.captioner.decoder import Decoder
    from pairwright.components.models.captioner.folder import TaughtOn
    from pairwright.components.models.captioner.prefix import Part

COUNTED = 200_000  # examples whose words make the vocabulary, evenly over the population
MEASURED = 4096  # examples the trained model is measured on, likewise
MAY_BE_LEFT_OUT = ("length", "language", "box", "user")  # parts of which `told_dropout` is the share not told


class CaptionerSettings(TrainerSettings):
    features: str = Field("image_features.vector", description="step.column of a locked tower's vectors")
    vectors: int = Field(
        1, ge=1, le=1024, description="vectors a pair has in `features`, end to end: a picture's parts, a clip's frames"
    )
    count: str | None = Field(None, description="step.column of how many of them are a pair's own; none: all")
    source: str = Field("alt", description="captions the decoder learns to say")
    image_dropout: float = Field(0.0, ge=0, lt=1, description="share of pairs, drawn each epoch, told no picture")
    control: str | None = Field(None, description="step.column of whole numbers from 1: how well each caption fits")
    control_levels: int = Field(8, ge=2, le=127, description="levels of `control`, the last one the best")
    control_dropout: float = Field(0.1, ge=0, lt=1, description="share of pairs, drawn each epoch, told no level")
    prompt: str | None = Field(None, description="source of words told before the caption: a question, a user's words")
    prompt_tokens: int = Field(16, ge=1, le=256, description="of the prompt's tokens, the first are read")
    lengths: int = Field(0, ge=0, le=256, description="a caption's length in words is told, up to this; 0: it is not")
    languages: tuple[str, ...] = Field((), description="a caption's language is told, one of these, BCP 47")
    box: str | None = Field(None, description="step.column of 4 numbers: the part of the picture that is spoken of")
    prefix: int = Field(4, ge=1, le=64, description="tokens a vector; with `mapping: queries` of all of them together")
    mapping: Literal["mlp", "linear", "queries"] = Field("mlp", description="how vectors become tokens (mapping.py)")
    told_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of pairs, drawn each epoch and for each, told no length, language, box, user",
    )
    user: str | None = Field(None, description="step.column of a list of words: a user's own, told before the caption")
    user_tokens: int = Field(16, ge=1, le=256, description="of the tokens of a user's words, the first are read")
    hidden: int = Field(256, ge=8, description="width within the maps to tokens, and of their fusion")
    fusion: int = Field(0, ge=0, le=12, description="layers by which the prefix's tokens look at each other")
    decoder: ModelFolder | None = Field(None, description="language model of transformers, frozen; none: from nothing")
    lora_rank: int = Field(
        0, ge=0, le=1024, description="of adapters beside the decoder, which is locked then; 0: none"
    )
    lora_alpha: float = Field(16.0, ge=0, description="adapters are scaled by this over their rank")
    width: int = Field(128, ge=8, description="of a decoder from nothing; a multiple of its heads")
    heads: int = Field(4, ge=1)
    layers: int = Field(6, ge=1, le=48, description="of a decoder from nothing")
    max_words: int = Field(16, ge=1, le=256, description="a caption's words, or tokens, beyond these are not learnt")
    vocabulary: int = Field(4000, ge=1, description="commonest words a decoder from nothing knows")
    least: int = Field(2, ge=1, description="captions that must hold a word for the decoder to know it")
    batch_size: int = Field(128, ge=1)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


S = TypeVar("S", bound=CaptionerSettings)


class Captioning(Task[S]):
    """Writes config.json, model.safetensors, its words or its language model, card.md and, with levels, their picture.

    Metrics, over pairs it was trained on: `nats_per_word` (of a language model: per token); with a control also
    `nats_per_word_level_N` and `nats_per_word_shuffled`, where each pair is told another's level; with dropped pictures
    `nats_per_word_without_image`.
    """

    requires = Columns("features", "count", "control", "box", "user") + Captions("source", "prompt")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    speaks: ClassVar[tuple[str, ...]] = ("captioner",)
    grows: ClassVar[bool] = False  # whether words are learnt that what it starts from did not know
    stops: ClassVar[bool] = False  # whether a decoder from nothing knows the ends of sentences

    @property
    def said(self) -> tuple[str, ...]:
        """Sources of the captions that are learnt."""
        return (self.settings.source,)

    def reads(self) -> Reads:
        wish = self.settings
        columns = tuple(one for one in (wish.control, wish.box, wish.user) if one is not None)
        prompt = () if wish.prompt is None else (wish.prompt,)
        optional = frozenset((*columns, *prompt))
        needed = (wish.features, *([wish.count] if wish.count else []))
        return Reads(columns=(*needed, *columns), texts=(wish.source, *prompt), optional=optional)

    def parts(self) -> list[Part]:
        """What the prefix is made of."""
        from pairwright.components.models.captioner.prefix import Part, size_of

        wish = self.settings
        size = size_of(wish.features, self.population.width(wish.features), wish.vectors)
        found = [Part("image", "vector", size, wish.prefix, wish.vectors, mapping=wish.mapping)]
        found += [Part("control", "number", wish.control_levels)] if wish.control else []
        found += [Part("length", "number", wish.lengths)] if wish.lengths else []
        found += [Part("language", "number", len(wish.languages), names=wish.languages)] if wish.languages else []
        found += [Part("box", "box")] if wish.box else []
        found += [Part("user", "words", wish.user_tokens)] if wish.user else []
        return found + ([Part("prompt", "words", wish.prompt_tokens)] if wish.prompt else [])

    def build(self) -> Captioner:
        from pairwright.components.models.captioner.captioner import Captioner
        from pairwright.components.models.captioner.pretrained import load_pretrained
        from pairwright.components.models.captioner.tokens import PretrainedTokens, WordTokens

        wish, parts = self.settings, self.parts()
        if wish.decoder is not None:
            assert wish.decoder.path is not None
            decoder, tokenizer = load_pretrained(wish.decoder.path)
            tokens = PretrainedTokens(tokenizer, decoder.vocabulary)
            return self._adapted(Captioner(parts, decoder, tokens, wish.max_words, wish.hidden, wish.fusion))
        longest = sum(part.length for part in parts) + wish.max_words + 1
        words = WordTokens(self.vocabulary())
        own = self.decoder(len(words.words), longest)
        return self._adapted(Captioner(parts, own, words, wish.max_words, wish.hidden, wish.fusion))

    def decoder(self, vocabulary: int, longest: int) -> Decoder:
        """The one that is learnt from nothing, where no language model is named."""
        from pairwright.components.models.captioner.decoder import SmallDecoder

        wish = self.settings
        return SmallDecoder(vocabulary, longest, wish.width, wish.layers, wish.heads)

    def _adapted(self, model: Captioner) -> Captioner:
        """The model with adapters beside the decoder's attention, and all else of the decoder locked, if so wished."""
        from pairwright.components.models.lora import ATTENTION_LAYERS, adapt

        wish = self.settings
        if wish.lora_rank:
            model.decoder.requires_grad_(False)
            layers = (*ATTENTION_LAYERS, "mix")
            adapt(model.decoder, rank=wish.lora_rank, alpha=wish.lora_alpha, layers=layers, seed=wish.seed)
        return model.train()

    def vocabulary(self) -> list[str]:
        """Words of a decoder from nothing: of the model it starts from, in their places, and the captions' own.

        The words of what it starts from are all there are, unless it `grows` and its decoder is trained as a whole.
        """
        from pairwright.components.models.captioner.tokens import read_words
        from pairwright.components.models.model_folder import damage_named
        from pairwright.components.models.words import vocabulary_of

        wish, known = self.settings, list[str]()
        if wish.init is not None and wish.init.path is not None:
            with damage_named(folder := Path(wish.init.path)):
                known = read_words(folder).words
            if not self.grows or wish.lora_rank:
                return known
        own = vocabulary_of(self.written(), wish.vocabulary, wish.least, self.stops)
        return list(dict.fromkeys([*known, *own]))

    def written(self) -> Iterator[str]:
        """Texts whose words a decoder from nothing knows."""
        sources = (*self.said, *([self.settings.prompt] if self.settings.prompt else []))
        return (text for some in spread(self.population, COUNTED) for source in sources for text in some.texts(source))

    def start_from(self, folder: Path) -> None:
        from pairwright.components.models.captioner.folder import start_captioner

        start_captioner(self.model, folder)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        from pairwright.components.models.captioner.prefix import not_told

        wish = self.settings
        found = dict(told_of(examples, wish, self.model))
        shares = {"image": wish.image_dropout, "control": wish.control_dropout}
        for name, share in (shares | dict.fromkeys(MAY_BE_LEFT_OUT, wish.told_dropout)).items():
            if share and name in found:
                found[name] = not_told(found[name], torch.from_numpy(examples.draw(name) < share))
        return found | {"tokens": self.model.tokens.encode(examples.texts(wish.source), self.model.longest)}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        told = {name: batch[name] for name in self.model.parts if name in batch}
        return {"logits": self.model.logits(told, batch["tokens"][:, :-1])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        nats = self.model.nats(outputs["logits"], batch["tokens"])
        return {"loss": nats.sum() / self.weight(batch)}

    def weight(self, batch: Batch) -> float:
        """Words and ends to be said."""
        return float(self.model.counted(batch["tokens"]).sum())

    def measured(self) -> dict[str, float]:
        """What `save` tells of the model."""
        return measure(self.model, self.population, self.settings)

    def card(self, measured: Mapping[str, float], trained: Trained, tower: TaughtOn | None = None) -> str:
        """What `save` writes for people."""
        return _card(self.settings, self.said, measured, trained, tower)

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.captioner.folder import TaughtOn, save_captioner
        from pairwright.components.models.lora import merge, save_adapter

        if self.settings.lora_rank:
            save_adapter(self.model, folder)  # with the hash of what it was trained beside
            merge(self.model)
        measured = self.measured()
        tower = TaughtOn.noted(self.population.made_by(self.settings.features))
        save_captioner(self.model, folder, self.card(measured, trained, tower), tower)
        if self.settings.control is not None:
            draw_levels(measured, folder)
        return measured


@task("captioner")
class CaptionerTask(Captioning[CaptionerSettings]):
    """Of pictures and their captions."""

    grows = True


def told_of(examples: Examples, wish: CaptionerSettings, model: Captioner) -> dict[str, Tensor]:
    """Each part's values of these pairs, nothing left out.

    Raises:
        ColumnError: a control or a box is none.
    """
    import torch

    from pairwright.components.models.captioner.prefix import vectors_of
    from pairwright.components.models.captioner.tokens import prompts_of

    counts = examples.column(wish.count) if wish.count else None
    found = {"image": vectors_of(examples.column(wish.features), wish.vectors, counts)}
    if wish.control is not None:
        found["control"] = torch.from_numpy(levels_of(examples, wish.control, wish.control_levels))
    if wish.lengths:
        words = [len(text.split()) for text in examples.texts(wish.source)]
        found["length"] = torch.tensor(words).clamp(1, wish.lengths)
    if wish.languages:
        langs = [texts[0].lang if texts else None for texts in examples.all_texts(wish.source)]
        number = {lang: at for at, lang in enumerate(wish.languages, 1)}
        found["language"] = torch.tensor([number.get(lang or "", 0) for lang in langs])
    if wish.box is not None:
        found["box"] = torch.from_numpy(_boxes_of(examples, wish.box))
    if wish.user is not None:
        own = [" ".join(words or ()) for words in examples.column(wish.user)]
        found["user"] = prompts_of(model.tokens, own, wish.user_tokens)
    if wish.prompt is not None:
        found["prompt"] = prompts_of(model.tokens, examples.texts(wish.prompt), wish.prompt_tokens)
    return found


def levels_of(examples: Examples, control: str, levels: int) -> np.ndarray:
    """int64 (n,): each example's level from 1, or 0 where it has none.

    Raises:
        ColumnError: a value is none of the levels.
    """
    known = examples.known(control)
    values = np.where(known, np.asarray(examples.column(control), np.float64), 0.0)
    wrong = known & ~((values >= 1) & (values <= levels) & (values == np.floor(values)))
    if wrong.any():
        raise ColumnError(
            f"captioner: {control} is {values[wrong][0]:g} for {examples.keys[int(np.argmax(wrong))]}; levels are "
            f"whole numbers from 1 to {levels}, set control_levels to the bins there are"
        )
    return values.astype(np.int64)


def _boxes_of(examples: Examples, box: str) -> np.ndarray:
    """float32 (n, 4), NaN where a pair has none."""
    values = np.asarray(examples.column(box), np.float32)
    if values.shape != (len(examples), 4):
        raise ColumnError(f"captioner: {box} holds no boxes of 4 numbers: x0, y0, x1, y1 as shares of the picture")
    return np.where(examples.known(box)[:, None], values, np.float32(np.nan))


def measure(
    model: Captioner,
    population: Population,
    wish: CaptionerSettings,
    shown: Callable[[Tensor], Tensor] = lambda image: image,
) -> dict[str, float]:
    """Nats a word of their captions over up to 4096 examples: as they are, by level, at another's, without pictures.

    Args:
        shown: what the model is shown of the features; they themselves if not said.
    """
    import torch

    from pairwright.components.models.captioner.prefix import not_told

    nats: dict[str, list[Tensor]] = {"": [], "shuffled": [], "without_image": []}
    words, levels = [], []
    random = torch.Generator().manual_seed(wish.seed)
    for examples in spread(population, MEASURED):
        told = told_of(examples, wish, model)
        told["image"] = shown(told["image"])
        tokens = model.tokens.encode(examples.texts(wish.source), model.longest)
        ways = {"": told}
        if wish.image_dropout:
            ways["without_image"] = told | {"image": not_told(told["image"], torch.ones(len(tokens), dtype=torch.bool))}
        if wish.control is not None:
            levels.append(told["control"])
            order = torch.randperm(len(tokens), generator=random)
            ways["shuffled"] = told | {"control": told["control"][order]}
        for name, way in ways.items():
            nats[name].append(nats_of(model, way, tokens))
        words.append(model.counted(tokens).double().sum(1))
    said = torch.cat(words)
    whole = {name: torch.cat(costs) for name, costs in nats.items() if costs}
    found = {f"nats_per_word{'_' * bool(name)}{name}": float(of.sum() / said.sum()) for name, of in whole.items()}
    found["pairs_measured"] = float(len(said))
    for level in torch.cat(levels).unique().tolist() if levels else ():
        at = torch.cat(levels) == level
        name = f"nats_per_word_level_{level}" if level else "nats_per_word_no_level"
        found[name] = float(whole[""][at].sum() / said[at].sum())
    return found


def nats_of(model: Captioner, told: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Nats of each caption, its end among them, float64 (n,)."""
    import torch

    from pairwright.components.models.captioner.captioner import BLOCK

    device, found = next(model.parameters()).device, []
    with torch.no_grad():
        for rows in torch.arange(len(tokens)).split(BLOCK):
            said = tokens[rows].to(device)
            here = {name: value[rows].to(device) for name, value in told.items()}
            found.append(model.nats(model.logits(here, said[:, :-1]), said).double().sum(1).cpu())
    return torch.cat(found)


def _card(
    wish: CaptionerSettings,
    said: Sequence[str],
    measured: Mapping[str, float],
    trained: Trained,
    tower: TaughtOn | None = None,
) -> str:
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(measured.items()))
    levels = "none" if wish.control is None else f"`{wish.control}`, 1 to {wish.control_levels}, the last fits best"
    decoder = f"of {wish.layers} layers, learnt from nothing" if wish.decoder is None else wish.decoder.reference
    seen_by = f"`{tower.reference}` ({tower.weights[:12]})" if tower else "a tower that their record does not name"
    dropped = f"of {wish.image_dropout:.0%} of the pairs, so that it can be guided" if wish.image_dropout else "of none"
    return f"""# Captioner

A causal decoder ({decoder}) after {wish.prefix} tokens of a picture's features.

| | |
|---|---|
| features | `{wish.features}`, of {seen_by}, locked |
| captions | {", ".join(f"`{source}`" for source in said)} |
| control | {levels} |
| picture left out | {dropped} |
| pairs | {trained.pairs}, {trained.excluded} without features or caption left out |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

Figures are of pairs it was trained on: they tell levels apart, not how good its captions are.
"""
