"""Captions of a format, written from what experts saw: what a controllable captioner is taught to write.

    recaption:
      short_told: {uses: caption_format, with: {format: short, tags: tags.tags, colours: colours.names}}
      dense_told: {uses: caption_format, with: {format: dense, tags: tags.tags, colours: colours.names, regions: true}}

Formats are those of Lai et al., 2024, "Revisit large-scale image-caption data": short (SSC), dense (DSC), dense_plus
(DSC+) and fused with the alt-text (AFC). Each has its bounds (components/recaption/formats.py), which an answer must
keep, whoever wrote it; one that does not is left out. By rules nothing is said that is not seen.
Mechanism verified by test, figure not reproduced: the paper's writer is a multimodal language model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.sources.scenes.grammar import plural
from pairwright.components.models.text_backends import Completion, RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.models.text_backends.rules import join_and, with_article, words_of
from pairwright.components.recaption.captioners.clean import clean_caption
from pairwright.components.recaption.formats import FORMS, Form, Format, problem_with_form, words_in
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.recaption.validator import INVALID, Draft, Validator, Validators
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

NUMBERS = {1: "a", 2: "two", 3: "three", 4: "four", 5: "five"}
ASKED: dict[Format, str] = {
    "short": "one sentence of at most {most_words} words that names the main things",
    "dense": "at least {least_sentences} sentences that name every thing, with its colour and place",
    "dense_plus": "at least {least_sentences} sentences on every thing, its colour, size and place, and how they lie",
    "fused": "one sentence of at most {most_words} words that keeps every name of the caption and adds what is seen",
}
SIDES = {("to the left of", "to the right of"): ("left", "right"), ("above", "below"): ("upper", "lower")}


class CaptionFormatSettings(Settings):
    format: Format
    source: str = Field("alt", description="alt-text that `fused` keeps; the other formats do not read it")
    tags: str | None = Field(None, description="step.column of object labels, list<string>")
    probabilities: str | None = Field(None, description="step.column of their probabilities, list<float>")
    min_probability: float = Field(0.3, ge=0, le=1, description="labels below it are not seen")
    regions: bool = Field(False, description="labels and places of the sidecar's boxes are seen, too")
    colours: str | None = Field(None, description="step.column of colour names, list<string>")
    form: Form | None = Field(None, description="bounds a caption must keep; the format's own if not said")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("caption_format", "asked")
    limits: Validators = Validators()


@captioner("caption_format")
class CaptionFormat(Captioner[CaptionFormatSettings]):
    """None where nothing is seen; no text, and why, where the answer is refused or is not of the format."""

    requires = Captions("source") + Columns("tags", "probabilities", "colours")
    sees_failures = True  # what is not fused needs no alt-text

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        wish = self.settings
        self.form = wish.form or FORMS[wish.format]
        self.asked = ASKED[wish.format].format(**self.form.model_dump())
        self.text_model = open_text_model(wish.text_model, device, rules=self.write)
        by_rules = wish.text_model.uses == "rules"
        self.validator = Validator(wish.limits, "" if by_rules else wish.prompt.told(asked=self.asked), not by_rules)
        self.validator.setup(device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        evidence = [self.evidence(pairs, i) for i in range(len(pairs))]
        asked = [i for i, facts in enumerate(evidence) if facts["objects"] or facts["caption"]]
        answers = self.text_model.complete([self.settings.prompt.about(evidence[i], asked=self.asked) for i in asked])
        drafts = [_draft(answer, evidence[i]) for i, answer in zip(asked, answers, strict=True)]
        made = dict(zip(asked, map(self._formed, self.validator.captions(drafts)), strict=True))
        return [made.get(i) for i in range(len(pairs))]

    def _formed(self, caption: Caption | None) -> Caption | None:
        """The caption, or none where it is not of the format."""
        problem = problem_with_form(caption.text, self.form) if caption and caption.text else None
        return Caption(None, note=problem, status=INVALID) if problem else caption

    def evidence(self, pairs: PairBatch, at: int) -> dict[str, Any]:
        """`caption` str ("" but where it is fused), `objects` (label, number), `places` (label, place), `colours`."""
        wish = self.settings
        tags = _value(pairs, wish.tags, at) or []
        sure = _value(pairs, wish.probabilities, at) or [1.0] * len(tags)
        boxes = (pairs.sidecar[at].get("regions") or ()) if wish.regions else ()
        objects = Counter(one["label"] for one in boxes)
        objects |= Counter({label: 1 for label, p in zip(tags, sure, strict=True) if p >= wish.min_probability})
        return {
            "caption": clean_caption(pairs.captions(wish.source)[at]) if wish.format == "fused" else "",
            "objects": list(objects.items()),
            "places": [(one["label"], place_of(one["box"])) for one in boxes if objects[one["label"]] == 1],
            "colours": list(_value(pairs, wish.colours, at) or []),
        }

    def write(self, evidence: dict[str, Any]) -> str:
        """The rules."""
        return WRITERS[self.settings.format](evidence, self.form)


def _draft(answer: Completion, facts: dict[str, Any]) -> Draft:
    known = [facts["caption"], *(label for label, _ in facts["objects"]), *facts["colours"]]
    return Draft(answer, None, known, web=facts["caption"])


def short(evidence: dict[str, Any], form: Form) -> str:
    """The things, as many as the words allow: "a dog and two cats"."""
    things = _things(evidence)
    while len(things) > 1 and form.most_words and len(words_in(join_and(things))) > form.most_words:
        things.pop()
    return join_and(things)


def dense(evidence: dict[str, Any], form: Form) -> str:
    """A sentence on the things, one on the colours, one on each place, until the words are spent."""
    return _within(_sentences(evidence), form)


def dense_plus(evidence: dict[str, Any], form: Form) -> str:
    """Besides, how many there are, and how those with a place lie to each other."""
    sentences = _sentences(evidence)
    if count := sum(count for _, count in evidence["objects"]):
        sentences.append(
            f"{'There is one thing' if count == 1 else f'There are {NUMBERS.get(count, count)} things'} in all."
        )
    sentences += [
        f"The {a} is {how} the {b}." for (a, at), (b, there) in pairwise(evidence["places"]) if (how := _how(at, there))
    ]
    return _within(sentences, form)


def fused(evidence: dict[str, Any], form: Form) -> str:
    """The alt-text, whole, then the things it does not name, as many as the words allow."""
    caption, things = evidence["caption"], []
    for (label, _), thing in zip(evidence["objects"], _things(evidence), strict=True):
        if not words_of(label) <= words_of(caption):
            things.append(thing)
    while things and form.most_words and len(words_in(f"{caption} with {join_and(things)}")) > form.most_words:
        things.pop()
    if not caption or not things:
        return caption or short(evidence, form)
    return f"{caption.rstrip(' .;:,')}, with {join_and(things)}"


WRITERS = {"short": short, "dense": dense, "dense_plus": dense_plus, "fused": fused}


def place_of(box: Sequence[float]) -> str:
    """Where in the picture a box's middle is, by thirds: "upper left", "middle", "right"."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    across, down = ("left", "", "right")[min(int(3 * x), 2)], ("upper", "", "lower")[min(int(3 * y), 2)]
    return f"{down} {across}".strip() or "middle"


