"""Figure caption: one candidate caption of a figure, from a mix of what is known of it.

    recaption:
      read:  {uses: figure_caption, with: {ocr: ocr.text, said: looked}}    # what is read in it, and said of it
      cited: {uses: figure_caption, with: {paragraph: paragraph}}           # the sentence that cites it
      whole: {uses: figure_caption, with: {ocr: ocr.text, paragraph: paragraph, said: looked}}

MLBCAP has several models write captions from figure, OCR text and citing paragraph; a step is one such mix. `said` is a
caption by whatever looks at the figure (`image_to_text`, `prefix_captioner`). By rules the sentence that cites the
figure becomes its caption, else what was said of it does, and what is written in it is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.judging.evidence import FigureEvidence, evidence_of
from pairwright.components.recaption.judging.support import content_of
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner

MOST_READ = 12  # words quoted of what is written in a figure
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ABBREVIATED = re.compile(r"\b(Fig|Figs|Tab|Eq)\.\s+", re.I)
_CITES = re.compile(r"\b(?:figure|fig)s?\b\.?\s*\(?\d+[a-z]?\)?", re.I)
_ELSEWHERE = re.compile(r"\b(?:section|sec|table|chapter|appendix|equation)\b|\[\d", re.I)
_LEAD = re.compile(
    r"^(?:as\s+(?:is\s+)?(?:shown|seen)?\s*(?:in\s+)?)?(?:in\s+)?(?:figure|fig)s?\.?\s*\(?\d+[a-z]?\)?,?\s*"
    r"(?:we\s+)?(?:(?:shows?|presents?|plots?|depicts?|illustrates?|gives?|compares?|reports?|displays?)\b,?)?\s*"
    r"(?:that\s+)?",
    re.I,
)


class FigureCaptionSettings(FigureEvidence):
    said: str | None = Field(None, description="source of a caption by what looks at the figure")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("figure_caption")
    limits: Validators = Validators()


@captioner("figure_caption")
class FigureCaption(Captioner[FigureCaptionSettings]):
    """Caption; None where nothing is known of the figure; no text, and why, where the answer is refused."""

    requires = Captions("paragraph", "said") + Columns("ocr")
    sees_failures = True

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=written)
        by_rules = self.settings.text_model.uses == "rules"
        self.validator = Validator(self.settings.limits, "" if by_rules else self.settings.prompt.text, not by_rules)
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        said = pairs.captions(wish.said) if wish.said is not None else [None] * len(pairs)
        evidence = [
            one | {"said": " ".join((text or "").split())}
            for one, text in zip(evidence_of(pairs, wish), said, strict=True)
        ]
        asked = [i for i, one in enumerate(evidence) if any(one.values())]
        answers = self.text_model.complete([wish.prompt.about(evidence[i]) for i in asked])
        drafts = [
            Draft(answer, None, list(evidence[i].values()), web=evidence[i]["paragraph"], synthetic=evidence[i]["said"])
            for i, answer in zip(asked, answers, strict=True)
        ]
        made = dict(zip(asked, self.validator.captions(drafts), strict=True))
        return [made.get(i) for i in range(len(pairs))]


def written(evidence: Mapping[str, Any]) -> str:
    """The rules' caption of `text`, `paragraph` and `said`; every content word stands in one of them."""
    lead = cited(str(evidence["paragraph"])) or str(evidence["said"])
    read = str(evidence["text"])
    if not read or content_of(read) <= content_of(lead):
        return lead
    words = read.split()[:MOST_READ]
    quoted = " ".join(word.replace('"', "'") for word in words)
    return f'{lead.rstrip(" .")}, with "{quoted}" in it.' if lead else f'"{quoted}"'


def cited(paragraph: str) -> str:
    """The first sentence that cites a figure, as that figure's caption; with the next one, where it tells a number."""
    sentences = [one.replace("\x00", ". ") for one in _SENTENCE.split(_ABBREVIATED.sub("\\1\x00", paragraph))]
    for at, sentence in enumerate(sentences):
        if not _CITES.search(sentence):
            continue
        body = _LEAD.sub("", sentence, count=1).strip()
        if not content_of(body):
            continue
        following = sentences[at + 1] if at + 1 < len(sentences) else ""
        goes_on = re.search(r"\d", following) and not _CITES.search(following) and not _ELSEWHERE.search(following)
        more = f" {following}" if goes_on else ""
        return f"{body[:1].upper()}{body[1:]}{more}"
    return ""
