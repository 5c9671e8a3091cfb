"""Caption text: what a caption's characters alone say about it, without opening a picture.

    pairwright score data/raw caption_text

Alt-text on the web is often a file's name, an author's credit or a site's boilerplate; each has its
own column here, so a rule can drop it by name. `quality` joins them to one number that decides
which of several near-duplicates is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Scorer
from pairwright.components.dataset.captions.machine_text import machine_text
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.words.shop_phrases import SHOP_BOILERPLATE
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
FULL_LENGTH = 12  # words; COCO's and the stamps' captions have 10 to 15, more says little more

# How much a text looks like a file's name: the strongest evidence counts.
FILE_NAME_EVIDENCE: tuple[tuple[float, re.Pattern[str]], ...] = (
    (1.0, re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?|svgz?|ico|eps|psd|pdf)$", re.I)),
    (1.0, re.compile(r"^(img|dsc[nf]?|dscf|pict?|p|mvi|gopr|screen ?shot|image|photo)[ _\-]?\d{2,}\w*$", re.I)),
    (1.0, re.compile(r"^[0-9a-f]{8,}(-[0-9a-f]{4,})*$", re.I)),  # a hash or a UUID
    (0.9, re.compile(r"^[^\s_]+(_[^\s_]+)+_?$")),  # words_joined_by_underscores
    (0.8, re.compile(r"^\S*[^\W\d_]\S*\d{2,}\S*$")),  # one token, letters then digits: clipart1234
    (0.7, re.compile(r"^[^\s\-]+(-[^\s\-]+){2,}$")),  # words-joined-by-hyphens
    (0.6, re.compile(r"^[^\W\d_]+[a-z][A-Z]\w*$")),  # wordsJoinedByCase
    (0.5, re.compile(r"\w_\w")),
    (0.3, re.compile(r"[^\W\d_] ?0?\d$")),  # a counter at the end: "cat 2", "cat02"
)

_THINGS = (
    r"clip ?-?arts?|images?|pictures?|pics?|photos?|photographs?|drawings?|icons?|logos?|graphics?|illustrations?|"
    r"artworks?|designs?|vectors?|svgs?|pngs?|files?|thumbnails?|screenshots?"
)
_NAME = r":?(?!\s*(?:the|an?|my|his|her|its)\b)(?:\s+\S+){1,4}"  # of an author: one to four words
# Phrases that say nothing about the picture. What is left without them must hold a word.
BOILERPLATE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("address", re.compile(r"(https?://|www\.)\S+|[^\s@]{1,64}@[^\s@]{1,255}\.\w+", re.I)),
    (
        "author",
        re.compile(
            rf"\b({_THINGS}|created|made|drawn|designed|submitted|uploaded|posted|remixed)\s+by\b{_NAME}\s*$"
            rf"|^\s*by\b{_NAME}\s*$|^\s*(author|artist|credits?)\s*:.*$",
            re.I,
        ),
    ),
    (
        "tool",
        re.compile(
            r"\b((created|made|generated|drawn|exported|converted)\s+(with|using|in|by|from)\s+)?"
            r"(the\s+)?(inkscape|sodipodi|adobe\s+\w+|illustrator|corel\s?draw|gimp|photoshop|potrace)\b(\s+[\d.]+)?",
            re.I,
        ),
    ),
    (
        "web",
        re.compile(
            r"\b(all rights reserved|copyright(ed)?( \d{4})?|click (here|to \w+)|free download|download|"
            r"stock (photo|image|vector)s?|royalty[- ]free|public domain|no description( available)?|"
            r"(open)?clipart(\.org|\slibrary)?)\b|[©®™]",
            re.I,
        ),
    ),
    (
        "untitled",
        re.compile(
            r"\b(un(titled|named|known)|no ?(title|name|caption)|title|(new|my) (document|image|drawing|picture)|"
            r"default|none|null|n/a|test(ing)?|placeholder|page|layer|tbd)\b",
            re.I,
        ),
    ),
    ("generic", re.compile(rf"\b(an?|the|my|new|this|some|free|simple|nice)?\s*\b({_THINGS})\b(\s+of\s*$)?", re.I)),
)


Phrases = tuple[tuple[str, re.Pattern[str]], ...]


class CaptionTextSettings(Settings):
    source: str = "alt"
    shop: bool = Field(False, description="count a shop's phrases as boilerplate, too: prices, delivery, calls to buy")


@scorer("caption_text")
class CaptionText(Scorer[CaptionTextSettings]):
    """Columns are null where the pair has no caption of this source; an empty caption has `chars` 0.

    Columns:
        chars: characters without surrounding space.
        words: runs of letters and digits.
        unique_words: share of the words that differ, ignoring case; 0 without words.
        repetition: share of word pairs, or of 6-character windows, that occurred before (the larger).
        alphabetic: share of the visible characters that are letters.
        file_name_likeness: 0 a sentence, 1 surely a file's name (FILE_NAME_EVIDENCE).
        boilerplate: no word is left without the phrases in BOILERPLATE, or it is the author's name, or no person's
            text (`dataset/machine_text.py`: a printed object, an identifier, a counter, an unfilled template).
        boilerplate_kind: machine, address, author, tool, web, untitled or generic (with `shop` also delivery, offer,
            call, stock or label); null if not boilerplate.
        boilerplate_share: of the words, how many stand in such phrases; 0 without words.
        quality: 0..1, `caption_quality` of the above.
    """

    requires = Captions("source")
    sees_failures = True
    columns = {
        "chars": pa.int32(),
        "words": pa.int32(),
        "unique_words": pa.float32(),
        "repetition": pa.float32(),
        "alphabetic": pa.float32(),
        "file_name_likeness": pa.float32(),
        "boilerplate": pa.bool_(),
        "boilerplate_kind": pa.string(),
        "boilerplate_share": pa.float32(),
        "quality": pa.float32(),
    }

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = pairs.captions(self.settings.source)
        authors = [row.get("author") for row in pairs.sidecar] if pairs.sidecar else [None] * len(pairs)
        phrases = SHOP_BOILERPLATE + BOILERPLATE if self.settings.shop else BOILERPLATE
        rows = [
            {} if text is None else caption_facts(text, author, phrases)
            for text, author in zip(texts, authors, strict=True)
        ]
        return {name: [row.get(name) for row in rows] for name in self.columns}


def caption_facts(text: str, author: str | None = None, phrases: Phrases = BOILERPLATE) -> dict[str, Any]:
    """The scorer's columns for one caption."""
    text = text.strip()
    words = WORD.findall(text)
    visible = sum(not character.isspace() for character in text)
    kind, share = boilerplate(text, author, phrases)
    facts: dict[str, Any] = {
        "chars": len(text),
        "words": len(words),
        "unique_words": len({word.lower() for word in words}) / len(words) if words else 0.0,
        "repetition": repetition(text, words),
        "alphabetic": sum(character.isalpha() for character in text) / visible if visible else 0.0,
        "file_name_likeness": file_name_likeness(text),
        "boilerplate": kind is not None,
        "boilerplate_kind": kind,
        "boilerplate_share": share,
    }
    return facts | {"quality": caption_quality(facts)}


