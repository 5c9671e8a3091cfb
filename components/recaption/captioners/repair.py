"""Repair: a caption without numbers that nothing told of.

    recaption: {repaired: {uses: repair, with: {source: picked, ocr: ocr.text, paragraph: paragraph}}}

After MLBCAP's judge, which mends the caption it picked. A text model may rewrite it; whoever wrote it, a clause with a
number that neither OCR nor paragraph has is taken out, and where nothing is left, the number alone: so no caption that
leaves here has such a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.judging.evidence import FigureEvidence, evidence_of
from pairwright.components.recaption.judging.support import NUMBER, absent_numbers
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validate import tidy
from pairwright.components.registry import captioner

REPAIRED = "repaired"  # note: a number was taken out
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLAUSE = re.compile(r"\s*([,;:])\s+")


class RepairSettings(FigureEvidence):
    source: str
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("repair_caption")


@captioner("repair")
class Repair(Captioner[RepairSettings]):
    """Caption, noted "repaired" where something was taken out; None where there is none, or nothing is left of it."""

    requires = Captions("source", "paragraph") + Columns("ocr")
    sees_failures = True

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=lambda one: str(one["caption"]))

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        captions, evidence = pairs.captions(self.settings.source), evidence_of(pairs, self.settings)
        asked = [i for i, text in enumerate(captions) if text]
        prompts = [self.settings.prompt.about(evidence[i] | {"caption": captions[i]}) for i in asked]
        answers = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        # A model that gives no answer, or half of one, leaves the caption to the rules.
        said = {i: tidy(answer.text or "") if answer.problem is None else "" for i, answer in answers.items()}
        written = {i: text or str(captions[i]) for i, text in said.items()}
        return [
            self._mended(written[i], evidence[i], answers[i].status) if i in written else None
            for i in range(len(pairs))
        ]

    def _mended(self, text: str, evidence: Mapping[str, Any], status: str) -> Caption | None:
        mended = without_absent_numbers(text, [evidence["text"], evidence["paragraph"]])
        return Caption(mended, note=None if mended == text else REPAIRED, status=status) if mended else None


def without_absent_numbers(text: str, inputs: Sequence[str]) -> str:
    """The text without clauses that hold a number which the inputs lack; "" where nothing is left of it."""
    if not absent_numbers(text, inputs):
        return text
    sentences = [_without_clauses(one, inputs) for one in _SENTENCE.split(text)]
    left = " ".join(one for one in sentences if one)
    return left or _without_numbers(text, inputs)


def _without_clauses(sentence: str, inputs: Sequence[str]) -> str:
    if not absent_numbers(sentence, inputs):
        return sentence
    parts = _CLAUSE.split(sentence)  # clause, mark, clause, ...
    kept = [
        (parts[at - 1] if at else "", parts[at])
        for at in range(0, len(parts), 2)
        if not absent_numbers(parts[at], inputs)
    ]
    if not kept or kept[0][0]:  # what the sentence begins with is gone: the rest hangs in the air
        return ""
    body = kept[0][1] + "".join(f"{mark} {clause}" for mark, clause in kept[1:])
    return f"{body.rstrip('.,;:!? ')}."


def _without_numbers(text: str, inputs: Sequence[str]) -> str:
    """The text without the numbers themselves, and without what joined them to it."""
    left = NUMBER.sub(lambda one: "" if absent_numbers(one.group(), inputs) else one.group(), text)
    left = re.sub(r"\b(?:with|of|by|at|to|from|in|is|are|has|have|about|over|than)\s*(?=[.,;:!?%]|$)", "", left)
    body = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(left.replace("%", "").split())).strip(" ,;:")
    return body if re.search(r"[^\W\d_]{2}", body) and not absent_numbers(body, inputs) else ""
