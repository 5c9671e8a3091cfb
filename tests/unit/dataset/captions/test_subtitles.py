"""Subtitles: both formats as they are found, and back again."""

from __future__ import annotations

import pytest

from pairwright.components.dataset.captions.subtitles import Timed, read_subtitles, write_webvtt

SRT = """1
00:00:01,000 --> 00:00:04,500
<i>Now cut</i> the onion
&amp; the carrot

2
00:01:05,25 --> 00:01:07,000
{\\an8}Stir it
3
01:00:00,000 --> 01:00:02,000
Done
"""
VTT = """﻿WEBVTT - a title

NOTE nothing to see

STYLE
::cue { color: red }

intro
00:01.000 --> 00:04.500 align:start position:10%
<v Anna>Now <c.yellow>cut</c> the <00:02.000>onion
"""


def test_subrip_is_read_with_its_tags_away_and_without_blank_lines() -> None:
    assert read_subtitles(SRT) == [
        Timed(1.0, 4.5, "Now cut the onion & the carrot"),
        Timed(65.25, 67.0, "Stir it"),
        Timed(3600.0, 3602.0, "Done"),
    ]


def test_webvtt_is_read_whatever_its_header_notes_and_settings() -> None:
    assert read_subtitles(VTT) == [Timed(1.0, 4.5, "Now cut the onion")]


@pytest.mark.parametrize(
    "text", ["", "no cue at all", "00:08.000 --> 00:07.000\nbackwards", "00:01.000 --> 00:02.000\n\n", "1\n2\n3"]
)
def test_what_is_no_cue_is_passed_over(text: str) -> None:
    assert read_subtitles(text) == []


def test_what_is_written_is_read_back_in_order_of_time() -> None:
    lines = [Timed(3661.5, 3670.0, "a < b & c"), Timed(0.25, 2.0, "first")]
    assert read_subtitles(write_webvtt(lines)) == sorted(lines, key=lambda one: one.t0)
    assert read_subtitles(write_webvtt([])) == []
