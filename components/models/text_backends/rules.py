"""The rule engine: English from evidence, by grammar alone, so the same evidence is always the same text.

Evidence (JSON, see `with_evidence`): `caption` str, `boxes` [{`label` str, `attributes` [str]}], `objects` [str],
`text` str, `colours` [str].

    {"caption": "red fire truck", "objects": ["ladder"], "text": "STOP", "colours": ["red", "white"]}
    -> 'red fire truck with a ladder, with "STOP" on it, in red and white'
    {"caption": "a dog", "boxes": [{"label": "dog", "attributes": ["red"]}, {"label": "cat", "attributes": ["blue"]}]}
    -> 'a red dog with a blue cat'

It adds function words only: every content word of its answer stands in the evidence (FuseCap's
hallucination is 0 by construction, tests/unit/recaption/test_fuse.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pairwright.components.models.text_backends.binding import Box, bound
from pairwright.components.models.text_backends.phrases import join_and, quoted, with_article, words_of
from pairwright.components.models.text_backends.protocol import Completion, Rules, evidence_of


class RuleWriter:
    """`TextModel` by rules: those of a fused caption, or a component's own."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or compose

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        return [self._complete(prompt) for prompt in prompts]

    def _complete(self, prompt: str) -> Completion:
        evidence = evidence_of(prompt)
        return Completion(None, "no_evidence") if evidence is None else Completion(self.rules(evidence))


def compose(evidence: dict[str, Any]) -> str:
    """One English phrase or sentence from the evidence; "" if there is nothing to say."""
    caption = " ".join(str(evidence.get("caption") or "").split())
    text = " ".join(str(evidence.get("text") or "").split())
    boxes = [Box(str(one["label"]), [str(name) for name in one["attributes"]]) for one in evidence.get("boxes") or []]
    caption, objects = bound(caption, boxes)
    said = words_of(" ".join([caption, text, *objects]))
    objects = objects + _unsaid(evidence.get("objects") or [], said)
    said |= words_of(" ".join(objects))
    colours = list(dict.fromkeys(str(name) for name in evidence.get("colours") or []))
    if all(words_of(name) <= said for name in colours):
        colours = []

    body = caption.rstrip(" .;:,") if (objects or text or colours) else caption
    if objects:
        named = join_and([with_article(label) for label in objects])
        body = f"{body} with {named}" if body else named
    if text and text not in caption:
        body = f"{body}, with {quoted(text)} on it" if body else quoted(text)
    if colours:
        body = f"{body}, in {join_and(colours)}" if body else join_and(colours)
    return body


def _unsaid(labels: Iterable[Any], said: set[str]) -> list[str]:
    """Labels with a word not yet said, each once."""
    distinct = dict.fromkeys(" ".join(str(label).split()) for label in labels)
    return [label for label in distinct if label and not words_of(label) <= said]
