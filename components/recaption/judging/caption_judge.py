"""Caption judge: how good a caption is, from 1 to 6, by what is known of its figure beside it.

    filter: {score: {judged: {uses: caption_judge, with: {source: alt, ocr: ocr.text, paragraph: paragraph}}}}

MLBCAP (2nd SciCap Challenge) has a language model that sees the figure score training captions, and drops the poor.
`text_model` asks one of texts. The default counts: is it of some length, does it say what OCR and paragraph say, has it
their numbers; a caption with a number that neither has is never better than 2. The scale is the challenge's, the
rule's points are ours: mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pairwright.components.component import Captions, Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.judging.evidence import FigureEvidence, evidence_of
from pairwright.components.recaption.judging.support import absent_numbers, content_of, numbers_of, supported_share
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.registry import scorer

LEAST, MOST = 1, 6
INVENTED = 2  # what a caption with an absent number is worth at most
TOLD = 3  # words of the figure's that a caption has which says anything of it
WORDS = (4, 60)  # of a caption that is neither a stub nor a page
_ANSWER = re.compile(r"\b([1-6])\b")


class CaptionJudgeSettings(FigureEvidence):
    source: str = "alt"
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("judge_caption")


@scorer("caption_judge")
class CaptionJudge(Scorer[CaptionJudgeSettings]):
    """Columns: `score`, 1 to 6, null where there is no caption or no answer; `problem`, why there is none."""

    columns = {"score": pa.float32(), "problem": pa.string()}
    requires = Captions("source", "paragraph") + Columns("ocr")
    sees_failures = True  # a caption without a paragraph is judged by what there is

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=lambda one: str(points(one)))

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        captions = pairs.captions(self.settings.source)
        evidence = evidence_of(pairs, self.settings)
        asked = [i for i, text in enumerate(captions) if text is not None]
        prompts = [self.settings.prompt.about(evidence[i] | {"caption": captions[i]}) for i in asked]
        scores: list[float | None] = [None] * len(pairs)
        problems: list[str | None] = [None if text is not None else "no_caption" for text in captions]
        for i, answer in zip(asked, self.text_model.complete(prompts), strict=True):
            found = _ANSWER.search(answer.text or "")
            scores[i] = float(found[1]) if found else None
            problems[i] = answer.problem or (None if found else "no_number")
        return {"score": scores, "problem": problems}


def points(evidence: Mapping[str, Any]) -> int:
    """The rules' score of `caption` by `text` and `paragraph`."""
    caption, inputs = str(evidence["caption"]), [str(evidence["text"]), str(evidence["paragraph"])]
    known = [number for one in inputs for number in numbers_of(one)]
    own = numbers_of(caption)
    tells = len(content_of(caption) & content_of(" . ".join(inputs))) >= TOLD
    share = supported_share(caption, inputs) if tells else 0.0
    found = LEAST + sum(
        (
            WORDS[0] <= len(caption.split()) <= WORDS[1],
            tells,
            share >= 0.5,
            share >= 0.75,
            bool(own) or not known,
        )
    )
    return min(found, INVENTED) if absent_numbers(caption, inputs) else found
