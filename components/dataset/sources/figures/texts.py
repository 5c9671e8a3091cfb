"""What is written of a chart: its caption as an author would have it, good or poor, and the paragraph that cites it.

A poor caption is planted, one in three, and its kind is known: it says nothing, says a number that is nowhere, or is
another figure's. These are what a judge of captions has to find; their wording is no judge's.
"""

from __future__ import annotations

import numpy as np

from pairwright.components.dataset.sources.figures.chart import Chart

POOR = ("empty", "invented", "foreign")
GOOD = (
    "Number of {of} pictures by {by}; {top} has the most, {most}.",
    "Count of {of} pictures for each {by}, from {fewest} in {least} to {most} in {top}.",
    "{of} pictures by {by}: {top} comes first with {most}.",
)
EMPTY = ("Figure {number}.", "Results.", "Plot of our data.", "See the text for details.")
PARAGRAPH = (
    "We looked at the pictures of one kind. Figure {number} shows the number of {of} pictures for each {by}. Of these, "
    "{top} has the most, {most}, and {least} the fewest, {fewest}. Such a count says nothing of how good they are.",
    "Pictures are not spread evenly. As Fig. {number} shows, the count of {of} pictures depends on {by}: {top} comes "
    "first with {most}, and {least} last with {fewest}. The other kinds are alike.",
)


def good_caption(chart: Chart, draw: np.random.Generator) -> str:
    """One that says what the chart shows."""
    return _filled(GOOD[int(draw.integers(len(GOOD)))], chart, 0)


def poor_caption(kind: str, chart: Chart, other: Chart, number: int, draw: np.random.Generator) -> str:
    """One of a kind of POOR; `other` is the figure that a foreign caption is of."""
    if kind == "foreign":
        return good_caption(other, draw)
    if kind == "empty":
        return EMPTY[int(draw.integers(len(EMPTY)))].format(number=number)
    wrong = chart.top[1] + 100 + int(draw.integers(900))
    return _filled(GOOD[0], chart, number).replace(f" {chart.top[1]}.", f" {wrong}.")


def paragraph(chart: Chart, number: int, draw: np.random.Generator) -> str:
    """Of the paper's text, what cites the figure."""
    return _filled(PARAGRAPH[int(draw.integers(len(PARAGRAPH)))], chart, number)


def _filled(template: str, chart: Chart, number: int) -> str:
    top, least = chart.top, chart.least
    said = template.format(
        of=chart.of, by=chart.by, top=top[0], most=top[1], least=least[0], fewest=least[1], number=number
    )
    return said[:1].upper() + said[1:]
