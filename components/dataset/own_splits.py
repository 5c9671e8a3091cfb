"""Evaluation splits of one's own data, where none were given: `dev` and `test` drawn from it by group.

    drawn = draw_own(dataset, store, pdq, "alt")
    write_own(dataset, drawn, folder)         # folder/dev and folder/test, datasets like any other

A tenth of the pairs goes to each, at most `MOST`. Groups are those of components/dataset/splits.py: pictures within
PDQ's radius or one normalised caption, transitively. Of more than `POOL` pairs a part is looked at, chosen by hash;
what the rest shares with a drawn pair is found when it is held out (filter/scorers/evaluation_overlap.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.dataset.media.pdq import FEATURELESS
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.splits import DEV, DRAWN_FROM, TEST, Candidate, DrawSettings, draw
from pairwright.components.errors import DatasetError

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset, Shard
    from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns

SHARE = 0.1  # of the pairs, for each split
MOST = 1_000  # pairs a split: a recall of 0.5 is known to 3 points then, and more would cost every seed its time
POOL = 10_000  # pairs that groups are sought among: every two are compared
LEAST = 10  # pairs of a dataset that can be split at all
SEEN = 1.96 + 0.84  # standard errors of a true difference that a 95% interval tells from 0 four times in five
DISAGREE = 0.5  # share of pairs on which two models differ, where nothing is known of them
SMALL = 0.2  # a split that cannot show a difference of this size is called too small


@dataclass(frozen=True)
class Drawn:
    """(row, group) of the drawn pairs, by split and shard digest, and how many could have been drawn."""

    rows: Mapping[str, Mapping[str, list[tuple[int, str]]]]
    drawable: int

    def pairs(self, split: str) -> int:
        return sum(map(len, self.rows[split].values()))


def draw_own(dataset: Dataset, store: ColumnStore, pdq: StepColumns, source: str) -> Drawn:
    """Which pairs become `dev` and `test`; the same ones on every machine.

    Args:
        pdq: where the PDQ columns of every shard are.
        source: caption source the pairs are evaluated with.

    Raises:
        DatasetError: too few pairs have a picture and a caption.
    """
    candidates, places = _candidates(dataset, store, pdq, source)
    if len(candidates) > POOL:
        nearest = sorted(range(len(candidates)), key=lambda i: hashlib.sha256(candidates[i].key.encode()).digest())
        chosen = sorted(nearest[:POOL])
        candidates, places = [candidates[i] for i in chosen], [places[i] for i in chosen]
    drawable = sum(one.drawable for one in candidates)
    wanted = min(MOST, max(2, round(SHARE * drawable)))
    rows: dict[str, dict[str, list[tuple[int, str]]]] = {DEV: {}, TEST: {}}
    if drawable >= LEAST:
        splits = draw(candidates, DrawSettings(pairs=wanted))
        for split, group, (shard, row) in zip(splits.split, splits.group, places, strict=True):
            if split in rows:
                rows[split].setdefault(shard, []).append((row, group))
    drawn = Drawn(rows, drawable)
    if min(drawn.pairs(DEV), drawn.pairs(TEST)) < 2:
        raise DatasetError(
            f"{dataset.name}: dev and test cannot be drawn from its {drawable} pairs with a picture and a caption "
            f'"{source}", which are too few or all alike; give sets of your own with --dev and --test'
        )
    return drawn


def _candidates(
    dataset: Dataset, store: ColumnStore, pdq: StepColumns, source: str
) -> tuple[list[Candidate], list[tuple[str, int]]]:
    candidates, places = [], []
    for shard, table in dataset.iter_sidecars(["captions", "error"]):
        hashed = store.read(pdq, shard, ["hash", "quality"]).to_pylist()
        for row, (about, picture) in enumerate(zip(table.to_pylist(), hashed, strict=True)):
            text = caption_of(about["captions"], source)
            telling = picture["hash"] is not None and (picture["quality"] or 0) > FEATURELESS
            bits = np.frombuffer(picture["hash"], np.uint8) if telling else None
            fine = bool(text) and telling and about["error"] is None
            candidates.append(Candidate(f"{shard.digest}/{row}", "", fine, text, bits))
            places.append((shard.digest, row))
    return candidates, places


def write_own(dataset: Dataset, drawn: Drawn, folder: Path) -> None:
    """Write `dev` and `test` under `folder`, media byte for byte; their facts say what they were drawn from."""
    for split in (DEV, TEST):
        writer = ShardWriter(
            str(folder / split),
            f"{dataset.name}_{split}",
            description=f"drawn by group from {dataset.name} and held out of training",
            licence=dataset.licence,
            facts={DRAWN_FROM: dataset.digest},
        )
        with writer:
            taken: set[str] = set()
            for number, (key, pair) in enumerate(_pairs(dataset, drawn.rows[split])):
                free = f"{key}-{number}" if key in taken else key  # keys of two shards may be the same
                taken.add(free)
                writer.add(free, **pair)


def _pairs(dataset: Dataset, rows: Mapping[str, list[tuple[int, str]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for shard in dataset.shards:
        if shard.digest in rows:
            table = shard.read_sidecar()
            for row, group in rows[shard.digest]:
                about = table.slice(row, 1).to_pylist()[0]
                yield about["key"], _pair(shard, about, group)


def _pair(shard: Shard, about: Mapping[str, Any], group: str) -> dict[str, Any]:
    with shard.open_tar() as tar:
        media = [(m["role"], m["kind"], m["member"].rpartition(".")[2], tar.read(m)) for m in about["media"]]
    said = {name: about[name] for name in ("captions", "licence", "author", "origin", "meta")}
    return {"media": media, "labels": about["labels"] or (), "group": group, **said}


def what_it_tells(pairs: int, groups: int) -> tuple[str, bool]:
    """(a sentence on what a split of this size can show, whether that is too little to decide by).

    For a share of pairs, a recall or an accuracy: its 95% interval at 0.5, and the difference between two models
    that would be seen four times in five, where they disagree on half the pairs. Groups count, not pairs.
    """
    half = 1.96 * math.sqrt(0.25 / groups)
    seen = SEEN * math.sqrt(DISAGREE / groups)
    said = f"{pairs:,} pairs in {groups:,} groups"
    if seen >= 1:
        return f"{said}: too small to tell two models apart by", True
    numbers = f"a recall of 0.5 is known to ±{half:.2f}, a difference of {seen:.2f} would be seen four times in five"
    small = seen > SMALL
    return f"{said}: {'too small to decide by: ' if small else ''}{numbers}", small
