"""CapsFusion: the web's text and a synthetic caption merged into one, which knows names and is well formed.

    recaption:
      teacher: {uses: capsfusion, with: {synthetic: seen, seed_share: 0.2, fallback: null}}        # a seed set
      fused:   {uses: capsfusion, with: {synthetic: seen, text_model: {uses: student, model: "step:student"}}}

Yu et al., 2024: a strong language model merges both for a seed set, a small one learns it of that (`fusion_student`)
and merges the corpus. A web text has knowledge and poor grammar, a synthetic caption good structure and may be false:
they are merged and not put one after the other. Without a language model the teacher is a rule: the web's phrase takes
the place of the synthetic caption's subject where it says its noun, else stands beside it. Mechanism verified by test,
figure not reproduced.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.captions.english import AUX, CONJ, DET, NOUNS_IN_ING, PREP, PRON, closed_class
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.copying.source import text_of, tokens_of
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.phrases import with_article
from pairwright.components.recaption.captioners.clean import clean_caption
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

ENDS_A_PHRASE = frozenset((AUX, CONJ, PREP, PRON))


class CapsFusionSettings(Settings):
    web: str = Field("alt", description="the text a picture came with")
    synthetic: str = Field(description="source of the caption a model wrote")
    most_words: int = Field(128, ge=1, description="words of either that are read")
    seed_share: float = Field(1.0, gt=0, le=1, description="share of the pairs that are merged, drawn by key")
    fallback: str | None = Field("alt", description="source that stands in for what is refused; null: nothing")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("capsfusion")
    limits: Validators = Validators()


@captioner("capsfusion")
class CapsFusion(Captioner[CapsFusionSettings]):
    """Caption; the fallback, with its reason, where an answer is refused or a text is missing; None if not drawn."""

    requires = Captions("web", "synthetic", "fallback")
    sees_failures = True  # texts need no picture

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        chosen = self.settings.text_model
        self.text_model = open_text_model(chosen, device, rules=merge)
        told = "" if chosen.uses in ("rules", "student") else self.settings.prompt.text
        self.validator = Validator(self.settings.limits, told, tidies=bool(told))
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        webs, synthetics = self._read(pairs, wish.web), self._read(pairs, wish.synthetic)
        originals = pairs.captions(wish.fallback) if wish.fallback else [None] * len(pairs)
        drawn = [i for i, key in enumerate(pairs.keys) if is_drawn(key, wish.seed_share)]
        asked = [i for i in drawn if webs[i] and synthetics[i]]
        prompts = [wish.prompt.about({"web": webs[i], "synthetic": synthetics[i]}) for i in asked]
        completions = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        drafts = [
            Draft(completions.get(i), originals[i], [webs[i], synthetics[i]], web=webs[i], synthetic=synthetics[i])
            for i in drawn
        ]
        made = dict(zip(drawn, self.validator.captions(drafts), strict=True))
        return [made.get(i) for i in range(len(pairs))]

    def _read(self, pairs: PairBatch, source: str) -> list[str]:
        return [" ".join((text or "").split()[: self.settings.most_words]) for text in pairs.captions(source)]


def is_drawn(key: str, share: float) -> bool:
    """Whether a pair is of the seed set: the same answer in every run."""
    return zlib.crc32(f"capsfusion {key}".encode()) < share * 2**32


def merge(evidence: dict[str, Any]) -> str:
    """The rule teacher: `web` and `synthetic` of the evidence as one phrase that says all words of both.

    "Mohu, red panda" and "a small animal on a branch" -> "a small animal, Mohu, red panda, on a branch"
    "Golden Retriever dog Max" and "a small dog on a lawn" -> "a small Golden Retriever dog Max on a lawn"
    """
    web, synthetic = tokens_of(clean_caption(evidence.get("web"))), tokens_of(str(evidence.get("synthetic") or ""))
    web, synthetic = _bare(web), _bare(synthetic)
    if not web or not synthetic or _folded(web) <= _folded(synthetic):
        return text_of(synthetic or web)
    if _folded(synthetic) <= _folded(web):
        return text_of(web)
    head, rest = _subject(synthetic)
    if not head:
        return text_of([*web, ",", *synthetic])
    held, article = _folded(web), head[:1] if closed_class(head[0].lower()) == DET else []
    if closed_class(web[0].lower()) == DET:
        web = web[1:]
    if head[-1].casefold() not in held:
        return text_of([*head, ",", *web, *([","] if rest else []), *rest])
    new = [word for word in head[len(article) :] if word.casefold() not in held]
    return text_of([*_agreeing(article, [*new, *web]), *new, *web, *rest])


def _bare(tokens: Sequence[str]) -> list[str]:
    """Without signs at either end."""
    words = [i for i, token in enumerate(tokens) if token[0].isalnum()]
    return list(tokens[words[0] : words[-1] + 1]) if words else []


def _folded(tokens: Sequence[str]) -> set[str]:
    """Words that say something, whatever their case."""
    return {token.casefold() for token in tokens if token[0].isalnum() and closed_class(token.lower()) is None}


def _subject(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """A caption's first noun phrase, and what follows it."""
    for at, token in enumerate(tokens):
        word = token.lower()
        form = word.endswith("ing") and len(word) > 5 and word not in NOUNS_IN_ING
        if not token[0].isalnum() or closed_class(word) in ENDS_A_PHRASE or form:
            return list(tokens[:at]), list(tokens[at:])
    return list(tokens), []


def _agreeing(article: Sequence[str], words: Sequence[str]) -> list[str]:
    """`a` or `an`, as the word behind it sounds; any other determiner as it is."""
    if not article or article[0].lower() not in ("a", "an") or not words:
        return list(article)
    sounds = with_article(words[0] + " x").split()[0]
    return [sounds.capitalize() if article[0][0].isupper() else sounds]
