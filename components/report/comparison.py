"""The page of a comparison of runs: differences with their intervals, who is ahead where, a table; one file.

    write_comparison(compare_runs([first, second]), split_digest, "test", "comparison.html")

No script, nothing loaded from anywhere, in the look of every page of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from pairwright.components.dataset.shards import storage
from pairwright.components.evaluate.run_comparison import Row, RunComparison
from pairwright.components.look import LOOK
from pairwright.components.report.charts import number

HERE = Path(__file__).parent
WIDTH, LEFT, RIGHT, LINE, TOP = 640, 210, 20, 26, 30
CLASSES = {"better": "kept", "worse": "dropped", "cannot be told apart": "even"}


def write_comparison(found: RunComparison, digest: str, split: str, path: str | Path) -> Path:
    """Commit the page as one file.

    Raises:
        WorkspaceError: the place is read-only or full.
    """
    storage.write_bytes(str(path), render(found, digest, split).encode())
    return Path(path)


def render(found: RunComparison, digest: str, split: str) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    icon = LOOK["icon.svg"].read_text(encoding="utf-8")
    styles = [LOOK["look.css"], HERE / "report.css", HERE / "comparison.css"]
    runs = list(dict.fromkeys(row.run for row in found.rows))
    return environment.get_template("comparison.html.j2").render(
        found=found,
        runs=[(run, [row for row in found.rows if row.run == run]) for run in runs],
        digest=digest,
        split=split,
        style=Markup("".join(path.read_text(encoding="utf-8") for path in styles)),
        mark=Markup(icon),
        forest=forest,
        shares=shares,
        number=number,
        css=CLASSES.__getitem__,
    )


def forest(rows: Sequence[Row]) -> Markup:
    """Each metric's difference with its interval, in units of the interval's half, the side that is good to the right.

    So ranks and shares stand on one axis; what does not reach 0 with its whisker is told from it, by itself.
    """
    height = TOP + LINE * len(rows) + 22
    scaled = [_in_halves(row) for row in rows]
    reach = max(2.0, *(abs(value) + 1 for value in scaled))

    def across(value: float) -> float:
        return round(LEFT + (value / reach + 1) / 2 * (WIDTH - LEFT - RIGHT), 1)

    drawn = [
        f'<line class="zero" x1="{across(0)}" x2="{across(0)}" y1="{TOP - 12}" y2="{height - 20}"/>',
        f'<text class="tick" x="{across(0) - 8}" y="{height - 4}" text-anchor="end">worse</text>',
        f'<text class="tick" x="{across(0) + 8}" y="{height - 4}">better</text>',
    ]
    for place, (row, value) in enumerate(zip(rows, scaled, strict=True)):
        y, half = TOP + LINE * place, 1.0 if row.high > row.low else 0.0
        drawn.append(
            f'<g class="{CLASSES[row.shows]}"><title>{escape(row.words)}</title>'
            f'<text class="mark" x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(row.metric)}</text>'
            f'<line x1="{across(value - half)}" x2="{across(value + half)}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{across(value)}" cy="{y}" r="5"/></g>'
        )
    told = "; ".join(row.words for row in rows)
    return _svg(height, f"Differences of {rows[0].run} to {rows[0].first}", told, drawn)


def _in_halves(row: Row) -> float:
    """The gain in halves of its interval; of an interval of no width its sign."""
    half = (row.high - row.low) / 2
    if half > 0:
        return row.gain / half
    return 2.0 * ((row.gain > 0) - (row.gain < 0))


def shares(rows: Sequence[Row]) -> Markup:
    """Of each metric that is a mean over items, the shares of groups in which the run is ahead, even and behind."""
    tested = [row for row in rows if row.better is not None]
    if not tested:
        return Markup("")
    height, room = TOP + LINE * len(tested), WIDTH - LEFT - RIGHT
    drawn: list[str] = []
    for place, row in enumerate(tested):
        y, left = TOP + LINE * place - 9, float(LEFT)
        drawn.append(f'<text class="mark" x="{LEFT - 12}" y="{y + 13}" text-anchor="end">{escape(row.metric)}</text>')
        for css, word, part in (
            ("kept", "ahead", row.better),
            ("even", "even", row.same),
            ("dropped", "behind", row.worse),
        ):
            width = round(room * (part or 0.0), 1)
            tip = escape(f"{row.run} is {word} in {part or 0.0:.0%} of {row.groups} groups")
            drawn.append(
                f'<rect class="{css}" x="{left}" y="{y}" width="{width}" height="18"><title>{tip}</title></rect>'
            )
            left += width
    told = "; ".join(f"{r.metric}: ahead in {r.better:.0%}, behind in {r.worse:.0%}" for r in tested)
    return _svg(height, f"Where {rows[0].run} is ahead of {rows[0].first}", told, drawn)


def _svg(height: int, title: str, told: str, drawn: Sequence[str]) -> Markup:
    label = f"{escape(title)}: {escape(told)}"
    opening = f'<svg class="chart compared" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
    return Markup(f"{opening}{''.join(drawn)}</svg>")
