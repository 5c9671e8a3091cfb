"""Subtitles: texts with the seconds they are said at, from SubRip or WebVTT and back.

    lines = read_subtitles(text)                     # [Timed(12.0, 15.5, "now cut the onion"), ...]
    write_webvtt(lines)

Read as they are found on the web: either format, with or without its numbers, header, cue settings and tags, hours left
out, a comma or a point before the milliseconds. What is no cue is passed over, as is one that ends before it begins.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_CUE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d{1,2}:[\d:.]+>|\{\\[^{}]*\}")


@dataclass(frozen=True)
class Timed:
    """A text from second t0 to t1."""

    t0: float
    t1: float
    text: str


def read_subtitles(text: str) -> list[Timed]:
    """Every cue with a text, in order of time; [] of a text that has none."""
    found: list[Timed] = []
    lines = text.lstrip("﻿").splitlines()
    at = 0
    while at < len(lines):
        cue = _CUE.match(lines[at])
        at += 1
        if cue is None:
            continue
        said = []
        while at < len(lines) and lines[at].strip() and not _CUE.match(lines[at]):
            said.append(lines[at])
            at += 1
        if at < len(lines) and said and said[-1].strip().isdigit() and _CUE.match(lines[at]):
            said.pop()  # the next cue's number, no blank line before it
        t0, t1 = _seconds(*cue.groups()[:4]), _seconds(*cue.groups()[4:])
        plain = " ".join(html.unescape(_TAG.sub("", " ".join(said))).split())
        if plain and t1 >= t0:
            found.append(Timed(t0, t1, plain))
    return sorted(found, key=lambda one: (one.t0, one.t1))


def write_webvtt(lines: Iterable[Timed]) -> str:
    """WebVTT, to the millisecond."""
    cues = [f"{_stamp(one.t0)} --> {_stamp(one.t1)}\n{html.escape(one.text, quote=False)}\n" for one in lines]
    return "\n".join(["WEBVTT\n", *cues])


def _seconds(hours: str | None, minutes: str, seconds: str, part: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(part.ljust(3, "0")) / 1000


def _stamp(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"
