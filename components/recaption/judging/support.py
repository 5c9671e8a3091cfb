"""What of a caption is supported by the texts it was made of: its numbers and its content words.

absent_numbers("42 of 97 dogs, two of them red", ["97 dogs"])     # ["42", "2"]
supported_share("a red dog", ["dogs and a dog"])                  # 0.5
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pairwright.components.dataset.captions.english import closed_class, tokens

NUMBER = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b|\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", re.I
)
WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_VALUE = {word: str(number) for number, word in enumerate(WORDS, 2)}  # "one" is as often no number


def numbers_of(text: str) -> list[str]:
    """Its numbers in order, each in one form: 1,234 is 1234, 3.50 is 3.5, two is 2."""
    return [_value(found.group()) for found in NUMBER.finditer(text)]


def _value(number: str) -> str:
    if not number[0].isdigit():
        return _VALUE[number.casefold()]
    whole, point, rest = number.replace(",", "").partition(".")
    rest = rest.rstrip("0")
    return (whole.lstrip("0") or "0") + (f"{point}{rest}" if rest else "")


def absent_numbers(text: str, inputs: Iterable[str]) -> list[str]:
    """Numbers of a text that none of the inputs has."""
    known = {number for one in inputs for number in numbers_of(one)}
    return [number for number in numbers_of(text) if number not in known]


def content_of(text: str) -> set[str]:
    """Its words but those of closed classes, numbers and marks; lone letters are none."""
    return {word for word in tokens(text) if closed_class(word) is None and len(word) > 1}


def supported_share(text: str, inputs: Iterable[str]) -> float:
    """Share of its content words that the inputs have; 0 where it has none."""
    own = content_of(text)
    return len(own & content_of(" . ".join(inputs))) / len(own) if own else 0.0
