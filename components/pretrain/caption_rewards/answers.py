"""Answers: whether a question about the picture is answered by the caption alone.

    rewards: {uses: answers, with: {question: question, answer: answer, text_model: {uses: rules}}}

A text model that sees no picture is given the caption and a question whose answer is known; the reward is the F1 of the
words of its answer and the known one, as SQuAD counts it (Rajpurkar et al., 2016), so that a caption is paid for the
detail that is asked for. Offline, rules answer with that one of the pairs' answers which the caption holds nearest to
the question's own words: a caption without the answer's words is paid nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Reward
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.protocol import with_evidence
from pairwright.components.models.words import words_of
from pairwright.components.registry import reward
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

KNOWN = 4096  # pairs whose answers the rules choose among, the first of the population
INSTRUCTION = (
    "Answer the question about a picture from its caption alone, both given as JSON on the last line. Answer with a "
    'word or two, and "unknown" where the caption does not say.'
)


class AnswersSettings(Settings):
    question: str = Field("question", description="source of a question about the picture")
    answer: str = Field("answer", description="source of its answer")
    text_model: TextModelSettings = RuleTextModel()


@reward("answers")
class Answers(Reward[AnswersSettings]):
    """From 0 to 1."""

    def reads(self) -> Reads:
        return Reads(texts=(self.settings.question, self.settings.answer))

    def modules(self) -> nn.Module | None:
        import numpy as np

        seen = self.population.read(np.arange(min(self.population.size, KNOWN)), 0, 0)
        known = tuple(dict.fromkeys(tuple(words_of(text)) for text in seen.texts(self.settings.answer)))

        def rules(evidence: Mapping[str, Any]) -> str:
            return " ".join(nearest_answer(words_of(evidence["caption"]), words_of(evidence["question"]), known))

        self.text_model = open_text_model(self.settings.text_model, str(self.device), rules=rules)
        return None

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        return {name: examples.texts(getattr(self.settings, name)) for name in ("question", "answer")}

    def encode(self, batch: Any, captions: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        import torch

        asked = [(text, question) for row, question in zip(captions, batch["question"], strict=True) for text in row]
        once = list(dict.fromkeys(asked))
        prompts = [with_evidence(INSTRUCTION, {"caption": text, "question": question}) for text, question in once]
        said = dict(zip(once, self.text_model.complete(prompts), strict=True))
        count = len(captions[0])
        right = [answer for answer in batch["answer"] for _ in range(count)]
        paid = [f1(said[one].text or "", answer) for one, answer in zip(asked, right, strict=True)]
        return {"each": torch.tensor(paid, device=self.device).view(len(captions), count)}


def nearest_answer(
    caption: Sequence[str], question: Sequence[str], known: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """The known answer that the caption holds nearest to a word of the question, the first of several; () if none."""
    asked = [at for at, word in enumerate(caption) if word in set(question)]
    best: tuple[float, int, tuple[str, ...]] | None = None
    for answer in known:
        for at in range(len(caption) - len(answer) + 1) if answer else ():
            if tuple(caption[at : at + len(answer)]) == answer and not set(answer) <= set(question):
                away = min((abs(at - place) for place in asked), default=len(caption))
                best = min(best or (float("inf"), 0, ()), (away, at, answer))
    return best[2] if best else ()


def f1(said: str, right: str) -> float:
    """Of the words two answers share, each counted as often as both have it."""
    ours, theirs = Counter(words_of(said)), Counter(words_of(right))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0
