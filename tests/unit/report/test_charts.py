import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_data import HOSTILE

from pairwright.components.report.charts import curves, histogram, number, ticks
from pairwright.components.report.data import Curve, Distribution


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def heights(svg: str, css: str) -> list[float]:
    return [float(rect.get("height", 0)) for rect in parsed(svg).iter("rect") if rect.get("class") == css]


def test_bars_are_as_tall_as_their_counts() -> None:
    svg = histogram(Distribution("a.b", [0, 1, 2, 3], [10, 20, 0], [0, 20, 5]))
    kept, dropped = heights(svg, "kept"), heights(svg, "dropped")
    assert kept[1] / kept[0] == pytest.approx(2, rel=0.01)
    assert dropped[0] == pytest.approx(kept[1], abs=0.2)
    assert dropped[1] == pytest.approx(kept[0] / 2, abs=0.2)


def test_the_threshold_stands_at_its_value_and_an_outlying_one_at_the_edge() -> None:
    def at(value: float) -> float:
        svg = histogram(Distribution("a.b", [0.0, 1.0], [3], [1], value))
        return next(float(e.get("x1", 0)) for e in parsed(svg).iter("line") if e.get("class") == "threshold")

    assert at(0.5) == pytest.approx((at(0) + at(1)) / 2)
    assert at(99) == at(1)


def test_a_column_name_cannot_break_out_of_the_picture() -> None:
    root = parsed(histogram(Distribution(HOSTILE, [0, 1], [1], [1])))
    assert not list(root.iter("script"))
    assert HOSTILE in (root.get("aria-label") or "")


def test_an_arms_mean_is_the_mean_of_its_seeds() -> None:
    runs = [Curve("loss", "raw", seed, [0, 10], [4.0, value]) for seed, value in enumerate((1.0, 3.0))]
    root = parsed(curves("loss", runs))
    ends = {}
    for line in root.iter("polyline"):
        css = (line.get("class") or "").split()[0]
        ends.setdefault(css, []).append(float((line.get("points") or "").split()[-1].split(",")[1]))
    assert ends["mean"][0] == pytest.approx(sum(ends["seed"]) / 2, abs=0.1)
    assert "raw ends at 2" in (root.get("aria-label") or "")


def test_a_run_that_diverged_is_still_drawn() -> None:
    svg = curves("loss", [Curve("loss", "raw", 0, [0, 1, 2], [4.0, float("nan"), float("inf")])])
    assert "nan" not in str(svg)
    assert curves("loss", [Curve("loss", "raw", 0, [0], [float("nan")])]) == ""


def test_a_long_run_is_thinned_and_keeps_its_end() -> None:
    steps = list(range(100_001))
    svg = curves("loss", [Curve("loss", "raw", 0, steps, [1.0] * 100_000 + [2.0])])
    assert len(svg) < 20_000
    last = re.findall(r'points="([^"]*)"', str(svg))[-1].split()[-1]
    assert float(last.split(",")[0]) > 400


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 9
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7431, "7,431"),
        (0.2143, "0.214"),
        (0.5, "0.5"),
        (12.34, "12.3"),
        (0, "0"),
        (1.2e-5, "1.2e-05"),
        (-0.25, "-0.25"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
