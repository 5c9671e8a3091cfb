"""Numbers that a text mentions, and whether another says its names and words, too.

    numbers_in("two dogs and 1,000 sheep")          {"2", "1000"}
    lost(["San Luis Rey"], "the rey of luis")       ["San Luis Rey"]

Nouns and names are told in experts/caption_words.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_WORD = re.compile(r"[^\W_]+(?:['’\-&.][^\W_]+)*")
_COUNTED = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
SPELT = {word: str(value) for value, word in enumerate(_COUNTED.split(), 2)}  # "one" is a pronoun, too


def numbers_in(text: str) -> set[str]:
    """Numbers in digits or, up to sixteen, in words, as they are written without separators."""
    found = {_plain(match) for match in _NUMBER.findall(text)}
    return found | {SPELT[word] for word in map(str.casefold, _WORD.findall(text)) if word in SPELT}


def _plain(number: str) -> str:
    if _THOUSANDS.fullmatch(number):
        return number.replace(",", "")
    return number.replace(",", ".").lstrip("0") or "0"


def words_in(text: str) -> set[str]:
    """Every word, lower case, a plural as its singular."""
    return {_stem(word) for word in map(str.casefold, _WORD.findall(text))}


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ses", "xes", "zes", "ches", "shes")) and len(word) > 4:
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")) else word


def lost(phrases: Iterable[str], text: str) -> list[str]:
    """Phrases of which the text does not hold every word, in any order and number."""
    held = words_in(text)
    return [phrase for phrase in phrases if not words_in(phrase) <= held]
