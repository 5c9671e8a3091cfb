"""A synthetic run for the report's tests: every section filled, captions hostile, pictures drawn here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from shapes import caption_text, encoded

from pairwright.components.component import Metric
from pairwright.components.dataset.captions.word_changes import word_changes
from pairwright.components.report.data import (
    Ablation,
    Arm,
    CaptionedPair,
    CaptionLine,
    Check,
    Composition,
    Curve,
    Distribution,
    FunnelRow,
    Gate,
    LedgerCounts,
    ReportData,
    Sample,
    StageCost,
)

HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">\'"&{{7*7}}'
Picture = Callable[[int], tuple[bytes | None, str]]


def shape(number: int) -> tuple[bytes | None, str]:
    return encoded(number, 160), caption_text(number)


FUNNEL = (
    FunnelRow("large_enough", "least(image.width, image.height) >= 64", 7_408, 213, 7_195),
    FunnelRow("speaks", "caption_text.words >= 2 AND caption_text.boilerplate = false", 7_195, 1_604, 5_591),
    FunnelRow("distinct", "NOT near_duplicates.duplicate", 5_591, 1_118, 4_473),
    FunnelRow("well_aligned", "align_alt.score >= quantile(align_alt.score, 0.2)", 4_473, 894, 3_579, "0.2143"),
)


def synthetic_run(picture: Picture = shape, **changes: Any) -> ReportData:
    run: dict[str, Any] = {
        "name": "quickstart",
        "run_id": "20261121-0412-amber-heron",
        "date": "2026-11-21 04:12 UTC",
        "recipe": "name: quickstart\nfilter:\n  keep:\n    large_enough: least(image.width, image.height) >= 64\n",
        "recipe_digest": "4f1c9a77d0e2b8c35a6d",
        "seed": 17,
        "headline": "7,408 clip-art pairs became 3,579 that say what they show; their model is version 3.",
        "stages": stages(),
        "ledger": LedgerCounts(
            7_431,
            3_579,
            {row.rule: row.dropped for row in FUNNEL},
            {"decode:too_large": 2, "decode:truncated": 19},
            2,
        ),
        "funnel": FUNNEL,
        "distributions": [
            bell("align_alt.score", -0.1, 0.7, 0.2143, "41 without a value"),
            bell("caption_text.words", 0, 24, 2),
            bell("image.aspect", 0.2, 5, None, "12 beyond the ends"),
            bell("ocr_text.share", 0, 1, None),
        ],
        "gallery": samples(picture),
        "captions": captioned(picture),
        "caption_ends": {"fused": {"written": 5_204, "refusal": 387, "none": 12}, "chosen": {"from:fused": 41}},
        "curves": [curve for metric in ("loss", "dev_recall_at_1") for curve in training(metric)],
        "metrics": {"dev": metrics(0.0), "test, reported only": metrics(-0.03)},
        "ablations": [
            Ablation(
                "image to text R@1, dev",
                [
                    Arm("raw", 0.312, 0.284, 0.340, (0.301, 0.316, 0.319)),
                    Arm("curated", 0.347, 0.318, 0.376, (0.338, 0.349, 0.354)),
                    Arm("random subset", 0.309, 0.280, 0.337, (0.297, 0.311, 0.319)),
                ],
                "share of pictures whose own caption ranks first among all of the split",
                "The intervals of raw and curated overlap: three seeds do not tell them apart.",
            )
        ],
        "gates": [
            Gate("raw", True, [Check("pairs between 1,000 and 20,000", "7,431", True)]),
            Gate(
                "curated",
                False,
                [
                    Check("share kept at least 0.3", "0.48", True),
                    Check("no caption source is null", "3 nulls in 00004", False),
                    Check("median words at least 3", "2", False, "warning"),
                ],
            ),
        ],
        "lineage": lineage(),
        "composition": [
            Composition("dev by category", {"animals": 61, "food": 40, "plants": 32, "vehicles": 18, "symbols": 9}),
            Composition("sources", {"openclipart": 6_481, "stamps": 950}, "pairs in"),
        ],
        "limits": ["Drawings only: nothing here says how the model fares on photographs.", "Three seeds, two cores."],
        "warnings": ["2 pairs were lost with the tail of shard 00007"],
    }
    return ReportData(**(run | changes))


def stages() -> list[StageCost]:
    return [
        StageCost("ingest", "reused", 0.04, 7_431),
        StageCost("score", "ran", 83.2, 7_431, "image, caption_text, pdq, imagenet_tags, ocr_text in one pass"),
        StageCost("select", "ran", 2.31, 7_431),
        StageCost("gate_curated", "failed", 4.9),
        StageCost("train", "ran", 194.6, 3_579, "2 arms, 3 seeds"),
    ]


def bell(column: str, low: float, high: float, threshold: float | None, note: str = "") -> Distribution:
    bins = 40
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    heights = [math.exp(-(((i - 18) / 8) ** 2)) for i in range(bins)]
    cut = 8 if threshold is None else sum(edge < threshold for edge in edges)
    kept = [round(300 * h) if i >= cut else 0 for i, h in enumerate(heights)]
    dropped = [round(300 * h) if i < cut else round(60 * h) for i, h in enumerate(heights)]
    return Distribution(column, edges, kept, dropped, threshold, note)


def samples(picture: Picture) -> list[Sample]:
    found: list[Sample] = []
    values = {
        "large_enough": ("41", "64"),
        "speaks": ("1", "2"),
        "distinct": ("", ""),
        "well_aligned": ("0.07", "0.2143"),
    }
    for i in range(16):
        image, text = picture(i)
        found.append(Sample(f"clip-{i:05d}", "kept", image, {"alt": text, "fused": f"{text}, in red"}))
    for start, row in enumerate(FUNNEL, 2):
        for i in range(8):
            image, text = picture(start * 10 + i)
            value, threshold = values[row.rule]
            near = row.rule == "distinct"
            found.append(
                Sample(
                    f"clip-{start * 10 + i:05d}",
                    "dropped",
                    image,
                    {"alt": HOSTILE if (i, row.rule) == (0, "speaks") else text},
                    row.rule,
                    value,
                    threshold,
                    f"near_duplicate_of:clip-{i:05d}" if near else "",
                    picture(i)[0] if near else None,
                    f"clip-{i:05d}" if near else "",
                )
            )
    found.append(
        Sample("clip-09999", "failed", None, {"alt": "a map of the world"}, detail="decode:too_large:168000000px")
    )
    return found


def captioned(picture: Picture) -> list[CaptionedPair]:
    pairs = []
    for i in range(8):
        image, text = picture(60 + i)
        fused = f'{text} with a traffic light, with "STOP" on it'
        lines = [
            CaptionLine("alt", text, {"align_alt.score": 0.21}),
            CaptionLine("fused", fused, {"align_fused.score": 0.34}, "", word_changes(text, fused)),
        ]
        pairs.append(CaptionedPair(f"clip-{i:05d}", image, lines))
    image, text = picture(70)
    kept = CaptionLine("fused", text, {}, "refusal", word_changes(text, text))
    pairs.append(CaptionedPair("clip-00070", image, [CaptionLine("alt", text), kept]))
    other = CaptionLine("fused", "سيارة حمراء", {}, "", word_changes(HOSTILE, "سيارة حمراء"))
    pairs.append(CaptionedPair("clip-00071", picture(71)[0], [CaptionLine("alt", HOSTILE), other]))
    return pairs


def training(metric: str) -> list[Curve]:
    steps = list(range(0, 601, 20))
    down = metric == "loss"
    found = []
    for rank, arm in enumerate(("raw", "curated")):
        for seed in range(3):
            wiggle = [0.02 * math.sin(step / 23 + seed * 2 + rank) for step in steps]
            level = [math.exp(-step / (190 - 30 * rank)) for step in steps]
            values = [4.1 * x + 0.6 + 5 * w if down else 0.34 * (1 - x) + w for x, w in zip(level, wiggle, strict=True)]
            found.append(Curve(metric, arm, seed, steps, values))
    return found


def metrics(shift: float) -> list[Metric]:
    ranks = "over the split, the pair's own counted among all; several identical captions all count as right"
    return [
        Metric(
            "image_to_text_r@1",
            0.347 + shift,
            160,
            0.274 + shift,
            0.421 + shift,
            f"share whose caption ranks first {ranks}",
        ),
        Metric(
            "image_to_text_r@5",
            0.612 + shift,
            160,
            0.535 + shift,
            0.686 + shift,
            f"share whose caption ranks in five {ranks}",
        ),
        Metric("median_rank", 3.0, 160, 2.0, 4.5, f"median rank of the caption {ranks}", higher_is_better=False),
    ]


def lineage() -> dict[str, Any]:
    return {
        "model": {"name": "pairwright", "version": "3", "alias": "champion"},
        "run": "20261121-0412-amber-heron",
        "curated_data": {"md5": "9c1185a5c5e9fc54612808977ee8f548.dir", "pairs": "3,579"},
        "recipe": "4f1c9a77d0e2b8c35a6d3c11",
        "raw_data": {"md5": "b1946ac92492d2347c6235b4d2611184.dir", "shards": ["00000", "00001"]},
        "code": "269a12a",
    }


def texts_of(run: ReportData) -> Sequence[str]:
    """Numbers and names that must be found in the page."""
    return [row.rule.replace("_", " ") for row in run.funnel] + [f"{row.kept:,}" for row in run.funnel]
