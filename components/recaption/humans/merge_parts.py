"""Merge parts: captions of the parts of a picture as one long caption, in the words that its format allows.

    recaption: {long: {uses: merge_parts, with: {parts: [face, body, background], format: detailed}}}

HumanVLM's formats (Dai et al., 2024): 70 words for a short caption, 300 for a detailed one, 500 for high quality.
By rules each part is a sentence; where they are too many words, each part keeps its share and every noun that has room.
An answer of a text model that is longer, or loses a noun of a part, gives way to the rules'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.captions.english import NOUN, tagged
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import Completion, RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.protocol import REFUSED
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validate import REFUSAL, Limits, problem_with, tidy
from pairwright.components.recaption.validator import INVALID
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

WORDS = {"short": 70, "detailed": 300, "hq": 500}
BY_RULES = "by_rules"  # note: the text model's caption was too long, or had lost a noun of a part


class MergePartsSettings(Settings):
    parts: tuple[str, ...] = Field(min_length=1, description="sources of the parts' captions, in order")
    format: Literal["short", "detailed", "hq"] = Field("detailed", description=f"words at most: {WORDS}")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("merge_parts", "words")


@captioner("merge_parts")
class MergeParts(Captioner[MergePartsSettings]):
    """None where no part has a caption."""

    requires = Captions("parts")
    sees_failures = True  # a picture that lacks one part has the others

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.words = WORDS[self.settings.format]
        self.text_model = open_text_model(self.settings.text_model, device, rules=self._by_rules)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts = [pairs.captions(source) for source in self.settings.parts]
        rows = [[text for some in texts if (text := some[i])] for i in range(len(pairs))]
        asked = [i for i, row in enumerate(rows) if row]
        prompts = [self.settings.prompt.about({"parts": rows[i]}, words=self.words) for i in asked]
        answers = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        return [self._fit(answers[i], rows[i]) if i in answers else None for i in range(len(pairs))]

    def _fit(self, answer: Completion, parts: list[str]) -> Caption:
        if self.settings.text_model.uses == "rules":
            return Caption(answer.text or "", status=answer.status)
        text, limits = tidy(answer.text or ""), Limits(longest_words=self.words)
        lost = nouns_of(" . ".join(parts)) - nouns_of(text) - set(text.casefold().split())
        problem = answer.problem or problem_with(text, instruction=self.settings.prompt.text, limits=limits)
        if lost or problem:
            status = answer.status if answer.problem else REFUSED if problem == REFUSAL else INVALID
            return Caption(merged(parts, self.words), note=BY_RULES, status=status)
        return Caption(text, status=answer.status)

    def _by_rules(self, evidence: Mapping[str, Any]) -> str:
        return merged(evidence["parts"], self.words)


def merged(parts: Sequence[str], words: int) -> str:
    """The parts as sentences, in at most so many words; shorter parts leave their room to the longer ones."""
    lengths, room = {at: len(part.split()) for at, part in enumerate(parts)}, {}
    left = words
    for done, at in enumerate(sorted(lengths, key=lambda one: lengths[one])):
        room[at] = min(lengths[at], left // (len(parts) - done))
        left -= room[at]
    sentences = (shortened(part, room[at]) for at, part in enumerate(parts))
    return " ".join(f"{one[:1].upper()}{one[1:].rstrip(' .,;:')}." for one in sentences if one)


def shortened(text: str, words: int) -> str:
    """The beginning of a text and, of its nouns that come later, those that have room."""
    said = text.split()
    if len(said) <= words:
        return text
    for cut in range(words, -1, -1):
        head = " ".join(said[:cut])
        lost = [noun for noun in dict.fromkeys(_nouns(text)) if noun not in _nouns(head)]
        if cut + len(lost) <= words or cut == 0:
            return ", ".join(filter(None, [head.rstrip(" .,;:"), *lost[: words - cut]]))
    raise AssertionError("the last cut returns")


def nouns_of(text: str) -> set[str]:
    """Its nouns, in lower case."""
    return set(_nouns(text))


def _nouns(text: str) -> list[str]:
    return [word for word, tag in tagged(text) if tag == NOUN]
