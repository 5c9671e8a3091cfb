"""Drawing a chart: title, axes, labels and counts in one plain font, the same bytes for the same chart."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from pairwright.components.dataset.sources.figures.chart import Chart

WIDTH, HEIGHT = 416, 288  # pixels
LEFT, RIGHT, TOP, BOTTOM = 36, 400, 72, 228
INK, PAINTS = (20, 20, 20), ((66, 103, 172), (197, 90, 60), (80, 140, 80), (130, 90, 160))
FONT = cv2.FONT_HERSHEY_SIMPLEX


def drawn(chart: Chart) -> np.ndarray:
    """RGB uint8 (HEIGHT, WIDTH, 3)."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    _text(canvas, "  ".join(chart.title.split()), (LEFT, 26), 0.62)  # spaces wide enough to be read as such
    _text(canvas, "count", (6, 54), 0.45)
    _text(canvas, chart.by, ((LEFT + RIGHT) // 2 - 30, HEIGHT - 12), 0.5)
    cv2.line(canvas, (LEFT, TOP), (LEFT, BOTTOM), INK, 1)
    cv2.line(canvas, (LEFT, BOTTOM), (RIGHT, BOTTOM), INK, 1)
    step = (RIGHT - LEFT) // len(chart.values)
    paint = PAINTS[sum(map(ord, chart.of)) % len(PAINTS)]
    tops = []
    for place, (name, count) in enumerate(chart.values):
        x = LEFT + place * step + step // 4
        y = BOTTOM - round((BOTTOM - TOP - 16) * count / chart.top[1])
        tops.append((x + step // 4, y))
        if chart.kind == "bar":
            cv2.rectangle(canvas, (x, y), (x + step // 2, BOTTOM - 1), paint, -1)
        _text(canvas, str(count), (x + 2, y - 5), 0.45)
        _text(canvas, name[: max(step // 9, 3)], (x - step // 5, BOTTOM + 20), 0.42)
    if chart.kind == "line":
        for one, other in itertools.pairwise(tops):
            cv2.line(canvas, one, other, paint, 2, cv2.LINE_AA)
        for at in tops:
            cv2.circle(canvas, at, 3, paint, -1, cv2.LINE_AA)
    return canvas


def _text(canvas: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(canvas, text, at, FONT, scale, INK, 1, cv2.LINE_AA)
