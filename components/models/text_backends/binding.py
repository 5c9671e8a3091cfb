"""Attributes bound to what has them: what is told of a box goes to its own noun, and to no other.

    bound("a dog chases a cat", [Box("dog", ["red"]), Box("cat", ["blue"])])
    # ("a red dog chases a blue cat", [])          nothing is left to be said
    bound("a dog", [Box("cat", ["blue"])])
    # ("a dog", ["blue cat"])

A label that the caption names gets its attributes there, in front of it; any other becomes a phrase of its own. What
the caption says itself stands: a thing that it gives a colour gets no second one from a box. Where a caption names a
label more than once and its boxes differ, nobody can tell which is which: then each box becomes a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pairwright.components.dataset.captions.english import NOUN, tagged, tokens
from pairwright.components.models.text_backends.phrases import join_and, with_article, words_of

COLOURS = frozenset(
    ("black", "white", "grey", "gray", "red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown")
)
# What a noun's own attributes do not reach across, going back from it.
_ENDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "and", "or", "of", "on", "in", "at", "to", "with", "by"),
        *("for", "from", "under", "over", "above", "below", "beside", "behind", "near", "is", "are", "was", "were"),
    )
)
NEAR = 120  # characters around a mention that tell its phrase; captions may be as long as a page
_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")

Span = tuple[int, int]


class Box(NamedTuple):
    """A thing that was seen, and what was seen of it."""

    label: str
    attributes: Sequence[str]


def bound(caption: str, boxes: Sequence[Box]) -> tuple[str, list[str]]:
    """The caption with attributes where it names their things, and a phrase for each thing that it does not name."""
    kinds = _kinds(boxes)
    edits: list[tuple[Span, tuple[str, ...]]] = []
    left: list[tuple[str, tuple[str, ...]]] = []
    for label, some in kinds.items():
        named = _mentions(caption, label, [other for other in kinds if other != label])
        if named and (len(some) == 1 or len(named) == 1):
            edits += [(span, some[0]) for span in named]
            some = some[1:]
        left += [(label, attributes) for attributes in some]
    pieces, at = [], 0
    for span, attributes in sorted(edits):
        start, text = _attributed(caption, span, attributes)
        pieces += [caption[at:start], text]
        at = span[1]
    caption = "".join([*pieces, caption[at:]])
    return caption, [_phrase(*one) for one in left if _is_news(*one, caption)]


def _kinds(boxes: Sequence[Box]) -> dict[str, list[tuple[str, ...]]]:
    """Each label's attributes as its boxes have them, equal boxes once; in order."""
    kinds: dict[str, list[tuple[str, ...]]] = {}
    for label, attributes in boxes:
        name = " ".join(label.split())
        said = tuple(dict.fromkeys(" ".join(one.split()) for one in attributes))
        if name and said not in kinds.setdefault(name, []):
            kinds[name].append(said)
    return kinds


def _phrase(label: str, attributes: Sequence[str]) -> str:
    return f"{join_and(attributes)} {label}".strip()


def _is_news(label: str, attributes: Sequence[str], caption: str) -> bool:
    """Whether its phrase would say what the caption does not: words of it are not enough, others may own them."""
    if attributes:
        return _phrase(label, attributes).casefold() not in caption.casefold()
    return not words_of(label) <= words_of(caption)


def _mentions(caption: str, label: str, others: Sequence[str]) -> list[Span]:
    """Where the caption names it, in one or in several, as a phrase's head; left to right.

    Of the labels of other things a longer one takes the words that it holds, and what is another's to the letter is no
    plural of this one.
    """
    longer = [other for other in others if words_of(label) < words_of(other)]
    taken = {at for other in longer for span in _mentions(caption, other, ()) for at in range(*span)}
    theirs = {other.casefold() for other in others}
    words = r"\s+".join(re.escape(word) for word in label.split())
    found = re.finditer(rf"(?<![\w-]){words}(?:e?s)?(?![\w'’-])", caption, re.IGNORECASE)
    spans = [one.span() for one in found if one.group().casefold() not in theirs]
    return [one for one in spans if one[0] not in taken and _is_head(caption, one[1])]


def _is_head(caption: str, end: int) -> bool:
    """Whether no other noun follows at once: a dog house is no dog."""
    start = max(end - NEAR, 0)
    around = caption[start : end + NEAR]
    if not re.match(r"\s+[^\W_]", around[end - start :]):
        return True
    return tagged(around)[len(tokens(around[: end - start]))][1] != NOUN


def _attributed(caption: str, span: Span, attributes: Sequence[str]) -> tuple[int, str]:
    """What stands in a mention's place, and from where on: these in front of it, but for those that its own phrase
    says or gainsays, and an article that fits them."""
    first = max(span[0] - NEAR, 0)
    before, name = caption[first : span[0]], caption[slice(*span)]
    own = _own_words(before)
    new = [one for one in attributes if not words_of(one) <= own and not (own & COLOURS and one.casefold() in COLOURS)]
    if not new:
        return span[0], name
    told = join_and(new)
    article = re.search(r"\b(an?)\s+$", before, re.IGNORECASE)
    if article:
        fitting = "an" if with_article(f"{told} one").startswith("an ") else "a"
        fitting = fitting.capitalize() if article.group(1)[0] == "A" else fitting
        return first + article.start(), f"{fitting} {told} {name}"
    if not first and not before.strip() and name[:1].isupper() and name[1:] == name[1:].lower():
        told, name = told[:1].upper() + told[1:], name[:1].lower() + name[1:]
    return span[0], f"{told} {name}"


def _own_words(before: str) -> set[str]:
    """Words of the phrase that a noun ends, going back to its article or to a mark."""
    words: set[str] = set()
    for token in reversed(_TOKEN.findall(before)):
        if token.casefold() in _ENDS or not token[0].isalnum():
            break
        words.add(token.casefold())
    return words
