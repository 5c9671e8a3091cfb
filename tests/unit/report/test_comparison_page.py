"""The page of a comparison: whole in one file, what it draws is what was found, names from strangers escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pairwright.components.evaluate.run_comparison import Row, RunComparison
from pairwright.components.report.comparison import forest, render, shares, write_comparison


def row(
    metric: str, difference: float, p: float, half: float = 0.02, higher: bool = True, run: str = "mine:curated"
) -> Row:
    parts = (0.3, 0.5, 0.2)
    bounds = (difference - half, difference + half)
    return Row(
        metric,
        run,
        "mine:raw",
        0.3,
        0.3 - difference,
        difference,
        *bounds,
        p,
        196,
        150,
        3,
        higher,
        "what it is",
        *parts,
    )


ROWS = [row("retrieval.t2i_r1", 0.05, 0.001), row("zero_shot.accuracy", -0.04, 0.002), row("retrieval.rank", 0.01, 0.4)]


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text = write_comparison(RunComparison("mine:raw", ROWS), "ab" * 16, "test", tmp_path / "page.html").read_text()
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "://" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
    assert "<script" not in text
    assert "default-src 'none'" in text
    for wanted in (
        "mine:curated",
        "abababababab",
        "+0.050 [+0.030, +0.070]",
        "196 (150)",
        "The worst is zero_shot.accuracy",
    ):
        assert wanted in text, wanted


def test_every_metric_is_drawn_in_the_colour_of_what_it_shows() -> None:
    drawn = str(forest(ROWS))
    assert re.findall(r'<g class="(\w+)">', drawn) == ["kept", "dropped", "even"]
    places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    zero = float(re.search(r'class="zero" x1="([\d.]+)"', drawn).group(1))  # type: ignore[union-attr]
    assert places[0] > zero > places[1]
    lower = str(forest([row("rank", -2.0, 0.001, half=1.0, higher=False)]))
    assert float(re.search(r'<circle cx="([\d.]+)"', lower).group(1)) > zero  # type: ignore[union-attr]


def test_shares_fill_the_line_and_a_median_has_none() -> None:
    widths = [
        float(w)
        for w in re.findall(r'<rect class="\w+" x="[\d.]+" y="[\d.-]+" width="([\d.]+)"', str(shares(ROWS[:1])))
    ]
    assert widths[0] / sum(widths) == 0.3
    assert not shares([replace(ROWS[0], better=None)])


def test_a_name_that_is_markup_stays_text() -> None:
    found = RunComparison("<b>first", [row("a<script>x", 0.1, 0.01, run='"><img onerror=1>')], {"<i>m": "<u>why"})
    text = render(found, "ab", "test")
    assert not re.search(r"<(script|img|b>first|i>m|u>)", text)


def test_an_interval_without_width_is_drawn() -> None:
    assert "<circle" in str(forest([row("a", 0.0, 1.0, half=0.0), row("b", 0.1, 0.01, half=0.0)]))
