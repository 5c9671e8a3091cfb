"""Part caption: one part of a picture (a face, a body, the background) in words, where there is such a part.

    recaption:
      face: {uses: part_caption, with: {of: route.face, noun: face, said: alt, attributes: face_colours.names}}
      background: {uses: part_caption, with: {of: route.background, noun: background, attributes: scene.background}}

`said` is a caption of the part or of the whole: of a model that looks at the crop (`image_to_text` with `boxes`), or
the one the picture came with. Attributes are bound to the noun as fusion does it, or follow a caption that has another
word for it ("woman cook, in red"); no other content word is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.phrases import words_of
from pairwright.components.models.text_backends.rules import compose
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class PartCaptionSettings(Settings):
    of: str = Field(description="step.column that has the part: boxes, or a share; none, an empty list: no part")
    noun: str = Field(description="what the part is called")
    said: str | None = Field(None, description="source of a caption that tells of it")
    attributes: str | None = Field(None, description="step.column of its attributes: of the first box, or of the part")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("part_caption")
    limits: Validators = Validators()


@captioner("part_caption")
class PartCaption(Captioner[PartCaptionSettings]):
    """None where the picture has no such part; no text, and why, where the answer is refused."""

    requires = Columns("of", "attributes") + Captions("said")
    sees_failures = True

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=described)
        told = "" if self.settings.text_model.uses == "rules" else self.settings.prompt.text
        self.validator = Validator(self.settings.limits, told)
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        said = pairs.captions(wish.said) if wish.said is not None else [None] * len(pairs)
        attributes = pairs.columns[wish.attributes] if wish.attributes is not None else [None] * len(pairs)
        evidence: dict[int, dict[str, Any]] = {
            i: {"caption": said[i] or "", "boxes": [{"label": wish.noun, "attributes": listed(attributes[i])}]}
            for i, part in enumerate(pairs.columns[wish.of])
            if part is not None and part != []
        }
        answers = self.text_model.complete([wish.prompt.about(one) for one in evidence.values()])
        drafts = [
            Draft(answer, None, [facts["caption"], wish.noun, *facts["boxes"][0]["attributes"]], web=facts["caption"])
            for facts, answer in zip(evidence.values(), answers, strict=True)
        ]
        made = dict(zip(evidence, self.validator.captions(drafts), strict=True))
        return [made.get(i) for i in range(len(pairs))]


def described(evidence: dict[str, Any]) -> str:
    """The rules' words for one part: its attributes at its noun, or behind a caption that calls it something else."""
    caption, (part,) = str(evidence["caption"]), evidence["boxes"]
    if caption and not words_of(part["label"]) <= words_of(caption):
        return compose({"caption": caption, "colours": part["attributes"]})
    return compose({"caption": caption, "boxes": [part]})


def listed(attributes: Any) -> list[str]:
    """Attributes of the first box of several, of the part itself, or a single one."""
    if not attributes:
        return []
    if isinstance(attributes, str):
        return [attributes]
    return list(attributes if isinstance(attributes[0], str) else attributes[0] or [])
