"""Visual Caption Boosting: what people wrote of a picture, blended, and a model's dense detail added to it.

    recaption: {boosted: {uses: boost_caption, with: {humans: [alt, second], detail: dense}}}

Gaur et al., 2024, "No Detail Left Behind". First several people's captions become one (BlendCap), then a dense
description's detail is merged into it (HolisticCap), so that a caption is fine-grained and still what people said: an
answer that loses a name or a noun of theirs is refused. In its stead stands the blend without detail; where that is
refused too, the people's captions one after the other. Without a language model both are a rule, which says all words.
Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.captioners.capsfusion import merge
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class BoostCaptionSettings(Settings):
    humans: tuple[str, ...] = Field(("alt",), min_length=1, description="sources of what people wrote")
    detail: str = Field(description="source of a dense description by a model")
    text_model: TextModelSettings = RuleTextModel()
    blend: Prompt = prompt_field("blend_captions")
    prompt: Prompt = prompt_field("boost_caption")
    limits: Validators = Field(
        Validators(entity_recall=1, noun_recall=1), description="of an answer; names and nouns are the people's"
    )


@captioner("boost_caption")
class BoostCaption(Captioner[BoostCaptionSettings]):
    """Caption, with the reason where detail was refused or there is none; None where no person wrote anything."""

    requires = Captions("humans", "detail")
    sees_failures = True  # texts need no picture

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        wish = self.settings
        by_rules = wish.text_model.uses == "rules"
        self.text_model = open_text_model(wish.text_model, device, rules=by_rule)
        self.blends, self.boosts = (
            Validator(wish.limits, "" if by_rules else prompt.text, tidies=not by_rules)
            for prompt in (wish.blend, wish.prompt)
        )
        for one in (self.blends, self.boosts):
            one.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        sources = [pairs.captions(source) for source in wish.humans]
        humans = [distinct(texts) for texts in zip(*sources, strict=True)]
        details = [" ".join((text or "").split()) for text in pairs.captions(wish.detail)]
        blended = self._blended(humans)
        asked = [i for i, text in enumerate(blended) if text and details[i]]
        prompts = [wish.prompt.about({"caption": blended[i], "detail": details[i]}) for i in asked]
        completions = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        return self.boosts.captions(
            [_draft(completions.get(i), blended[i], humans[i], [*humans[i], details[i]]) for i in range(len(pairs))]
        )

    def _blended(self, humans: Sequence[Sequence[str]]) -> list[str]:
        """One caption of each pair's; "" where there is none."""
        several = [i for i, texts in enumerate(humans) if len(texts) > 1]
        prompts = [self.settings.blend.about({"captions": list(humans[i])}) for i in several]
        drafts = [
            _draft(completion, ". ".join(text.rstrip(" .") for text in humans[i]), humans[i], humans[i])
            for i, completion in zip(several, self.text_model.complete(prompts), strict=True)
        ]
        made = dict(zip(several, self.blends.captions(drafts), strict=True))
        found = [made.get(i) or Caption("".join(texts[:1])) for i, texts in enumerate(humans)]
        return [one.text or "" for one in found]


def distinct(texts: Sequence[str | None]) -> list[str]:
    """Captions that say something, each once, the longest first: the others are told into it."""
    said = list(dict.fromkeys(" ".join(text.split()) for text in texts if text and text.strip()))
    return sorted(said, key=lambda text: -len(text.split()))


def by_rule(evidence: Mapping[str, Any]) -> str:
    """All words of the captions, or of the caption and its detail."""
    if "captions" in evidence:
        return reduce(lambda held, text: merge({"web": text, "synthetic": held}), evidence["captions"])
    return merge({"web": evidence["caption"], "synthetic": evidence["detail"]})


def _draft(completion: Any, fallback: str, humans: Sequence[str], evidence: Sequence[str]) -> Draft:
    own = ". ".join(humans)
    return Draft(completion, fallback or None, list(evidence), web=own, synthetic=own)
