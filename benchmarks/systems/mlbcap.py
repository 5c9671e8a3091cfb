"""Captions picked and repaired by judges, against the authors' own, on charts whose counts are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import ROOT, Place, features
from pairwright.components.component import Caption
from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.recaption.captioners.figure_caption import FigureCaption, FigureCaptionSettings
from pairwright.components.recaption.captioners.repair import Repair, RepairSettings
from pairwright.components.recaption.judging.caption_judge import CaptionJudge, CaptionJudgeSettings
from pairwright.components.recaption.judging.caption_votes import CaptionVotes, CaptionVotesSettings
from pairwright.components.recaption.judging.support import content_of, numbers_of
from pairwright.components.training.here import fit_here

EVIDENCE = {"ocr": "ocr.text", "paragraph": "paragraph"}
CANDIDATES = ("looked", "read", "cited")
GOOD = 4
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "layers": 2,
    "max_words": 24,
    "steps": 300,
    "batch_size": 64,
    "lr": 2e-3,
    "warmup_steps": 20,
}


def texts_of(captions: Sequence[Caption | None]) -> list[str | None]:
    return [one.text if one else None for one in captions]


def ready(component: Any) -> Any:
    component.setup("cpu")
    return component


def looked(vectors: np.ndarray, captions: list[str | None], good: np.ndarray, seed: int) -> list[str | None]:
    """What a captioner taught the good captions of one half of the figures says of the other half."""
    said: list[str | None] = [None] * len(vectors)
    half = np.arange(len(vectors)) % 2 == 0
    for mine in (half, ~half):
        taught = np.flatnonzero(~mine & good)
        texts = {"alt": [captions[i] or "" for i in taught]}
        task = CaptionerTask(CaptionerSettings.parse(SMALL | {"seed": seed}, "claim"))
        model = fit_here(task, ArrayPopulation({"x.vector": vectors[taught]}, texts)).task.model
        found = model.generate({"image": torch.from_numpy(vectors[mine])})
        for i, one in zip(np.flatnonzero(mine), found, strict=True):
            said[i] = one[0] or None
    return said


def told(caption: str | None, chart: dict[str, Any]) -> float:
    """Share of four facts a caption tells (what, by what, the first, its count); 0 if it has a number not the chart's.

    A figure's own number is no count, so it is left out of what may be said wrong.
    """
    if not caption:
        return 0.0
    counts = {str(count) for _, count in chart["values"]}
    if not {number for number in numbers_of(caption) if int(float(number)) > 9} <= counts:
        return 0.0
    first, most = chart["values"][0]
    words = content_of(caption) | set(caption.casefold().split())
    there = [content_of(chart["of"]) <= words, content_of(chart["by"]) <= words]
    there += [set(first.casefold().split()) <= {word.strip(".,;:") for word in words}, str(most) in numbers_of(caption)]
    return float(np.mean(there))


def measure(place: Place, seed: int) -> Sides:
    at = place.folder / f"figures-{seed}"
    if not (at / "dataset.json").exists():
        ingest("figures", str(ROOT / "data" / "emoji"), str(at), seed=seed)
    dataset = open_dataset(str(at))
    steps = {"image_features": features()["image_features"], "ocr": ("ocr_text", {"side": 416})}
    view = place.view(dataset, steps)
    rows = [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]
    columns = {"ocr.text": view.column("ocr.text").to_pylist()}
    pairs = PairBatch(np.arange(len(rows), dtype=np.int32), [row["key"] for row in rows], rows, columns=columns)
    alt = pairs.captions("alt")
    scores = ready(CaptionJudge(CaptionJudgeSettings.parse(EVIDENCE, "claim"))).score(pairs)["score"]
    good = np.array([score is not None and score >= GOOD for score in scores])
    vectors = view.numpy("image_features.vector").astype(np.float32)
    pairs.extra_captions["looked"] = looked(vectors, alt, good, seed)
    for name, mix in {"read": {"ocr": "ocr.text", "said": "looked"}, "cited": {"paragraph": "paragraph"}}.items():
        writes = ready(FigureCaption(FigureCaptionSettings.parse(mix, "claim")))
        pairs.extra_captions[name] = texts_of(writes.caption(pairs))
    votes = ready(CaptionVotes(CaptionVotesSettings.parse(EVIDENCE | {"sources": CANDIDATES}, "claim"))).score(pairs)
    winners = votes["source"]
    pairs.extra_captions["picked"] = [
        None if one is None else pairs.extra_captions[one][i] for i, one in enumerate(winners)
    ]
    mended = ready(Repair(RepairSettings.parse(EVIDENCE | {"source": "picked"}, "claim"))).caption(pairs)
    charts = [json.loads(row["meta"]) for row in rows]
    sources = {"alt": alt, "repaired": texts_of(mended), **{name: pairs.extra_captions[name] for name in CANDIDATES}}
    found = {
        name: np.array([told(text, chart) for text, chart in zip(some, charts, strict=True)])
        for name, some in sources.items()
    }
    quality = [next(one["value"] for one in row["labels"] if one["name"] == "caption_quality") for row in rows]
    also = {f"facts told, {name}": float(some.mean()) for name, some in found.items()}
    also["poor captions let through"] = float(np.mean([good[i] for i, one in enumerate(quality) if one != "good"]))
    also["good captions dropped"] = float(np.mean([not good[i] for i, one in enumerate(quality) if one == "good"]))
    also |= {f"share of picks, {name}": float(np.mean([one == name for one in winners])) for name in CANDIDATES}
    return Sides(found["repaired"], found["alt"], [row["group"] for row in rows], also)


CLAIM = Claim(
    system="mlbcap",
    paper="of several models' captions of a scientific figure, what a judge picks and mends is preferred to what "
    "authors wrote (first place of the 2nd SciCap Challenge).",
    here="candidates by rules and by a small captioner, taught what the judge let through, from a chart, from what is "
    "read in it and from the paragraph that cites it; votes and repair by rules.",
    data="71 charts of the emoji's labels, a third of whose captions are poor by design, drawn anew each seed",
    baseline="the authors' captions as they are",
    metric="facts told: share of four (what, by what, the first, its count), 0 where a number is none of the chart's",
    measure=measure,
    seeds=(0, 1, 2),
)