def caption_quality(facts: Mapping[str, Any]) -> float:
    """length x alphabetic x unique_words x (1 - repetition) x (1 - file_name_likeness), a tenth if boilerplate.

    Length is in words up to FULL_LENGTH, as a share of it; scripts without spaces count a word
    every six characters.
    """
    length = min(max(facts["words"], facts["chars"] / 6) / FULL_LENGTH, 1.0)
    quality = length * facts["alphabetic"] * facts["unique_words"]
    quality *= (1 - facts["repetition"]) * (1 - facts["file_name_likeness"])
    return float(quality * (0.1 if facts["boilerplate"] else 1.0))


def repetition(text: str, words: Sequence[str]) -> float:
    """Share of word pairs or of 6-character windows seen before in the text, whichever is larger; 0..1."""
    lowered = [word.lower() for word in words]
    return max(_repeated(list(pairwise(lowered))), _repeated(list(_windows(text.lower(), 6))))


def _windows(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


def _repeated(items: Sequence[Any]) -> float:
    return 1 - len(set(items)) / len(items) if items else 0.0


def file_name_likeness(text: str) -> float:
    """0..1: the strongest of FILE_NAME_EVIDENCE that the text shows."""
    text = text.strip()
    return next((strength for strength, pattern in FILE_NAME_EVIDENCE if pattern.search(text)), 0.0)


def boilerplate_kind(text: str, author: str | None = None) -> str | None:
    """Which of the web's boilerplate the text is made of, or None if it says something (or is empty)."""
    return boilerplate(text.strip(), author)[0]


def boilerplate(text: str, author: str | None = None, phrases: Phrases = BOILERPLATE) -> tuple[str | None, float]:
    """The kind of boilerplate a stripped text is made of, if it is, and the share of its words in such phrases.

    Numbers are no words here: "$19.99" says as little as "Sale $19.99".
    """
    if not text:
        return None, 0.0
    if author and text.casefold() == author.strip().casefold():
        return "author", 1.0
    found, rest = None, text
    for kind, pattern in phrases:
        shorter = pattern.sub(" ", rest)
        if shorter != rest:
            found = found or kind
        rest = shorter
    words, left = _spoken(text), _spoken(rest)
    if left and machine_text(text):
        return "machine", 1.0
    share = 1 - min(len(left), len(words)) / len(words) if words else float(found is not None)
    return (None if left else found), share


def _spoken(text: str) -> list[str]:
    return [word for word in WORD.findall(text) if not word.isdigit()]
