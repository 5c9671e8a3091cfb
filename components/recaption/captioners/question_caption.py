"""Question caption: of several captions the one from which a question is answered best, as PromptCap makes its data.

    recaption:
      prompted: {uses: question_caption, with: {question: question, answers: answer, captions: [alt], least: 0.99}}
    train:
      captioner: {uses: captioner, with: {source: prompted, prompt: question}}

Hu et al., 2023, "PromptCap". A text model reads question, answer and the captions there are, and writes one line that
helps to answer. Candidates are that line and the captions there were; another text model answers the question from each
alone, and what it answers is held against the answers people gave (answer_scores.py). The candidate of the highest soft
score is the caption, the shorter one of equals. The released code keeps every candidate with both scores; the paper
drops a caption from which the answer cannot be recovered: that is `least`. With rules in the place of both text models,
it knows the questions of composed scenes alone. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.pairs import PairBatch, captions_from
from pairwright.components.dataset.sources.scenes.questions import answer_from, statement
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.answer_scores import hard_score, soft_score
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validate import Limits, problem_with, tidy
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class QuestionCaptionSettings(Settings):
    question: str = Field(description="source of the question about each picture")
    answers: str = Field(description="source of its answers; of a sidecar's source all of a picture's")
    captions: tuple[str, ...] = Field(("alt",), description="sources of captions there are, which are candidates, too")
    least: float = Field(0.0, le=1, description="soft score below which a pair has no caption; 0 and less drops none")
    normalised: bool = Field(True, description="answers lose case and article before they are compared")
    text_model: TextModelSettings = RuleTextModel()
    answerer: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("question_caption")
    answer_prompt: Prompt = prompt_field("question_answer")
    limits: Limits = Limits()


@captioner("question_caption")
class QuestionCaption(Captioner[QuestionCaptionSettings]):
    """Caption; its note is the source it came from where it is one there was. None without a question or an answer."""

    requires = Captions("question", "answers")
    sees_failures = True  # a pair that lacks one of the captions there are has the others

    def caption_sources(self) -> tuple[str, ...]:
        return (*super().caption_sources(), *self.settings.captions)

    def setup(self, device: str) -> None:
        self.writer = open_text_model(self.settings.text_model, device, rules=_written)
        self.answerer = open_text_model(self.settings.answerer, device, rules=_answered)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        questions = [text or "" for text in pairs.captions(wish.question)]
        answers = [self._answers(pairs, at) for at in range(len(pairs))]
        there = [pairs.captions(source) for source in wish.captions]
        known = [{source: texts[at] or "" for source, texts in zip(wish.captions, there)} for at in range(len(pairs))]
        written = self._written(questions, answers, known)
        candidates = [
            {source: text for source, text in one.items() if text} | ({"": line} if line else {})
            for one, line in zip(known, written, strict=True)
        ]
        return self._chosen(questions, answers, candidates)

    def _answers(self, pairs: PairBatch, at: int) -> list[str]:
        source = self.settings.answers
        made = pairs.extra_captions.get(source)
        if made is not None:
            return [text] if (text := made[at]) else []
        return captions_from(pairs.sidecar[at]["captions"], source)

    def _written(self, questions: list[str], answers: list[list[str]], known: list[dict[str, str]]) -> list[str | None]:
        """A line of the text model's own for each pair, None where it made none that is fit to be a caption."""
        wish, told = self.settings, zip(questions, answers, known, strict=True)
        evidence: list[dict[str, Any]] = [
            {"question": question, "answer": most_common(golds), "captions": [text for text in texts.values() if text]}
            for question, golds, texts in told
        ]
        found = self.writer.complete([wish.prompt.about(one) for one in evidence])
        by_rules, lines = wish.text_model.uses == "rules", []
        for completion, one in zip(found, evidence, strict=True):
            text = (completion.text or "") if by_rules else tidy(completion.text or "")
            allowed, told_of = [one["question"], one["answer"], *one["captions"]], "" if by_rules else wish.prompt.text
            problem = completion.problem or problem_with(text, instruction=told_of, allowed=allowed, limits=wish.limits)
            lines.append(None if problem else text)
        return lines

    def _chosen(
        self, questions: list[str], answers: list[list[str]], candidates: list[dict[str, str]]
    ) -> list[Caption | None]:
        wish = self.settings
        asked = [(at, source) for at, one in enumerate(candidates) for source in one]
        prompts = [
            wish.answer_prompt.about({"question": questions[at], "caption": candidates[at][source]})
            for at, source in asked
        ]
        said = self.answerer.complete(prompts)
        best: dict[int, tuple[float, float, int, str]] = {}
        for (at, source), completion in zip(asked, said, strict=True):
            predicted, golds = "" if completion.problem else tidy(completion.text or ""), answers[at]
            soft = soft_score(predicted, golds, wish.normalised) if predicted else 0.0
            hard = hard_score(predicted, golds, wish.normalised) if predicted else 0.0
            rank = (soft, hard, -len(candidates[at][source]), source)
            best[at] = max(best.get(at, rank), rank)
        fit = {at for at, rank in best.items() if rank[0] >= wish.least and questions[at] and answers[at]}
        return [
            Caption(one[best[at][3]], note=best[at][3] or None) if at in fit else None
            for at, one in enumerate(candidates)
        ]


def most_common(answers: Sequence[str]) -> str:
    """The answer given most often, the first of equals; "" of none."""
    return max(dict.fromkeys(answers), key=list(answers).count, default="")


def _written(evidence: dict[str, Any]) -> str:
    return statement(str(evidence.get("question", "")), str(evidence.get("answer", "")))


def _answered(evidence: dict[str, Any]) -> str:
    return answer_from(str(evidence.get("question", "")), str(evidence.get("caption", "")))
