"""Fusion: the original caption and what the visual experts saw, written as one caption.

FuseCap (Rotstein et al., 2024): labels, attributes and text found in the picture, and the caption it
came with, are given to a text model that writes one enriched caption. With the rule engine no content
word comes from anywhere else; a language model's answer is validated, and the original stands in
for an answer that is refused.

    recaption:
      fused: {uses: fuse, with: {source: alt, tags: tags.tags, probabilities: tags.probabilities,
              ocr: ocr.text, ocr_confidence: ocr.confidence, colours: colours.names, text_model: {uses: rules}}}

Of boxes each one's attributes go to its own label:

      fused: {uses: fuse, with: {labels: seen.labels, label_scores: seen.scores, attributes: painted.names}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import Completion, RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.captioners.clean import clean_caption
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

_WORD = re.compile(r"[^\W_]{2}")
SAYABLE = ("caption", "boxes", "objects", "text")  # evidence that makes a caption; colours alone make none


class FuseSettings(Settings):
    source: str = Field("alt", description="caption that is enriched")
    spare_sources: tuple[str, ...] = Field(
        ("file_name",),
        description="sidecar captions that stand in, in this order, where the first is nothing but noise",
    )
    tags: str | None = Field(None, description="step.column of object labels, list<string>")
    probabilities: str | None = Field(None, description="step.column of their probabilities, list<float>")
    min_probability: float = Field(0.5, ge=0, le=1, description="labels below it are not used")
    most_tags: int = Field(5, ge=0, description="labels used at most, the likeliest first")
    labels: str | None = Field(None, description="step.column of the labels of boxes, list<string>")
    label_scores: str | None = Field(None, description="step.column of how sure each box is, list<float>")
    attributes: str | tuple[str, ...] | None = Field(
        None, description="step.column, or several, of the attributes of each box, list<list<string>>"
    )
    most_boxes: int = Field(20, ge=0, description="boxes used at most, the likeliest first; the least sure stay out")
    ocr: str | None = Field(None, description="step.column of text read in the picture")
    ocr_confidence: str | None = Field(None, description="step.column of how sure the reader is, 0..1")
    min_ocr_confidence: float = Field(0.8, ge=0, le=1, description="text read with less is not used")
    longest_ocr: int = Field(120, ge=1, description="characters; longer text is a document and is not quoted")
    colours: str | None = Field(None, description="step.column of colour names, list<string>")
    most_colours: int = Field(3, ge=0)
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("fuse")
    limits: Validators = Validators()


@captioner("fuse")
class Fuse(Captioner[FuseSettings]):
    """Caption, with a note where the original stands in: "budget", "empty", "refusal", "unreachable:...", ..."""

    requires = Captions("source") + Columns(
        "tags", "probabilities", "labels", "label_scores", "attributes", "ocr", "ocr_confidence", "colours"
    )
    sees_failures = True  # a pair without alt-text, or whose expert failed, is captioned all the same

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device)
        by_rules = self.settings.text_model.uses == "rules"  # rules make no preamble and cannot say the prompt back
        told = "" if by_rules else self.settings.prompt.text
        self.validator = Validator(self.settings.limits, told, tidies=not by_rules)
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        evidence = self.evidence(pairs)
        asked = [i for i, facts in enumerate(evidence) if any(facts[name] for name in SAYABLE)]
        prompts = [self.settings.prompt.about(evidence[i]) for i in asked]
        completions = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        originals = pairs.captions(self.settings.source)
        return self.validator.captions(
            [_draft(completions.get(i), facts, originals[i]) for i, facts in enumerate(evidence)]
        )

    def evidence(self, pairs: PairBatch) -> list[dict[str, Any]]:
        """What is known of each pair; an expert that is not named, or saw nothing, leaves its field empty."""
        settings = self.settings
        sources = [pairs.captions(source) for source in (settings.source, *settings.spare_sources)]
        cleaned = (map(clean_caption, texts) for texts in zip(*sources, strict=True))
        captions = [next((text for text in texts if text), "") for texts in cleaned]
        return [
            {
                "caption": captions[i],
                "boxes": self._boxes(pairs, i),
                "objects": self._labels(_value(pairs, settings.tags, i), _value(pairs, settings.probabilities, i)),
                "text": self._written(_value(pairs, settings.ocr, i), _value(pairs, settings.ocr_confidence, i)),
                "colours": list(_value(pairs, settings.colours, i) or [])[: settings.most_colours],
            }
            for i in range(len(pairs))
        ]

    def _labels(self, tags: list[str] | None, probabilities: list[float] | None) -> list[str]:
        if not tags:
            return []
        return [tags[at] for at in self._likeliest(probabilities or [1.0] * len(tags), self.settings.most_tags)]

    def _boxes(self, pairs: PairBatch, i: int) -> list[dict[str, Any]]:
        """Label and attributes of each box that is likely enough, the surest first."""
        labels = _value(pairs, self.settings.labels, i)
        if not labels:
            return []
        scores = _value(pairs, self.settings.label_scores, i) or [1.0] * len(labels)
        named = self.settings.attributes or ()
        experts = [_value(pairs, name, i) for name in ((named,) if isinstance(named, str) else named)]
        likely = self._likeliest(scores, self.settings.most_boxes)
        return [
            {"label": labels[at], "attributes": [word for some in experts if some for word in some[at] or ()]}
            for at in likely
        ]

    def _likeliest(self, probabilities: Sequence[float], most: int) -> list[int]:
        """Positions of those at or over the threshold, by falling probability."""
        likely = [at for at, value in enumerate(probabilities) if value >= self.settings.min_probability]
        return sorted(likely, key=lambda at: -probabilities[at])[:most]

    def _written(self, text: str | None, confidence: float | None) -> str:
        """The text if it is short, surely read, and has a word of two letters (lone ones are strokes)."""
        line = " ".join((text or "").split())
        sure = confidence is None or confidence >= self.settings.min_ocr_confidence
        return line if sure and len(line) <= self.settings.longest_ocr and _WORD.search(line) else ""


def _draft(completion: Completion | None, facts: dict[str, Any], original: str | None) -> Draft:
    seen = [facts["caption"], facts["text"], *facts["objects"], *facts["colours"]]
    seen += [word for box in facts["boxes"] for word in (box["label"], *box["attributes"])]
    return Draft(completion, original, seen, web=facts["caption"])


def _value(pairs: PairBatch, column: str | None, position: int) -> Any:
    return None if column is None else pairs.columns[column][position]
