"""Figures a fit draws of itself: figures/NAME.svg and figures/figures.json, which the report shows.

figure, axes = svg_axes("codes", "share of use")
save_figures(folder, [("codes.svg", "Use of the codebook", "What one sees.", figure)])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIZE_INCHES = (5.2, 2.9)


def svg_axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    """A figure with one pair of axes, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg_panels(count: int, columns: int, *, width: float = 7.2, height: float = 1.5) -> tuple[Any, list[Any]]:
    """A figure with that many axes in rows of `columns`, each row `height` inches high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[count:]:
        spare.set_axis_off()
    for axes in panels[:count]:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[:count]


def save_svg(figure: Any, path: Path) -> None:
    """The figure as SVG; the same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "pairwright", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def save_figures(folder: Path, figures: Sequence[tuple[str, str, str, Any]]) -> None:
    """Write (file, title, caption, figure)s into folder/figures with their list."""
    place = folder / "figures"
    place.mkdir(parents=True, exist_ok=True)
    for file, _, _, figure in figures:
        save_svg(figure, place / file)
    listed = [{"file": file, "title": title, "caption": caption} for file, title, caption, _ in figures]
    (place / "figures.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
