"""Phrases of English: articles, enumerations, quotes, and which words a text has."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Nouns that begin with a vowel's letter but not with its sound, and the reverse.
_NOT_VOWEL = re.compile(r"(uni([^mn]|$)|eu|one\b|once\b|use|usual|uk)", re.IGNORECASE)
_VOWEL = re.compile(r"([aeiou]|hour|honest|heir)", re.IGNORECASE)


def words_of(text: str) -> set[str]:
    """Its words, in lower case."""
    return {word.casefold() for word in _WORD.findall(text)}


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
