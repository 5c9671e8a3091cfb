"""The caption grid as inline SVG: a row a format, a column a share of alt-text; the deeper a cell, the better."""

from __future__ import annotations

from markupsafe import Markup, escape

from pairwright.components.report.charts import number
from pairwright.components.report.data import Grid, GridCell

LEFT, TOP, WIDE, HIGH, RIGHT, BOTTOM = 130, 12, 104, 52, 14, 44
FAINT, FULL, DEEP = 0.08, 0.92, 0.55  # opacities, and that from which paper-coloured text is read better


def heat_map(shown: Grid) -> Markup:
    """Every cell with its mean, a ring around the best; its interval and seeds in the tip."""
    formats = list(dict.fromkeys(cell.format for cell in shown.cells))
    shares = sorted({cell.share for cell in shown.cells})
    width, height = LEFT + WIDE * len(shares) + RIGHT, TOP + HIGH * len(formats) + BOTTOM
    means = [cell.mean for cell in shown.cells]
    best = (max if shown.higher_is_better else min)(means)
    body = [_cell(cell, shown, min(means), max(means), formats, shares, cell.mean == best) for cell in shown.cells]
    for row, name in enumerate(formats):
        place = f'x="{LEFT - 10}" y="{TOP + HIGH * row + HIGH / 2 + 4:.1f}"'
        body.append(f'<text class="tick" {place} text-anchor="end">{escape(name.replace("_", " "))}</text>')
    for column, share in enumerate(shares):
        place = f'x="{LEFT + WIDE * column + WIDE / 2:.1f}" y="{TOP + HIGH * len(formats) + 18}"'
        body.append(f'<text class="tick" {place} text-anchor="middle">{share:.0%}</text>')
    body.append(f'<text class="tick" x="{width - RIGHT}" y="{height - 6}" text-anchor="end">share of alt-text</text>')
    return Markup(
        f'<svg class="chart heat" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(shown.verdict)}">'
        f"<title>{escape(shown.metric)} by format of captions and share of alt-text</title>{''.join(body)}</svg>"
    )


def _cell(
    cell: GridCell, shown: Grid, low: float, high: float, formats: list[str], shares: list[float], best: bool
) -> str:
    part = (cell.mean - low) / (high - low) if high > low else 0.5
    part = part if shown.higher_is_better else 1 - part
    x, y = LEFT + WIDE * shares.index(cell.share), TOP + HIGH * formats.index(cell.format)
    opacity = FAINT + part * (FULL - FAINT)
    seeds = ", ".join(number(value) for value in cell.values)
    tip = f"{cell.format}, {cell.share:.0%} alt-text: {number(cell.mean)} ({number(cell.low)} to {number(cell.high)})"
    box = f'x="{x + 2}" y="{y + 2}" width="{WIDE - 4}" height="{HIGH - 4}" rx="4"'
    said = f'x="{x + WIDE / 2:.1f}" y="{y + HIGH / 2 + 5:.1f}" text-anchor="middle"'
    return (
        f'<rect class="cell" {box} fill-opacity="{opacity:.3f}"><title>{escape(tip)}; seeds {seeds}</title></rect>'
        + (f'<rect class="best" {box}/>' if best else "")
        + f'<text class="mean{" deep" if opacity > DEEP else ""}" {said}>{cell.mean:.3f}</text>'
    )
