"""What a generated caption must not be; a refused one gives way to the original, with the reason as its note.

empty     nothing, or no letter or digit
too_long  more than `longest_words` words
repeats   one run of words over and over (runaway decoding)
refusal   "I'm sorry", "As an AI language model"
echo      the prompt, or the original instruction, said back
script    mostly letters of a script that neither the caption nor the evidence uses
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from pairwright.components.settings import Settings

REFUSAL = "refusal"
_REFUSES = re.compile(
    r"\b(?:i['’]?m sorry|i am sorry|i apologi[sz]e|as an? (?:ai|artificial intelligence|(?:large )?language model)"
    r"|i (?:can(?:no|['’])t|am (?:not able|unable)|['’]?m (?:not able|unable)) "
    r"(?:to )?(?:help|assist|provide|describe|create|generate|comply|fulfil|write|see|view)"
    r"|(?:no|without (?:an|the)) image (?:was |is )?(?:provided|attached)|please provide (?:the|an|more)\b)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|okay|ok)\b[^:\n]{0,60}[:!]\s*)?"
    r"(?:(?:here(?:['’]s| is)[^:\n]{0,60}|(?:enriched |final |fused |new )?(?:caption|answer|description)):\s*)?",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "`": "`"}
_RUN = 4  # words: shorter runs recur in honest captions ("in front of")


class Limits(Settings):
    """Bounds a generated caption must keep."""

    longest_words: int = Field(80, ge=1, description="words")
    most_repeated: int = Field(2, ge=1, description="times that one run of four words may occur")
    longest_echo: int = Field(12, ge=4, description="words of the instruction said back in a row")


def tidy(text: str) -> str:
    """An answer without preamble ("Sure! Here is the caption:"), wrapping quotes and line breaks."""
    body = " ".join(_PREAMBLE.sub("", text, count=1).split())
    if len(body) > 1 and _QUOTES.get(body[0]) == body[-1] and body[0] not in body[1:-1]:
        body = body[1:-1].strip()
    return body


def problem_with(
    text: str, *, instruction: str = "", allowed: Iterable[str] = (), limits: Limits | None = None
) -> str | None:
    """Why this caption is refused, or None if it is fine.

    Args:
        instruction: what the model was told; a caption that repeats it is an echo.
        allowed: texts whose scripts a caption may be written in; Latin where they have no letters.
    """
    limits = limits or Limits()
    words = text.casefold().split()
    if not any(character.isalnum() for character in text):
        return "empty"
    if _REFUSES.search(text):
        return REFUSAL
    if _shared_run(words, instruction.casefold().split(), limits.longest_echo):
        return "echo"
    if _most_repeated(words) > limits.most_repeated or _stuck(words):
        return "repeats"
    if len(words) > limits.longest_words or len(text) > 12 * limits.longest_words:
        return "too_long"
    return "script" if _foreign_share(text, allowed) > 0.3 else None


def _most_repeated(words: list[str]) -> int:
    runs = Counter(tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1))
    return max(runs.values(), default=0)


def _stuck(words: list[str]) -> bool:
    """One word four times in a row, or one character over and over without a space."""
    in_a_row = any(len(set(words[i : i + 4])) == 1 for i in range(len(words) - 3))
    return in_a_row or any(re.search(r"(.{1,4})\1{7,}", word) for word in words)


def _shared_run(words: list[str], others: list[str], length: int) -> bool:
    runs = {tuple(others[i : i + length]) for i in range(len(others) - length + 1)}
    return any(tuple(words[i : i + length]) in runs for i in range(len(words) - length + 1))


def _foreign_share(text: str, allowed: Iterable[str]) -> float:
    """Share of letters whose script none of the allowed texts uses."""
    scripts = {script for other in allowed for script in scripts_of(other)} or {"LATIN"}
    found = scripts_of(text)
    total = sum(found.values())
    return sum(n for script, n in found.items() if script not in scripts) / total if total else 0.0


def scripts_of(text: str) -> Counter[str]:
    """Letters by script, as Unicode names them ("LATIN", "CJK", "CYRILLIC"); Japanese kana count as CJK."""
    names = (unicodedata.name(character, "").split(" ")[0] for character in text if character.isalpha())
    return Counter("CJK" if name in ("HIRAGANA", "KATAKANA", "HALFWIDTH") else name.split("-")[0] for name in names)
