"""A small run to explore: shapes with hostile captions and a broken picture, columns, and two selections."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from shapes import caption_text, encoded, facts_of

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.explore.exploration import Exploration, SelectionPlace
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import write_selection

HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2">'
STEPS = {"align": "alignment", "text": "caption_text", "near": "near_duplicates", "fused": "fuse", "emb": "features"}
LOOSE = [Rule("described", "text.words >= 3"), Rule("unique", "NOT near.drop")]
STRICT = [Rule("aligned", "align.score >= quantile(align.score, 0.5)"), Rule("green", "pair.label.colour <> 'red'")]


def explored(root: Path, pairs: int = 96, shards: int = 4) -> Exploration:
    """The exploration, with its run recorded in `root`/workspace as the flow records it."""
    dataset = _dataset(root, pairs, shards)
    store = ColumnStore(f"{root}/workspace/columns")
    steps = {step: StepColumns(component, f"digest-{step}") for step, component in STEPS.items()}
    columns, start = planted(pairs), 0
    for shard in dataset.shards:
        for step, arrays in columns.items():
            part = {name: array.slice(start, shard.rows) for name, array in arrays.items()}
            store.write(steps[step], shard.digest, part, shard.rows)
        start += shard.rows
    view = ColumnsView(dataset, store, steps)
    places = []
    for number, rules in enumerate((LOOSE, STRICT)):
        name = ("loose", "strict")[number]
        folder = f"{root}/workspace/selections/{name}"
        write_selection(view, rules, folder)
        run = f"2026112{number}-101010-000-{name}"
        places.append(SelectionPlace(name, folder, run))
        _record(root, run, name, dataset, steps, folder)
    return Exploration(places[0].label, view, tuple(places), "loose", ("fused",), f"{root}/workspace")


def planted(pairs: int) -> dict[str, dict[str, pa.Array]]:
    """step -> column -> values; every tenth score is missing, pair 7 is a near-duplicate of pair 5."""
    random = np.random.default_rng(3)
    scores = random.normal(0.3, 0.1, pairs).astype(np.float32)
    drop = np.arange(pairs) == 7
    group = np.where(drop, 5, np.arange(pairs))
    return {
        "align": {"score": pa.array(scores, mask=np.arange(pairs) % 10 == 9), "_error": pa.nulls(pairs, pa.string())},
        "text": {"words": pa.array((np.arange(pairs) % 9).astype(np.int32)), "boilerplate": pa.array([False] * pairs)},
        "near": {
            "drop": pa.array(drop),
            "of": pa.array(["000005" if d else None for d in drop], pa.string()),
            "distance": pa.array([12 if d else None for d in drop], pa.int32()),
            "group": pa.array(group, pa.int64()),
        },
        "fused": {
            "text": pa.array([f"fused {caption_text(i)}" if i % 3 else None for i in range(pairs)], pa.string()),
            "lang": pa.array(["en"] * pairs),
            "note": pa.nulls(pairs, pa.string()),
            "status": pa.nulls(pairs, pa.string()),
        },
        "emb": {
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=pairs * 4).astype(np.float32)), 4)
        },
    }


def _dataset(root: Path, pairs: int, shards: int) -> Any:
    per_shard = -(-pairs // shards)
    with ShardWriter(f"{root}/data", "shapes", pairs_per_shard=per_shard, licence="CC0-1.0") as writer:
        for number in range(pairs):
            colour, shape, _ = facts_of(number)
            alt = HOSTILE if number == 2 else caption_text(number)
            data = b"\xff\xd8\xff broken" if number == 4 else encoded(number)
            writer.add(
                f"{number:06d}",
                [("image", "image", "jpg", data)],
                [caption(alt, lang="en"), caption(f"{colour}, {shape}", source="keywords", producer="a crawler")],
                [("category", shape), ("colour", colour)],
                group=f"{colour}-{shape}",
                origin=f"https://example.org/{number}",
            )
    return writer.dataset


def _record(root: Path, run: str, recipe: str, dataset: Any, steps: dict[str, StepColumns], folder: str) -> None:
    record = {
        "id": run,
        "recipe": recipe,
        "started": f"{run[:4]}-{run[4:6]}-{run[6:8]}T10:10:10",
        "dataset": {"name": dataset.name, "digest": dataset.digest, "root": dataset.root},
        "columns": {name: asdict(place) for name, place in steps.items()},
        "captions": ["fused"],
        "results": {"selection_folder": folder},
    }
    storage.write_json(f"{root}/workspace/runs/{run}/run.json", record)
