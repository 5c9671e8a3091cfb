"""CNM: a captioner whose decoder weighs four modules at each word, and is taught which by the word's part of speech.

    score: {parts: {uses: patch_features, with: {grid: 4}}}
    fit:   {captioner: {uses: cnm, with: {features: parts.vector, vectors: 16, source: alt}}}

Yang et al., 2019, "Learning to Collocate Neural Modules for Image Captioning"; the decoder and its equations are in
models/captioner/neural_modules.py. The loss is

    L = CE(word) + lambda CE(last controller, group of the word)

of which the second term ends after `until` epochs. Groups of parts of speech: nouns and determiners are objects; verbs,
prepositions and adverbs relations; adjectives and numerals attributes; all else, and the end, functions. Words are
tagged by closed classes and rules (components/dataset/captions/english.py), no trained tagger: English captions alone.
The paper's reward tuning and scheduled sampling are not here. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.dataset.captions.english import ADJ, ADV, AUX, DET, NOUN, NUM, PREP, VERB, tagged
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.pretrain.captioners.captioner import MEASURED, CaptionerSettings, Captioning
from pairwright.components.registry import task
from pairwright.components.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.neural_modules import ModuleDecoder

FUNCTION, OBJECT, RELATION, ATTRIBUTE = range(4)  # as MODULES of the decoder
GROUPS = {DET: OBJECT, NOUN: OBJECT, VERB: RELATION, AUX: RELATION, PREP: RELATION, ADV: RELATION}
GROUPS |= {ADJ: ATTRIBUTE, NUM: ATTRIBUTE}
NOTHING = -1  # behind a caption's end
OTHERS = ("control", "prompt", "user", "box", "decoder")  # what the modules have no place for


class CnmSettings(CaptionerSettings):
    vectors: int = Field(9, ge=2, le=1024, description="parts a picture has in `features`, end to end")
    prefix: int = Field(1, ge=1, le=1, description="a part is one token, which the modules attend to")
    linguistic: float = Field(1.0, ge=0, description="lambda: weight of the controller's cross-entropy")
    until: int = Field(20, ge=0, description="epochs in which the controller is taught; from then on words alone")
    stacked: int = Field(2, ge=1, le=8, description="M: steps over each other, each with a controller of its own")
    controller_sees: Literal["all", "released"] = Field(
        "all", description="objects, relations and attributes, or as the released command has it: objects twice"
    )

    @model_validator(mode="after")
    def _the_parts_alone(self) -> Self:
        named = [name for name in OTHERS if getattr(self, name) is not None]
        named += [name for name in ("lengths", "languages", "fusion", "lora_rank") if getattr(self, name)]
        if named or self.mapping == "queries":
            raise ValueError(f"cnm reads a picture's parts alone; leave out {', '.join(named) or 'mapping: queries'}")
        return self


@task("cnm")
class Cnm(Captioning[CnmSettings]):
    """Writes what `captioner` writes; metrics say besides how often the controller's heaviest module is the word's."""

    speaks = ()  # its column of parts names no tower that a new picture could pass

    def decoder(self, vocabulary: int, longest: int) -> ModuleDecoder:
        from pairwright.components.models.captioner.neural_modules import ModuleDecoder

        wish = self.settings
        sizes = {"width": wish.width, "heads": wish.heads, "stacked": wish.stacked}
        return ModuleDecoder(vocabulary, longest, wish.vectors, sees=wish.controller_sees, **sizes)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        found = dict(super().collate(examples))
        if self.settings.linguistic and examples.epoch < self.settings.until:
            found["groups"] = groups_of(examples.texts(self.settings.source), self.model.longest)
        return found

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        told = {name: batch[name] for name in self.model.parts}
        logits, steering = self.model.decoder.read(*self.model.begun(told, batch["tokens"][:, :-1]))
        return {"logits": logits} | ({"steering": steering[:, :, -1]} if "groups" in batch else {})

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        from torch.nn import functional as F  # noqa: N812

        named = super().losses(outputs, batch)
        if "steering" not in outputs:
            return named
        steering, groups = outputs["steering"].flatten(0, 1).float(), batch["groups"].flatten()
        taught = F.cross_entropy(steering, groups, ignore_index=NOTHING, reduction="sum") / self.weight(batch)
        return {"words": named["loss"], "linguistic": taught, "loss": named["loss"] + self.settings.linguistic * taught}

    def measured(self) -> dict[str, float]:
        return super().measured() | {"controller_accuracy": self._steered()}

    def _steered(self) -> float:
        """Share of the words, ends among them, whose group the last controller weighs most."""
        import torch

        from pairwright.components.pretrain.captioners.captioner import told_of

        device, right, count = next(self.model.parameters()).device, 0, 0
        with torch.no_grad():
            for some in spread(self.population, MEASURED):
                texts = some.texts(self.settings.source)
                tokens, groups = (
                    self.model.tokens.encode(texts, self.model.longest),
                    groups_of(texts, self.model.longest),
                )
                told = {name: value.to(device) for name, value in told_of(some, self.settings, self.model).items()}
                _, steering = self.model.decoder.read(*self.model.begun(told, tokens[:, :-1].to(device)))
                chosen = steering[:, :, -1].argmax(-1).cpu()
                right += int(((chosen == groups) & (groups != NOTHING)).sum())
                count += int((groups != NOTHING).sum())
        return right / max(count, 1)


def groups_of(captions: Sequence[str], most: int) -> Tensor:
    """(n, t) int64, as tokens[:, 1:]: the module of each word of a caption and of its end, NOTHING behind it."""
    import torch

    rows = []
    for caption in captions:
        tags = tagged(unicodedata.normalize("NFKC", caption))
        words = [GROUPS.get(tag, FUNCTION) for word, tag in tags if word[0].isalnum()]
        rows.append([*words[:most], FUNCTION])
    length = max((len(row) for row in rows), default=1)
    return torch.tensor([row + [NOTHING] * (length - len(row)) for row in rows]).reshape(len(rows), length)