def _things(evidence: dict[str, Any]) -> list[str]:
    return [
        with_article(label) if count == 1 else f"{NUMBERS.get(count, count)} {plural(label)}"
        for label, count in evidence["objects"]
    ]


def _sentences(evidence: dict[str, Any]) -> list[str]:
    things, colours = _things(evidence), evidence["colours"]
    found = [f"The picture shows {join_and(things)}."] if things else []
    if colours:
        found.append(f"Its main {'colour is' if len(colours) == 1 else 'colours are'} {join_and(colours)}.")
    return found + [f"The {label} is in the {place}." for label, place in evidence["places"]]


def _within(sentences: list[str], form: Form) -> str:
    kept = list(sentences)
    while len(kept) > 1 and form.most_words and len(words_in(" ".join(kept))) > form.most_words:
        kept.pop()
    return " ".join(kept)


def _how(at: str, there: str) -> str:
    """How what is at one place lies to what is at another; "" where the thirds do not tell."""
    for words, sides in SIDES.items():
        one, other = (next((2 * sides.index(w) for w in place.split() if w in sides), 1) for place in (at, there))
        if one != other:
            return words[one > other]
    return ""


def _value(pairs: PairBatch, column: str | None, position: int) -> Any:
    return None if column is None else pairs.columns[column][position]
