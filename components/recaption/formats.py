"""Formats of captions, and what a caption of each must be.

Lai et al., 2024, "Revisit large-scale image-caption data in pre-training multimodal foundation models": short synthetic
captions (SSC), dense ones (DSC), denser ones (DSC+) and captions fused with the alt-text (AFC) are different food for
different models.

    problem_with_form("A dog runs.", Form(most_words=15))          # None: it is as it must be
    problem_with_form("A dog runs.", Form(least_sentences=2))      # "too_few_sentences"
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from pairwright.components.settings import Settings

Format = Literal["short", "dense", "dense_plus", "fused"]
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_BETWEEN = re.compile(r"(?<=[.!?])\s+")


class Form(Settings):
    """Bounds of a format; 0 is no bound."""

    least_words: int = Field(0, ge=0, description="words")
    most_words: int = Field(0, ge=0, description="words")
    least_sentences: int = Field(0, ge=0, description="sentences")
    most_sentences: int = Field(0, ge=0, description="sentences")


# The paper's: SSC of 10 to 15 tokens, DSC of 40 to 60, DSC+ of more. Here what offline experts see fills fewer words.
FORMS: dict[Format, Form] = {
    "short": Form(most_words=15, most_sentences=1),
    "dense": Form(least_sentences=2, most_words=60),
    "dense_plus": Form(least_sentences=3),
    "fused": Form(most_words=40, most_sentences=1),
}


def problem_with_form(text: str, form: Form) -> str | None:
    """The bound a caption breaks, or None."""
    words, sentences = len(words_in(text)), len(sentences_in(text))
    if words < form.least_words:
        return "too_few_words"
    if form.most_words and words > form.most_words:
        return "too_many_words"
    if sentences < form.least_sentences:
        return "too_few_sentences"
    return "too_many_sentences" if form.most_sentences and sentences > form.most_sentences else None


def words_in(text: str) -> list[str]:
    """Its words, as they are written."""
    return _WORD.findall(text)


def sentences_in(text: str) -> list[str]:
    """Its sentences: what ends in a full stop, question or exclamation mark before a space, and has a word in it."""
    return [found for found in _BETWEEN.split(text.strip()) if _WORD.search(found)]
