"""Prefix conditioning (Saito et al., 2023): class labels and captions teach one model, and a token says which it reads.

    pretrain:
      uses: prefix_conditioning
      with: {kind: style, kinds: {noto: class, twemoji: caption}, label: subgroup}

Class names become texts by prompt templates. Left to itself a text tower takes "a photo of a dog" for a sign of the
labelled data's pictures; with a learnt token a kind before the text, that is what the token is for. Each batch comes
from one value of the label `kind`, so that telling data sets apart never helps; afterwards every text, prompts of
classes too, is read after the caption's token. Any objective serves: clip, or unicl, for which a class's pictures
and prompts are each other's answers.

Mechanism verified by test, figure not reproduced; that a batch is of one kind was not confirmed in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.dataset.captions.spoken import spoken
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.identity import LABEL, text_identities
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import task

if TYPE_CHECKING:
    import torch

CAPTION, CLASS = "caption", "class"
TEMPLATES = ("a picture of {}", "a drawing of {}", "one of the {}", "an image: {}")


class PrefixConditioningSettings(DualEncoderSettings):
    knows_classes: ClassVar[bool] = True

    kind: str = Field(description="label whose value says which data a pair is of")
    kinds: dict[str, Literal["caption", "class"]] = Field(
        min_length=1, description="that value -> what its texts are: captions, or classes in prompts"
    )
    label: str = Field(
        description="label whose value is a pair's class; one of a class kind without it has its caption"
    )
    templates: tuple[str, ...] = Field(
        TEMPLATES, min_length=1, description="prompts, {} is the class; drawn each epoch"
    )
    prefix: int = Field(1, ge=0, le=16, description="learnt tokens before a text; 0 is the plain dual encoder")
    trainable: Literal["heads", "lora", "text", "all"] = Field(
        "text", description="`text` or `all`; `freeze: [text_tower.base]` leaves the prefix and the projections"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_kind_a_batch(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "batches_of" not in values and isinstance(values.get("kind"), str):
            return {**values, "batches_of": LABEL + values["kind"]}
        return values

    @model_validator(mode="after")
    def _a_tower_that_takes_tokens(self) -> Self:
        if self.trainable not in ("text", "all") or self.tower is not None:
            raise ValueError(
                "a prefix is learnt through the text tower: trainable is `text` or `all`, and the towers are two; "
                "`freeze: [text_tower.base]` keeps the tower as it is"
            )
        if CAPTION not in self.kinds.values():
            raise ValueError("kinds needs one of captions: its token is the one that is read with afterwards")
        return self


@task("prefix_conditioning")
class PrefixConditioning(FitDualEncoder):
    """A dual encoder whose text tower has a token a kind of text; what it writes is read after the caption's."""

    settings: PrefixConditioningSettings  # type: ignore[assignment]
    libraries = TOWER_LIBRARIES

    @classmethod
    def settings_model(cls) -> type[PrefixConditioningSettings]:
        return PrefixConditioningSettings

    def prepare(self) -> None:
        from pairwright.components.models.towers.prefixed import PrefixedText

        super().prepare()
        if self.settings.prefix:
            model: Any = self.encoder
            model.text_tower = PrefixedText(
                model.text_tower, (CAPTION, CLASS), self.settings.prefix, self.settings.seed
            )

    def reads_text(self) -> Reads:
        wish = self.settings
        sources = tuple(self.captions)
        return Reads(
            texts=sources,
            labels=(wish.kind, wish.label),
            any_of=((*sources, wish.label),),
            optional=frozenset((wish.kind,)),
        )

    def collate_text(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        texts, is_class = self.texts(examples)
        tokens = self.towers.tokens(texts)
        if self.settings.prefix:
            tokens["kind"] = torch.tensor(is_class, dtype=torch.long)
        return {"text": tokens, "classes": self._classes(examples, is_class)}

    def texts(self, examples: Examples) -> tuple[list[str], list[bool]]:
        """A text a pair, and whether it is a prompt of a class."""
        wish = self.settings
        captions = examples.captions(self.captions, wish.mix)
        classes = examples.labels(wish.label)
        kinds = [wish.kinds.get(kind or "", CAPTION) for kind in examples.labels(wish.kind)]
        which = (examples.draw("template") * len(wish.templates)).astype(int)
        prompted = [
            name is not None and (kind == CLASS or not caption)
            for kind, name, caption in zip(kinds, classes, captions, strict=True)
        ]
        texts = [
            wish.templates[at].format(spoken(str(name))) if prompt else caption
            for at, name, caption, prompt in zip(which, classes, captions, prompted, strict=True)
        ]
        return texts, prompted

    def _classes(self, examples: Examples, is_class: list[bool]) -> torch.Tensor:
        """Equal for pairs of one class; each pair of captions is like no other. int64 (n,)."""
        import torch

        names = [name or "" for name in examples.labels(self.settings.label)]
        said = [name if prompt else "" for name, prompt in zip(names, is_class, strict=True)]
        return torch.from_numpy(text_identities(said, [str(number) for number in examples.numbers.tolist()]).copy())
