"""VeCap: the alt-text, and the visual concepts that it does not name (VeCLIP).

Lai et al., 2024, "VeCLIP: improving CLIP training via visual-enriched captions": a vision-language model says what is
to be seen, without the alt-text; a text model fuses both, so that names and facts of the alt-text stay and what the
picture shows is said. Training then draws one or the other (`captions: {alt: 0.5, vecap: 0.5}`).

    recaption:
      vecap: {uses: vecap, with: {source: alt, tags: tags.tags, probabilities: tags.probabilities}}
      vecap: {uses: vecap, with: {source: alt, seen: described}}         # what a captioner's step said of the picture

By rules it is "ALT-TEXT, showing CONCEPTS"; every content word stands in the alt-text or is a concept, so nothing is
made up, and nothing of the alt-text is lost. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.sources.scenes.grammar import plural
from pairwright.components.models.text_backends import Completion, RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.rules import join_and, with_article, words_of
from pairwright.components.recaption.captioners.clean import clean_caption
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


class VeCapSettings(Settings):
    source: str = Field("alt", description="alt-text that is enriched")
    spare_sources: tuple[str, ...] = Field((), description="sidecar captions that stand in where that one is noise")
    seen: str | None = Field(None, description="caption source of what a vision-language model says of the picture")
    tags: str | None = Field(None, description="step.column of object labels, list<string>")
    probabilities: str | None = Field(None, description="step.column of their probabilities, list<float>")
    min_probability: float = Field(
        0.5, ge=0, le=1, description="labels, and regions with a score, below it are no concepts"
    )
    regions: bool = Field(False, description="labels of the sidecar's boxes are concepts, too, with their number")
    most_objects: int = Field(5, ge=0, description="labels used at most, the likeliest first")
    colours: str | None = Field(None, description="step.column of colour names, list<string>")
    most_colours: int = Field(2, ge=0)
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("vecap")
    limits: Validators = Validators()


@captioner("vecap")
class VeCap(Captioner[VeCapSettings]):
    """Caption; None where nothing is known. Where an answer is refused the alt-text stands in, its note the reason."""

    requires = Captions("source", "seen") + Columns("tags", "probabilities", "colours")
    sees_failures = True  # a pair without alt-text has concepts all the same

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=fused)
        by_rules = self.settings.text_model.uses == "rules"  # rules make no preamble and cannot say the prompt back
        self.validator = Validator(self.settings.limits, "" if by_rules else self.settings.prompt.text, not by_rules)
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        evidence = [self.evidence(pairs, i) for i in range(len(pairs))]
        asked = [i for i, facts in enumerate(evidence) if facts["caption"] or facts["objects"] or facts["seen"]]
        prompts = [self.settings.prompt.about(evidence[i]) for i in asked]
        answers = dict(zip(asked, self.text_model.complete(prompts), strict=True))
        originals = pairs.captions(self.settings.source)
        return self.validator.captions(
            [_draft(answers.get(i), facts, originals[i]) for i, facts in enumerate(evidence)]
        )

    def evidence(self, pairs: PairBatch, at: int) -> dict[str, Any]:
        """What is known of a pair: `caption` and `seen` str, `objects` with their number and `colours` list."""
        wish = self.settings
        texts = (clean_caption(pairs.captions(source)[at]) for source in (wish.source, *wish.spare_sources))
        return {
            "caption": next((text for text in texts if text), ""),
            "seen": (pairs.captions(wish.seen)[at] or "").strip() if wish.seen else "",
            "objects": self._objects(pairs, at),
            "colours": list(_value(pairs, wish.colours, at) or [])[: wish.most_colours],
        }

    def _objects(self, pairs: PairBatch, at: int) -> list[str]:
        wish = self.settings
        tags = _value(pairs, wish.tags, at) or []
        sure = _value(pairs, wish.probabilities, at) or [1.0] * len(tags)
        likely = sorted(zip(tags, sure, strict=True), key=lambda one: -one[1])
        found = [with_article(label) for label, p in likely if p >= wish.min_probability]
        boxes = (pairs.sidecar[at].get("regions") or ()) if wish.regions else ()
        counts = Counter(one["label"] for one in boxes if one["score"] is None or one["score"] >= wish.min_probability)
        found += [
            with_article(label) if n == 1 else f"{NUMBERS.get(n, n)} {plural(label)}" for label, n in counts.items()
        ]
        return list(dict.fromkeys(found))[: wish.most_objects]


def _draft(answer: Completion | None, facts: dict[str, Any], original: str | None) -> Draft:
    known = [facts["caption"], facts["seen"], *facts["objects"], *facts["colours"]]
    return Draft(answer, original, known, web=facts["caption"], synthetic=facts["seen"])


def fused(evidence: dict[str, Any]) -> str:
    """The rules: the alt-text, then what it does not name; "" if there is nothing to say."""
    caption = " ".join(str(evidence.get("caption") or "").split())
    said, concepts = words_of(caption), []
    for concept in (*([evidence["seen"]] if evidence.get("seen") else []), *evidence.get("objects", ())):
        if not _content(concept) <= said:
            concepts.append(str(concept).rstrip(" ."))
            said |= words_of(concept)
    colours = [one for one in evidence.get("colours", ()) if not words_of(one) <= said]
    body = join_and(concepts)
    body += f"{' ' * bool(body)}in {join_and(colours)}" if colours else ""
    if not caption or not body:
        return caption or body
    return f"{caption.rstrip(' .;:,')}, {'showing ' if concepts else ''}{body}"


def _content(concept: str) -> set[str]:
    return words_of(concept) - {"a", "an", "the", *NUMBERS.values()}


def _value(pairs: PairBatch, column: str | None, position: int) -> Any:
    return None if column is None else pairs.columns[column][position]
