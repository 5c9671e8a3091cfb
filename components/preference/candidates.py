"""Candidate captions of one picture: what each source says of it, equal ones once.

    candidates_of(row["captions"], sources=("alt", "keywords", "translation@de"), made={"fused": "A red car."})

Compress & Align (Zhang et al., 2023, section 3.1) collects captions of one image from several sources,
so that a labeller compares texts and not pictures. A source is a sidecar's (`alt`, `file_name`,
`translation@de`), a captioner step's name, or a variant: a function of the alt-text (`cleaned`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairwright.components.dataset.captions.machine_text import machine_text

SIDECAR_SOURCES = ("alt", "description", "keywords", "file_name")  # a translation is judged only where it is asked for
ORIGINAL = "alt"
_SPACE = re.compile(r"\s+")

Variant = Callable[[str], str]


@dataclass(frozen=True)
class Candidate:
    """One caption of a picture; `lang` is a BCP 47 tag, or None if nobody knows."""

    source: str
    text: str
    lang: str | None = None


def candidates_of(
    captions: Sequence[Mapping[str, Any]] | None,
    *,
    sources: Sequence[str] = SIDECAR_SOURCES,
    made: Mapping[str, str | None] | None = None,
    variants: Mapping[str, Variant] | None = None,
) -> tuple[Candidate, ...]:
    """Distinct captions: the first of each source in the order of `sources`, then variants, then those made by steps.

    Args:
        captions: the sidecar's entries of this pair.
        made: captioner step -> its caption of this pair, None where it made none.
        variants: name -> function of the alt-text; an empty result is no candidate.

    Of captions that differ in case, space or a final stop alone, the first stands for all. What a program left in a
    caption's place (`dataset/machine_text.py`) is no caption to judge.
    """
    found: list[Candidate] = []
    for name in sources:
        source, _, lang = name.partition("@")
        for caption in captions or ():
            if caption["source"] == source and (not lang or caption["lang"] == lang):
                found.append(Candidate(name, caption["text"] or "", caption["lang"]))
                break
    original = next((one for one in found if one.source == ORIGINAL), None)
    if original is not None:
        for name, variant in (variants or {}).items():
            found.append(Candidate(name, variant(original.text), original.lang))
    found.extend(Candidate(name, text or "") for name, text in (made or {}).items())
    return _distinct(found)


def _distinct(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    first: dict[str, Candidate] = {}
    for one in found:
        text = plain(one.text)
        if text and machine_text(one.text) is None:
            first.setdefault(text, one)
    return tuple(first.values())


def plain(text: str) -> str:
    """The text by which two captions are the same: form, case, space and the final stop aside."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SPACE.sub(" ", folded).strip().rstrip(".").strip()
