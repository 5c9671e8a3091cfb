"""The report of a run as one HTML file: no network, pictures inside, at most about 6 MB.

    write_report(ReportData(name="quickstart", ...), "report.html")

Captions come from strangers, so the templates escape everything, and a content security policy lets
nothing run but the page's own script (named by its hash) and nothing load at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pairwright.components.component import Metric
from pairwright.components.dataset.shards import storage
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.look import LOOK, arm_classes
from pairwright.components.report import charts
from pairwright.components.report.data import Ablation, ReportData, Sample, StageCost
from pairwright.components.report.heat_map import heat_map
from pairwright.components.report.shares import share_chart

PICTURE_BYTES = 4_200_000  # JPEG bytes in all; base64 makes 5.6 MB of them
HERE = Path(__file__).parent
OWN = ("report.html.j2", "report.css", "report.js")


def write_report(run: ReportData, path: str | Path) -> Path:
    """Commit the report as one file.

    Raises:
        WorkspaceError: the place is read-only or full.
    """
    storage.write_bytes(str(path), render(run).encode())
    return Path(path)


def render(run: ReportData) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    # The templates lie beside this file, so that an installed package and a zip-free checkout read alike.
    run = within_size(run)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=charts.number,
        score=_score,
        count=_count,
        percent=_percent,
        duration=duration,
        jpeg=_data_uri,
        svg=_svg_uri,
        words=_words,
        listed=_listed,
        by_phase=_by_phase,
    )
    arms = arm_classes(_arms(run))
    environment.filters["arm"] = arms.__getitem__
    script, own, look, icon = (
        path.read_text(encoding="utf-8")
        for path in (HERE / "report.js", HERE / "report.css", LOOK["look.css"], LOOK["icon.svg"])
    )
    script = f"\n{script}"
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        run=run,
        style=Markup(look + own),
        icon=icon,
        mark=Markup(icon),
        script=Markup(script),
        script_hash=policy,
        histogram=charts.histogram,
        share_chart=partial(share_chart, arms=arms),
        heat_map=heat_map,
        curve_charts=_curve_charts(run, arms),
        scales=[_scale(ablation) for ablation in run.ablations],
        metric_scale=_metric_scale,
        place=_place,
        by_rule=_in_funnel_order(run),
        flags=_flags(run),
        seconds=sum(stage.seconds for stage in run.stages),
    )


def look_digest() -> str:
    """Digest of the template, the style and the script, which are no Python and so in no source digest."""
    files = [*(HERE / name for name in OWN), *LOOK.values()]
    return sha256_text(canonical([path.read_text(encoding="utf-8") for path in files]))


def within_size(run: ReportData, most: int = PICTURE_BYTES) -> ReportData:
    """The run with pictures left out, evenly from each group's end, until they fit in `most` bytes."""
    total = sum(_weight(item) for item in (*run.gallery, *run.captions))
    if total <= most:
        return run
    share = most / total
    shown: list[Sample] = []
    for _, samples in _by_rule(run.gallery):
        shown.extend(_lightest(samples, share))
    return replace(run, gallery=shown, captions=_lightest(run.captions, share))


def _lightest(items: Sequence[Any], share: float) -> list[Any]:
    """The first items that weigh at most `share` of all of them."""
    allowed, kept = share * sum(_weight(item) for item in items), []
    for item in items:
        allowed -= _weight(item)
        if allowed < 0:
            break
        kept.append(item)
    return kept


def _weight(item: Any) -> int:
    return len(item.image_jpeg or b"") + len(getattr(item, "neighbour_jpeg", None) or b"")


