"""Domain keywords: whether a pair's texts speak of a domain, by whole words of a list.

    score: {named: {uses: domain_keywords, with: {sources: [alt, keywords], keywords: [satellite image, aerial view]}}}
    keep:  {of_the_domain: "named.hit"}

The first sieve of RS5M (Zhang et al., 2024), which draws remote-sensing pairs out of eleven public sets:
cheap and generous, so a picture scorer (`domain_prompts`, `domain_classes`) stands after it. Mechanism
verified by test, the paper's figures are not reproduced.

Words are whole: "map" is in "road_map.png" and "Map: Berlin", not in "maple". Case, width, punctuation
and spacing do not count; a vowel sign belongs to its letter. Where a script puts no space between words
(Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) a keyword is found anywhere. Inflected forms, plurals
among them, are keywords of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, StringConstraints, field_validator

from pairwright.components.component import Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO")
Keyword = Annotated[str, StringConstraints(min_length=1)]


class DomainKeywordsSettings(Settings):
    keywords: tuple[Keyword, ...] = Field(min_length=1, description="words or phrases, any of which names the domain")
    exclude: tuple[Keyword, ...] = Field((), description="words or phrases that speak against it: satellite dish")
    sources: tuple[str, ...] = Field(("alt",), min_length=1, description="captions that are searched")

    @field_validator("keywords", "exclude")
    @classmethod
    def _has_letters(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not normalised(word):
                raise ValueError(f'"{word}" has no letter or digit to search for')
        return words


@scorer("domain_keywords")
class DomainKeywords(Scorer[DomainKeywordsSettings]):
    """Columns are null where the pair has no caption of any of the sources.

    Columns:
        matched: keywords found, as written in the settings and in their order.
        hit: at least one was found, and none of `exclude`.
    """

    sees_failures = True
    columns = {"matched": pa.list_(pa.string()), "hit": pa.bool_()}

    def caption_sources(self) -> tuple[str, ...]:
        return self.settings.sources

    def setup(self, device: str) -> None:
        self.keywords = {word: pattern_of(word) for word in self.settings.keywords}
        self.exclude = [pattern_of(word) for word in self.settings.exclude]

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        told = zip(*(pairs.captions(source) for source in self.settings.sources), strict=True)
        texts = [[normalised(text) for text in captions if text is not None] for captions in told]
        matched = [self._matched(one) if one else None for one in texts]
        against = [any(pattern.search(text) for pattern in self.exclude for text in one) for one in texts]
        hit = [None if found is None else bool(found) and not bad for found, bad in zip(matched, against, strict=True)]
        return {"matched": matched, "hit": hit}

    def _matched(self, texts: list[str]) -> list[str]:
        return [word for word, pattern in self.keywords.items() if any(pattern.search(text) for text in texts)]


def normalised(text: str) -> str:
    """Words apart by one space: NFKC, case folded, all but letters, marks and digits dropped.

    A change between a spaced and an unspaced script parts words, too ("衛星map").
    """
    words: list[str] = []
    before = " "
    for character in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()):
        if unicodedata.category(character)[0] not in "LMN":
            character = " "
        elif before != " " and not _is_mark(character) and _unspaced(character) != _unspaced(before):
            words.append(" ")
        words.append(character)
        if not _is_mark(character):
            before = character
    return " ".join("".join(words).split())


def pattern_of(keyword: str) -> re.Pattern[str]:
    """What finds the keyword, as whole words, in a normalised text."""
    word = normalised(keyword)
    left = "" if _unspaced(word[0]) else r"(?<![^ ])"
    right = rf"(?![{_MARKS}])" if _unspaced(_base(word)) else r"(?![^ ])"
    return re.compile(f"{left}{re.escape(word)}{right}")


def _base(word: str) -> str:
    """The last character that is no mark."""
    return next((character for character in reversed(word) if not _is_mark(character)), word[-1])


@cache
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


@cache
def _unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(UNSPACED)


def _marks_of_unspaced_scripts() -> str:
    """A character class: a keyword must not end before a vowel or tone sign of its last letter."""
    blocks = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3099, 0x309A))
    return "".join(chr(code) for low, high in blocks for code in range(low, high + 1) if _is_mark(chr(code)))


_MARKS = _marks_of_unspaced_scripts()
