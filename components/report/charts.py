"""Charts as inline SVG: histograms and curves. They take their colours from the page's CSS variables.

Every chart has a title and a description for those who do not see it; text is at least 11 units of
a 440-unit width, so that it can be read on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from pairwright.components.look import arm_classes
from pairwright.components.report.data import Curve, Distribution

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 34


def number(value: float) -> str:
    """Short and readable: 1,234; 12.3; 0.457; 1.2e-05."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}".rstrip("0").rstrip(".") if size >= 0.001 else f"{value:.1e}"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values in [low, high], `about` of them, at steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda candidate: abs(candidate - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Frame:
    """Data coordinates -> SVG units, and the axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y if y[1] > y[0] else (y[0], y[0] + 1)

    def across(self, value: float) -> float:
        low, high = self.x
        part = (value - low) / (high - low) if high > low else 0.5
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def up(self, value: float) -> float:
        low, high = self.y
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def axes(self, x_label: str) -> str:
        lines = []
        for value in ticks(*self.y):
            y = self.up(value)
            lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            lines.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{number(value)}</text>')
        for value in ticks(*self.x, about=5):
            x = self.across(value)
            lines.append(
                f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(value)}</text>'
            )
        base = HEIGHT - BOTTOM
        lines.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        if x_label:
            lines.append(
                f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>'
            )
        return "".join(lines)


def _svg(title: str, description: str, body: str) -> Markup:
    label = f"{escape(title)}: {escape(description)}"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def histogram(shown: Distribution) -> Markup:
    """Kept pairs from the base, dropped ones on top of them, the threshold as a dashed line."""
    tallest = max((k + d for k, d in zip(shown.kept, shown.dropped, strict=True)), default=0)
    frame = _Frame((shown.edges[0], shown.edges[-1]), (0, max(tallest, 1)))
    bars = []
    for i, (kept, dropped) in enumerate(zip(shown.kept, shown.dropped, strict=True)):
        left, right = frame.across(shown.edges[i]), frame.across(shown.edges[i + 1])
        span = f"{number(shown.edges[i])} to {number(shown.edges[i + 1])}"
        bars.append(_bar(left, right, frame.up(kept), frame.up(0), "kept", f"{span}: {kept:,} kept"))
        bars.append(
            _bar(left, right, frame.up(kept + dropped), frame.up(kept), "dropped", f"{span}: {dropped:,} dropped")
        )
    mark = _threshold(frame, shown.threshold) if shown.threshold is not None else ""
    text = f"{sum(shown.kept):,} kept and {sum(shown.dropped):,} dropped pairs"
    return _svg(f"Distribution of {shown.column}", text, frame.axes("") + "".join(bars) + mark)


def _bar(left: float, right: float, top: float, bottom: float, css: str, tip: str) -> str:
    if bottom - top < 0.05:
        return ""
    width = max(right - left - 1, 0.8)
    return (
        f'<rect class="{css}" x="{left + 0.5:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top:.1f}">'
        f"<title>{escape(tip)}</title></rect>"
    )


def _threshold(frame: _Frame, value: float) -> str:
    x = frame.across(min(max(value, frame.x[0]), frame.x[1]))
    anchor, shift = ("start", 5) if x < WIDTH * 0.7 else ("end", -5)
    return (
        f'<line class="threshold" x1="{x}" x2="{x}" y1="{TOP - 18}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="mark" x="{x + shift}" y="{TOP - 9}" text-anchor="{anchor}">{number(value)}</text>'
    )


def curves(metric: str, runs: Sequence[Curve], classes: Mapping[str, str] | None = None) -> Markup:
    """Every seed as a thin line, and each arm's mean as a thick one; `classes` are the arms' (look.arm_classes)."""
    steps = [s for run in runs for s in run.steps]
    values = [v for run in runs for v in run.values if math.isfinite(v)]
    if not steps or not values:
        return Markup("")
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    frame = _Frame((min(steps), max(steps)), (low - margin if low < 0 or low > margin else 0, high + margin))
    arms = list(dict.fromkeys(run.arm for run in runs))
    lines = []
    classes = classes or arm_classes(arms)
    for arm in arms:
        own = [run for run in runs if run.arm == arm]
        css = classes[arm]
        if len(own) > 1:
            lines += [_line(frame, run.steps, run.values, f"seed {css}", f"{arm}, seed {run.seed}") for run in own]
        lines.append(_line(frame, *_mean(own), f"mean {css}", arm))
    last = {arm: number(_mean([r for r in runs if r.arm == arm])[1][-1]) for arm in arms}
    description = "; ".join(f"{arm} ends at {value}" for arm, value in last.items())
    return _svg(f"{metric} by step", description, frame.axes("step") + "".join(lines))


def _mean(runs: Sequence[Curve]) -> tuple[list[int], list[float]]:
    """Mean over the seeds that have the step."""
    by_step: dict[int, list[float]] = {}
    for run in runs:
        for step, value in zip(run.steps, run.values, strict=True):
            if math.isfinite(value):
                by_step.setdefault(step, []).append(value)
    ordered = sorted(by_step)
    return ordered, [sum(by_step[step]) / len(by_step[step]) for step in ordered]


def _line(frame: _Frame, steps: Sequence[int], values: Sequence[float], css: str, tip: str) -> str:
    points = [(frame.across(s), frame.up(v)) for s, v in _thinned(steps, values) if math.isfinite(v)]
    drawn = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline class="{css}" points="{drawn}"><title>{escape(tip)}</title></polyline>'


def _thinned(steps: Sequence[int], values: Sequence[float], most: int = 400) -> list[tuple[int, float]]:
    """At most about `most` points, the last one among them."""
    every = max(len(steps) // most, 1)
    points = list(zip(steps, values, strict=True))
    return points[::every] + ([points[-1]] if (len(points) - 1) % every else [])
