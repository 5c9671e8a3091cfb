"""Which names and nouns of one text another has lost, whatever their number, case and order.

    lost(["San Luis Rey", "trams"], "the rey of luis in a tram")       # ["San Luis Rey"]

What is a name or a noun is told in experts/caption_words.py, what a number is in judging/support.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:['’\-&.][^\W_]+)*")


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
