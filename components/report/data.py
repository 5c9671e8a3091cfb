"""What a report shows: plain facts of one run, handed over by the flow. Every part may be empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pairwright.components.component import Metric

Status = Literal["kept", "dropped", "failed"]


@dataclass(frozen=True)
class StageCost:
    """One stage of the run. `seconds` of wall clock in this run; `rows` it worked on, None if it has none."""

    name: str
    status: Literal["ran", "reused", "failed", "skipped"]
    seconds: float
    rows: int | None = None
    detail: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Spared:
    """What a model did not have to look at, because a rule had dropped the pair already (`lazy: true`).

    Attributes:
        after: the last of the rules that were applied first.
        pairs, spared: how many it saw, and how many it did not.
        seconds_a_pair: of one worker, in the step alone, as measured on the pairs it saw.
        seconds_saved: worker seconds, `spared` times that.
    """

    step: str
    after: str
    pairs: int
    spared: int
    seconds_a_pair: float
    seconds_saved: float


@dataclass(frozen=True)
class LedgerCounts:
    """Pairs in = kept + dropped + failed + unknown."""

    pairs_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0


@dataclass(frozen=True)
class FunnelRow:
    """One keep-rule: pairs that reached it, that it dropped, that went on. `threshold` is the frozen one, as text."""

    rule: str
    expression: str
    entered: int
    dropped: int
    kept: int
    threshold: str = ""


@dataclass(frozen=True)
class Distribution:
    """Histogram of one column over kept and dropped pairs. `edges` has one more entry than the counts."""

    column: str
    edges: Sequence[float]
    kept: Sequence[int]
    dropped: Sequence[int]
    threshold: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """One pair to look at, with the reason it was kept or dropped.

    Attributes:
        image_jpeg: a thumbnail, JPEG; None if the picture could not be decoded.
        captions: text by source.
        rule: the rule that dropped it; "" for a kept pair.
        neighbour_jpeg: the kept picture that a near-duplicate lies close to.
    """

    key: str
    status: Status
    image_jpeg: bytes | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    value: str = ""
    threshold: str = ""
    detail: str = ""
    neighbour_jpeg: bytes | None = None
    neighbour_key: str = ""


@dataclass(frozen=True)
class CaptionLine:
    """One caption of a picture.

    Attributes:
        source: who wrote it: a source of the sidecar, or a step.
        scores: by `step.column`.
        note: why another caption stood in, or what was chosen; "" for one that was written as asked.
        changes: (kind, words) against the caption it was made of, kind being "same", "ins" or "del"; empty for the
            original, and where the two have nothing in common.
    """

    source: str
    text: str
    scores: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    changes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class CaptionedPair:
    """A picture with all its captions."""

    key: str
    image_jpeg: bytes | None = None
    captions: Sequence[CaptionLine] = ()


@dataclass(frozen=True)
class Curve:
    """One training run's values of one metric, by step."""

    metric: str
    arm: str
    seed: int
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Arm:
    """One arm of an ablation: the mean over seeds, its interval, and each seed's value."""

    name: str
    mean: float
    low: float
    high: float
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Ablation:
    """Arms compared on one metric at equal steps and equal seeds. `verdict` says in words what it shows."""

    metric: str
    arms: Sequence[Arm]
    definition: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class SharePoint:
    """Models trained on one kept share of the pairs, against models trained on all of them.

    Attributes:
        low, high: 90% interval of the difference; its lower end is the one-sided 95% bound.
        not_worse: that bound lies above minus the margin.
    """

    order: str
    share: float
    kept: int
    mean: float
    difference: float
    low: float
    high: float
    not_worse: bool
    power: float


@dataclass(frozen=True)
class Compression:
    """Quality over kept share, one order's points after the other's; `whole` is the mean of training on all."""

    points: Sequence[SharePoint]
    whole: float
    margin: float
    seeds: int
    definition: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class GridCell:
    """Models of one mix: captions of a format, `share` of them alt-text; the mean over seeds and its 95% interval.

    Attributes:
        to_format, to_alt: of a mix, the difference to the format alone and to alt-text alone, better being positive:
            `value`, `low`, `high`, `decides`; None where there is none.
    """

    format: str
    share: float
    mean: float
    low: float
    high: float
    values: Sequence[float] = ()
    to_format: Mapping[str, Any] | None = None
    to_alt: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Grid:
    """A caption grid, row by row."""

    cells: Sequence[GridCell]
    metric: str
    seeds: int
    split: str
    higher_is_better: bool = True
    definition: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture a step drew of its own work, as SVG text."""

    title: str
    svg: str
    caption: str = ""
    step: str = ""


@dataclass(frozen=True)
class Check:
    """One expectation of a gate and what was observed."""

    expectation: str
    observed: str
    passed: bool
    severity: str = "critical"


@dataclass(frozen=True)
class Gate:
    name: str
    passed: bool
    checks: Sequence[Check] = ()


@dataclass(frozen=True)
class Composition:
    """Counts of one fact over a corpus: categories of a split, sources, licences."""

    name: str
    counts: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True)
class ReportData:
    """One run.

    Attributes:
        dataset: what it ran on; sample: of how many of its shards, where not of all.
        decision: whether the model was promoted, and why.
        verdicts: every comparison of arms in words, those that show a difference first.
        lineage: drawn as a chain in its own order, from the served model back to the data.
    """

    name: str
    dataset: str = ""
    sample: str = ""
    run_id: str = ""
    date: str = ""
    decision: str = ""
    stands_on: Sequence[str] = ()  # which data each evaluation split is of, and what it can show
    verdicts: Sequence[str] = ()
    recipe: str = ""  # resolved, with every default
    recipe_written: str = ""  # as it stands in its file
    recipe_extends: Sequence[str] = ()  # the files that one is a change of, the nearest first
    recipe_digest: str = ""
    seed: int | None = None
    headline: str = ""
    stages: Sequence[StageCost] = ()
    spared: Sequence[Spared] = ()
    not_spared: Mapping[str, str] = field(default_factory=dict)  # model -> why it saw every pair nevertheless
    ledger: LedgerCounts | None = None
    funnel: Sequence[FunnelRow] = ()
    distributions: Sequence[Distribution] = ()
    gallery: Sequence[Sample] = ()
    captions: Sequence[CaptionedPair] = ()
    caption_ends: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    metrics: Mapping[str, Sequence[Metric]] = field(default_factory=dict)
    ablations: Sequence[Ablation] = ()
    compression: Compression | None = None
    grid: Grid | None = None
    figures: Sequence[Figure] = ()
    gates: Sequence[Gate] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    composition: Sequence[Composition] = ()
    limits: Sequence[str] = ()
    warnings: Sequence[str] = ()
