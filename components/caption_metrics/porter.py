"""Porter's stemmer (1980), with its author's own later departures ("bli", "logi", words of two letters left alone).

stem("running"), stem("relational")     # "run", "relat"
"""

from __future__ import annotations

import re
from functools import lru_cache

_TWO = (
    "ational:ate tional:tion enci:ence anci:ance izer:ize bli:ble alli:al entli:ent eli:e ousli:ous ization:ize "
    "ation:ate ator:ate alism:al iveness:ive fulness:ful ousness:ous aliti:al iviti:ive biliti:ble logi:log"
)
_THREE = "icate:ic ative: alize:al iciti:ic ical:ic ful: ness:"
_FOUR = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize"
RULES_TWO, RULES_THREE = (
    [tuple(rule.split(":")) for rule in sorted(rules.split(), key=lambda rule: -len(rule.partition(":")[0]))]
    for rules in (_TWO, _THREE)
)
RULES_FOUR: list[tuple[str, ...]] = [(suffix, "") for suffix in sorted(_FOUR.split(), key=lambda suffix: -len(suffix))]


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """The stem of a word in lower case."""
    if len(word) <= 2:
        return word
    word = _without_plural(word)
    word = _without_past(word)
    if word.endswith("y") and "v" in _letters(word[:-1]):
        word = word[:-1] + "i"
    for rules, least in ((RULES_TWO, 1), (RULES_THREE, 1), (RULES_FOUR, 2)):
        word = _replaced(word, rules, least)
    return _tidied(word)


def _letters(text: str) -> str:
    """Consonants as c and vowels as v; y is a vowel behind a consonant."""
    found = ""
    for letter in text:
        vowel = letter in "aeiou" or (letter == "y" and found.endswith("c"))
        found += "v" if vowel else "c"
    return found


def _measure(text: str) -> int:
    """m of [C](VC)^m[V]."""
    return _letters(text).count("vc")


def _ends_cvc(text: str) -> bool:
    return len(text) >= 3 and _letters(text)[-3:] == "cvc" and text[-1] not in "wxy"


def _doubled(text: str) -> bool:
    return len(text) >= 2 and text[-1] == text[-2] and _letters(text)[-1] == "c"


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _without_past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    found = re.fullmatch(r"(.+)(?:ed|ing)", word)
    if found is None or "v" not in _letters(found[1]):
        return word
    body = found[1]
    if body.endswith(("at", "bl", "iz")):
        return body + "e"
    if _doubled(body):
        return body if body[-1] in "lsz" else body[:-1]
    return body + "e" if _measure(body) == 1 and _ends_cvc(body) else body


def _replaced(word: str, rules: list[tuple[str, ...]], least: int) -> str:
    """By the first rule whose suffix it ends in, the longest first, if what is left measures `least`."""
    for suffix, other in rules:
        if word.endswith(suffix):
            body = word.removesuffix(suffix)
            fits = _measure(body) >= least and (suffix != "ion" or body.endswith(("s", "t")))
            return body + other if fits else word
    return word


def _tidied(word: str) -> str:
    if word.endswith("e"):
        body = word[:-1]
        m = _measure(body)
        if m > 1 or (m == 1 and not _ends_cvc(body)):
            word = body
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
