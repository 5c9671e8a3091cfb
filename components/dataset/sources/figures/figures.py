"""Figures: charts of how another dataset's labels fall, each with an author's caption and the paragraph that cites it.

    pairwright ingest figures data/emoji build/figures

No scientific figures are in any package; these are charts as papers have them, of true counts. A figure has

    alt         its author's caption; one in three is poor (texts.py)
    paragraph   what cites it
    labels      `kind` (bar, line), `caption_quality` (good, or the kind of poor), and the facts: of, by, top, most
    KEY.json    the chart itself

Its text is to be read (`ocr_text`); the group is what is counted. The same dataset gives the same bytes.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.figures.chart import Chart, charts_of
from pairwright.components.dataset.sources.figures.drawing import drawn
from pairwright.components.dataset.sources.figures.texts import POOR, good_caption, paragraph, poor_caption
from pairwright.components.dataset.sources.source import CopyingOptions, Progress, absolute
from pairwright.components.errors import DatasetError

NAME = "figures"


class FiguresOptions(CopyingOptions):
    """What figures take."""

    count: int = Field(240, ge=1, description="figures at most, drawn from all charts there are")
    poor: float = Field(1 / 3, ge=0, le=1, description="share of captions that are poor")
    seed: int = Field(0, ge=0, description="of what is drawn")


def read_figures(source: str, dest: str, options: FiguresOptions, progress: Progress) -> Dataset:
    """Write the figures of a dataset's labels at `dest`.

    Raises:
        DatasetError: it has no two labels to count by.
        WorkspaceError: `dest` cannot be written.
    """
    charts = list(charts_of(open_dataset(absolute(source))))
    if len(charts) < 2:
        raise DatasetError(f"{source} has no labels that its pairs could be counted by; name one with labels")
    draw = np.random.default_rng(options.seed)
    chosen = [charts[i] for i in sorted(draw.permutation(len(charts))[: options.count].tolist())]
    told = options.description or "Charts of a dataset's labels, with captions good and poor and citing paragraphs"
    licence = options.licence or "CC0-1.0"
    name = options.name or NAME
    with ShardWriter(
        absolute(dest), name, pairs_per_shard=options.pairs_per_shard, description=told, licence=licence
    ) as writer:
        for number, chart in enumerate(chosen, 1):
            writer.add(**_row(number, chart, chosen, options, np.random.default_rng([options.seed, number])))
            progress(number, len(chosen), "figures")
    return writer.dataset


def _row(
    number: int, chart: Chart, others: list[Chart], options: FiguresOptions, draw: np.random.Generator
) -> dict[str, Any]:
    """A figure as keyword arguments of `ShardWriter.add`."""
    quality = POOR[int(draw.integers(len(POOR)))] if draw.random() < options.poor else "good"
    foreign = [one for one in others if one.of != chart.of] or others
    other = foreign[int(draw.integers(len(foreign)))]
    said = good_caption(chart, draw) if quality == "good" else poor_caption(quality, chart, other, number, draw)
    return {
        "key": f"{number:05d}",
        "media": [("image", "image", "png", _png(drawn(chart)))],
        "captions": [
            caption(said, "alt", 0, "en", f"{NAME}/{quality}"),
            caption(paragraph(chart, number, draw), "paragraph", 0, "en", NAME),
        ],
        "labels": [
            ("kind", chart.kind),
            ("caption_quality", quality),
            ("of", chart.of),
            ("by", chart.by),
            ("top", chart.top[0]),
            ("most", str(chart.top[1])),
        ],
        "licence": "CC0-1.0",
        "group": chart.of,
        "meta": json.dumps(asdict(chart), sort_keys=True).encode(),
    }


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
