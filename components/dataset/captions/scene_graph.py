"""Scene graphs of captions, by rules: "a dog sits on a bench" -> (dog, sits on, bench).

A relation is a preposition (with a verb before it) or a verb that takes an object, from the lists below; its ends are
the heads of the phrases beside it, in lower case. What is neither is passed over: better no triple than a wrong one.
English. Schuster et al. (2015) parse dependencies; where such a parser's graphs are at hand, name their column.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PREPOSITIONS = (
    "to the left of",
    "to the right of",
    "in front of",
    "on top of",
    "next to",
    "close to",
    "behind",
    "beside",
    "inside",
    "outside",
    "above",
    "below",
    "under",
    "over",
    "near",
    "with",
    "on",
    "in",
    "at",
    "by",
)
VERBS = frozenset(
    """
    wears wearing holds holding rides riding eats eating carries carrying drinks drinking pulls pulling chases chasing
    drives driving reads reading plays playing
    """.split()  # noqa: SIM905
)
INTRANSITIVE = frozenset(
    """
    sits stands lies runs walks flies jumps sleeps swims hangs waits rests sit stand lie run walk fly jump sleep swim
    hang parked seated perched leans
    """.split()  # noqa: SIM905
)
BREAKS = frozenset(
    """
    and or while that which who is are was were there of for from it them him her me us
    """.split()  # noqa: SIM905
)
DETERMINERS = frozenset(["a", "an", "the", "some", "two", "three", "four", "his", "her", "its", "their", "one", "this"])
NO_SUBJECTS = frozenset(["picture", "photo", "photograph", "image", "view", "close-up", "drawing", "illustration"])
_RELATION = re.compile(
    rf"\b(?:({'|'.join(PREPOSITIONS)})|({'|'.join(sorted(VERBS))}))\b(?! (?:the )?(?:left|right|front|top) of)"
)


class Triple(NamedTuple):
    """One relation that a caption tells."""

    subject: str
    relation: str
    object: str


def scene_graph(caption: str) -> list[Triple]:
    """Every relation between two named things of a caption, in its order."""
    found = []
    for clause in re.split(r"[.,;:!?()]+", caption.lower()):
        marks = list(_RELATION.finditer(clause))
        for number, mark in enumerate(marks):
            start = marks[number - 1].end() if number else 0
            end = marks[number + 1].start() if number + 1 < len(marks) else len(clause)
            before, verb = _without_verb(_words(clause[start : mark.start()]))
            subject, object_ = _head(before[::-1], last=True), _head(_words(clause[mark.end() : end]), last=False)
            if subject and object_ and subject not in NO_SUBJECTS:
                found.append(Triple(subject, " ".join(filter(None, (verb, mark.group()))), object_))
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z][a-z'-]*", text)


def _without_verb(words: list[str]) -> tuple[list[str], str]:
    """The words before a preposition without the verb or the "is" that stands last, and that verb."""
    if words and words[-1] in ("is", "are", "was", "were"):
        words = words[:-1]
    if len(words) > 1 and (words[-1] in INTRANSITIVE or words[-1].endswith("ing")):
        verb, words = words[-1], words[:-1]
        if words[-1] in ("is", "are", "was", "were"):
            words = words[:-1]
        return words, verb
    return words, ""


def _head(words: list[str], last: bool) -> str | None:
    """The head of a phrase read towards its end: its last word before a break; `last`: words come backwards."""
    if last:
        return next(iter(words), None) if words and words[0] not in BREAKS | DETERMINERS else None
    phrase: list[str] = []
    for word in words:
        if word in BREAKS or word in INTRANSITIVE or (phrase and word in DETERMINERS):
            break
        if word not in DETERMINERS:
            phrase.append(word)
    return phrase[-1] if phrase else None
