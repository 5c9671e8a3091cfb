"""Subtitles in blocks for a text model, and its answer as timed captions.

    for block in blocks_of(read_subtitles(text), words=200):
        asked = prompt.about(block.evidence())
        captions, malformed = captions_of(answer, block)

An answer is lines of "12s: a man cuts an onion". Language models say other things, too: a line without a time or
without words, one whose time lies outside its block (which is invented), one longer than a caption or said twice is
counted as malformed and left out; what is well formed among them stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pairwright.components.dataset.captions.subtitles import Timed

LONGEST = 40  # words of a caption
_BULLET = r"^\s*(?:[-*•]\s*|\d{1,3}[.)]\s+)?"
_THEN = r"\s*[:\-–—]?\s*(?P<text>[\"'“]?\w.*)$"
# "00:12 - ...", "[1:02:03] ..."
_CLOCK = re.compile(rf"{_BULLET}[\[(]?(?:(\d{{1,3}}):)?(\d{{1,6}}):(\d{{2}})[\])]?(?!\d){_THEN}")
# "12s: ...", "[12.5] ...", "12 - ...", "3 seconds ..."
_SECONDS = re.compile(
    rf"{_BULLET}(?:[\[(](\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds)?[\])]|(\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds)\b"
    rf"|(\d+(?:\.\d+)?)(?=\s*[:\-–—](?!\d))){_THEN}"
)
# What narrators say before they say what is to be seen.
_LEAD = re.compile(
    r"^(?:let'?s(?: watch| see| look at)?|let me show you|i want to show you|(?:i(?:'m| am)|we(?:'re| are)) going to"
    r"|(?:you|we) (?:can )?see|we have|we(?:'ve)? got|this is|that is|that's|(?:here|there)(?: is| are|'s)"
    r"|(?:i|we|you)'ll|you want to|you need to|i|we|you|so|and|but|okay|ok|al(?:l )?right|now|next|then|well|um+|uh+"
    r"|look|see|here|there|first|finally|again|just|please)\b[\s,]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Block:
    """Subtitles that one prompt holds, in order of time."""

    lines: tuple[Timed, ...]

    @property
    def t0(self) -> float:
        return self.lines[0].t0

    @property
    def t1(self) -> float:
        return max(line.t1 for line in self.lines)

    def evidence(self) -> dict[str, Any]:
        """What a text model reads: whole seconds and texts."""
        said = [{"time": int(line.t0), "text": line.text} for line in self.lines]
        return {"from": int(self.t0), "until": math.ceil(self.t1), "subtitles": said}


def blocks_of(lines: Sequence[Timed], words: int = 200) -> Iterator[Block]:
    """Blocks of at most so many words; a subtitle of more is cut, its time shared by words."""
    held: list[Timed] = []
    count = 0
    for line in (part for one in lines for part in _cut(one, words)):
        size = len(line.text.split())
        if held and count + size > words:
            yield Block(tuple(held))
            held, count = [], 0
        held.append(line)
        count += size
    if held:
        yield Block(tuple(held))


def _cut(line: Timed, words: int) -> Iterator[Timed]:
    said = line.text.split()
    if len(said) <= words:
        yield line
        return
    each = (line.t1 - line.t0) / len(said)
    for start in range(0, len(said), words):
        part = said[start : start + words]
        yield Timed(line.t0 + start * each, line.t0 + (start + len(part)) * each, " ".join(part))


def captions_of(answer: str, block: Block) -> tuple[list[tuple[float, str]], int]:
    """(second, caption) of each well-formed line, in order of time, and how many lines were none."""
    found: dict[tuple[float, str], None] = {}
    malformed = 0
    for line in answer.splitlines():
        if not line.strip():
            continue
        one = _read(line)
        inside = one is not None and math.floor(block.t0) <= one[0] <= math.ceil(block.t1)
        if one is None or not inside or one in found:
            malformed += 1
        else:
            found[one] = None
    return sorted(found), malformed


def _read(line: str) -> tuple[float, str] | None:
    if clock := _CLOCK.match(line):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups()[:3])
        if seconds >= 60 or (clock[1] and minutes >= 60):
            return None
        second, text = float(hours * 3600 + minutes * 60 + seconds), clock["text"]
    elif plain := _SECONDS.match(line):
        second, text = float(plain[1] or plain[2] or plain[3]), plain["text"]
    else:
        return None
    words = " ".join(text.strip(" \t\"'“”").split())
    fine = any(letter.isalpha() for letter in words) and len(words.split()) <= LONGEST
    return (second, words) if fine else None


def spoken_captions(evidence: dict[str, Any]) -> str:
    """The offline rules: each subtitle without what narrators begin with; small talk stays, its scores find it out."""
    lines = []
    for one in evidence.get("subtitles") or []:
        text = " ".join(str(one.get("text") or "").split()).rstrip(" .!?")
        while (shorter := _LEAD.sub("", text, count=1)) != text:
            text = shorter
        if len(text.split()) > 1:
            lines.append(f"{int(one['time'])}s: {' '.join(text.split()[:LONGEST])}")
    return "\n".join(lines)
