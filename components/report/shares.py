"""The compression curve as inline SVG: mean recall over kept share, each order against the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping

from markupsafe import Markup, escape

from pairwright.components.look import arm_classes
from pairwright.components.report.charts import number, ticks
from pairwright.components.report.data import Compression, SharePoint

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 18, 44


def share_chart(shown: Compression, arms: Mapping[str, str] | None = None) -> Markup:
    """Shares on a logarithmic axis, largest left; whiskers are the interval of the difference to the whole."""
    plane = _Plane(shown)
    orders = list(dict.fromkeys(point.order for point in shown.points))
    classes = arms or arm_classes(orders)
    body = plane.axes() + plane.whole()
    for index, order in enumerate(orders):
        own = sorted((p for p in shown.points if p.order == order), key=lambda p: -p.share)
        body += _order(plane, own, classes[order], shift=7.0 * (index - (len(orders) - 1) / 2))
    return Markup(
        f'<svg class="chart shares" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(shown.verdict)}">'
        f"<title>Mean recall over kept share</title>{body}</svg>"
    )


class _Plane:
    """Shares and recalls -> SVG units."""

    def __init__(self, shown: Compression) -> None:
        self.shown = shown
        self.shares = sorted({point.share for point in shown.points}, reverse=True)
        reach = [shown.whole + d for point in shown.points for d in (point.low, point.high)]
        reach += [shown.whole, shown.whole - shown.margin]
        pad = 0.06 * (max(reach) - min(reach) or 0.1)
        self.low, self.high = min(reach) - pad, max(reach) + pad

    def across(self, share: float) -> float:
        smallest = math.log(min(self.shares, default=0.05))
        part = math.log(share) / smallest if smallest else 0.0
        return LEFT + 24 + part * (WIDTH - LEFT - RIGHT - 48)

    def up(self, recall: float) -> float:
        return HEIGHT - BOTTOM - (recall - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def axes(self) -> str:
        lines = []
        for value in ticks(self.low, self.high):
            y = self.up(value)
            lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
        base = HEIGHT - BOTTOM
        for share in (1.0, *self.shares):
            place = f'x="{self.across(share):.1f}" y="{base + 17}"'
            lines.append(f'<text class="tick" {place} text-anchor="middle">{share:.0%}</text>')
        lines.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
        label = f'x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end"'
        lines.append(f'<text class="tick" {label}>share of the pairs kept</text>')
        return "".join(lines)

    def whole(self) -> str:
        """Training on all pairs, and the margin below it."""
        top, bottom = self.up(self.shown.whole), self.up(self.shown.whole - self.shown.margin)
        return (
            f'<rect class="margin" x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" '
            f'height="{bottom - top:.1f}"/>'
            f'<line class="whole" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>'
        )


def _order(plane: _Plane, points: list[SharePoint], css: str, shift: float) -> str:
    """One order: a line through the means, and at each a whisker and a dot, filled if not worse."""
    whole, drawn = plane.shown.whole, []
    for point in points:
        x, y = plane.across(point.share) + shift, plane.up(point.mean)
        low, high = plane.up(whole + point.low), plane.up(whole + point.high)
        tip = f"{point.order}, {point.share:.0%}: {point.mean:.3f}, {point.difference:+.3f} to the whole"
        fill = "filled" if point.not_worse else "hollow"
        drawn.append(f'<line class="range {css}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        drawn.append(
            f'<circle class="{fill} {css}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(tip)}</title></circle>'
        )
    line = " ".join(f"{plane.across(p.share) + shift:.1f},{plane.up(p.mean):.1f}" for p in points)
    return f'<polyline class="mean {css}" points="{line}"/>' + "".join(drawn)
