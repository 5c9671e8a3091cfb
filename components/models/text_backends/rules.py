"""The rule engine: English from evidence, by grammar alone, so the same evidence is always the same text.

Evidence (JSON, see `with_evidence`): `caption` str, `objects` [str], `text` str, `colours` [str].

    {"caption": "red fire truck", "objects": ["ladder"], "text": "STOP", "colours": ["red", "white"]}
    -> 'red fire truck with a ladder, with "STOP" on it, in red and white'

It adds function words only: every content word of its answer stands in the evidence (FuseCap's
hallucination is 0 by construction, tests/unit/recaption/test_fuse.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pairwright.components.models.text_backends.protocol import Completion, Rules, evidence_of

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Nouns that begin with a vowel's letter but not with its sound, and the reverse.
_NOT_VOWEL = re.compile(r"(uni([^mn]|$)|eu|one\b|once\b|use|usual|uk)", re.IGNORECASE)
_VOWEL = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)


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
    said = words_of(caption) | words_of(text)
    objects = _unsaid(evidence.get("objects") or [], said)
    for label in objects:
        said |= words_of(label)
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


def words_of(text: str) -> set[str]:
    """Its words, in lower case."""
    return {word.casefold() for word in _WORD.findall(text)}


def _unsaid(labels: Iterable[Any], said: set[str]) -> list[str]:
    """Labels with a word not yet said, each once."""
    distinct = dict.fromkeys(" ".join(str(label).split()) for label in labels)
    return [label for label in distinct if label and not words_of(label) <= said]


def quoted(text: str) -> str:
    """In double quotes, or in single ones where it has double ones of its own."""
    return f"'{text}'" if '"' in text else f'"{text}"'


def join_and(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def with_article(label: str) -> str:
    """`a fire truck`, `an umbrella`; plurals ("sunglasses") stand alone."""
    last = label.split()[-1].casefold()
    if last.endswith("s") and not last.endswith(("ss", "us", "is", "as", "os")):
        return label
    vowel = bool(_VOWEL.match(label)) and not _NOT_VOWEL.match(label)
    return f"{'an' if vowel else 'a'} {label}"