def _by_rule(samples: Sequence[Sample]) -> list[tuple[str, list[Sample]]]:
    """Samples by "kept", by the rule that dropped them, or "failed"."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        name = sample.status if sample.status != "dropped" else sample.rule
        groups.setdefault(name, []).append(sample)
    return list(groups.items())


def _in_funnel_order(run: ReportData) -> list[tuple[str, list[Sample]]]:
    """Groups as the funnel meets them: kept, each rule, failed."""
    ranks = {"kept": -1, "failed": len(run.funnel) + 1} | {row.rule: i for i, row in enumerate(run.funnel)}
    return sorted(_by_rule(run.gallery), key=lambda group: ranks.get(group[0], len(run.funnel)))


def _arms(run: ReportData) -> list[str]:
    """Every arm and order of the report, as they come."""
    compared = [arm.name for ablation in run.ablations for arm in ablation.arms]
    orders = [point.order for point in run.compression.points] if run.compression else []
    return [*compared, *(curve.arm for curve in run.curves), *orders]


def _curve_charts(run: ReportData, arms: Mapping[str, str]) -> list[tuple[str, Any, list[str]]]:
    """(metric, chart, arms in the order of their colours)."""
    found = []
    for metric in dict.fromkeys(curve.metric for curve in run.curves):
        own = [curve for curve in run.curves if curve.metric == metric]
        found.append((metric, charts.curves(metric, own, arms), list(dict.fromkeys(curve.arm for curve in own))))
    return found


def _scale(ablation: Ablation) -> tuple[float, float]:
    values = [v for arm in ablation.arms for v in (arm.low, arm.high, arm.mean, *arm.values)]
    return _padded(values)


def _metric_scale(metrics: Sequence[Metric], metric: Metric) -> tuple[float, float]:
    """0..1 for a proportion; else 0 to what the metrics of its magnitude reach."""
    if metric.low >= 0 and metric.high <= 1:
        return 0.0, 1.0
    if metric.low >= 0 and metric.high <= 100 and metric.name.endswith("%"):
        return 0.0, 100.0
    return 0.0, max(m.high for m in metrics if m.name == metric.name) * 1.1 or 1.0


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) * 0.12 or abs(high) * 0.1 or 0.5
    return low - margin, high + margin


def _place(value: float, scale: tuple[float, float]) -> str:
    """Position of a value on a scale, in percent for CSS."""
    low, high = scale
    part = (value - low) / (high - low) if high > low else 0.5
    return f"{100 * min(max(part, 0.0), 1.0):.2f}%"


def _flags(run: ReportData) -> Mapping[str, bool]:
    """Which sections have something to show."""
    return {
        "funnel": bool(run.funnel or run.ledger),
        "scores": bool(run.distributions),
        "pictures": bool(run.gallery),
        "captions": bool(run.captions or run.caption_ends),
        "training": bool(run.curves),
        "evaluation": bool(run.metrics),
        "ablation": bool(run.ablations),
        "compression": run.compression is not None,
        "grid": run.grid is not None,
        "figures": bool(run.figures),
        "gates": bool(run.gates),
        "lineage": bool(run.lineage),
        "corpus": bool(run.composition),
        "cost": bool(run.stages),
        "recipe": bool(run.recipe),
    }


def duration(seconds: float) -> str:
    """0.42 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "0 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _score(value: float) -> str:
    """Three decimals within [-1, 1], so that values under each other line up."""
    return f"{value:.3f}" if -1 <= value <= 1 else charts.number(value)


def _by_phase(stages: Sequence[StageCost]) -> list[tuple[str, list[StageCost]]]:
    """Stages in their order, phase by phase."""
    return [(phase, list(same)) for phase, same in groupby(stages, key=lambda stage: stage.phase)]


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _percent(part: float, whole: float, digits: int = 1) -> str:
    return f"{100 * part / whole:.{digits}f}%" if whole else "–"


def _words(name: str) -> str:
    """`near_duplicates` -> `near duplicates`."""
    return name.replace("_", " ")


def _listed(value: Any) -> str:
    """A list as `a, b`; anything else as its text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _svg_uri(text: str) -> str:
    """As a picture, in which no script of the SVG can run."""
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()


def _data_uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
