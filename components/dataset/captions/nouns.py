"""The head noun of a short English caption, by position alone: no tagger, no dictionary.

    head_noun("A large metal mallet with a handle.").text      # "mallet"

The first phrase ends at punctuation, a preposition, a conjunction, a relative or a form of "to be";
its last word is the head. Right for captions that name what they show ("a red fire truck"), wrong
for sentences that begin with anything else; whoever uses it must bear a wrong noun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|\S")
_DETERMINERS, _ENDS = (
    frozenset(words.split())
    for words in (
        "a an the this that these those my your his her its our their some any one two three four five "
        "six seven eight nine ten several many few pair no",
        "of with in on at by for from to into onto under over near behind beside between among against across "
        "along around and or but as than that which who whose where when while is are was were be being has have "
        "had can may will lets called named made used seen shown showing holding wearing sitting standing",
    )
)
_VOWEL = re.compile(r"(?!uni[^mn]|eu|one\b|use|u[kr]\b)(?:[aeiou]|hour|honest|heir)", re.I)


@dataclass(frozen=True)
class Noun:
    """A word and where it stands: `text == caption[start:end]`."""

    text: str
    start: int
    end: int


def head_noun(caption: str) -> Noun | None:
    """The head of the caption's first noun phrase; None if no word of two letters could be one.

    "a pair of sunglasses" gives what the pair is of.
    """
    head: re.Match[str] | None = None
    for token in _TOKEN.finditer(caption):
        word = token.group().lower()
        if not word[0].isalpha() or word in _ENDS:
            if head is not None:
                break
            continue
        if word not in _DETERMINERS and len(word) > 1:
            head = token
    return None if head is None else Noun(head.group(), head.start(), head.end())


def with_noun(caption: str, noun: Noun, word: str) -> str:
    """The caption with another noun in that one's place: case as it was, "a" and "an" as they must be."""
    new = word[:1].upper() + word[1:] if noun.text[:1].isupper() else word
    before = caption[: noun.start]
    article = re.search(r"\b(an?)(\s+)$", before, re.I)
    if article:
        fitting = article.group(1)[:1] + ("n" if _VOWEL.match(word) else "")
        before = before[: article.start()] + fitting + article.group(2)
    return before + new + caption[noun.end :]
