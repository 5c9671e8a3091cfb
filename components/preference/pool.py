"""The pool that pictures are drawn from for labelling: rows with a picture and at least two captions.

    read_pool(open_dataset("data/raw"))                         a plain folder, no run at all
    read_pool(dataset, view=view, made=("fused",), features="pdq.hash")

A dataset of more rows than `most_rows` is read in whole shards drawn at random until there are enough,
so that labelling begins in seconds whatever its size; the random share is then a sample of those shards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.reading import IMAGE_ROLE, sidecar_rows
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.preference.candidates import SIDECAR_SOURCES, Candidate, Variant, candidates_of
from pairwright.components.preference.coverage import caption_hashes, is_picture_feature, picture_features

MOST_ROWS = 20_000


@dataclass
class Pool:
    """Rows that can be labelled; all lists have one entry a row.

    Attributes:
        places: (shard digest, row), a pair's identity.
        features: (n, d) float32, unit norm, of the pictures, or of the first captions' words.
        rewards: of each candidate, float (k,), NaN where there is none; None without a reward model.
    """

    places: list[tuple[str, int]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    candidates: list[tuple[Candidate, ...]] = field(default_factory=list)
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    rewards: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.places)


def read_pool(
    dataset: Dataset,
    *,
    sources: Sequence[str] = SIDECAR_SOURCES,
    view: ColumnsView | None = None,
    made: Sequence[str] = (),
    variants: Mapping[str, Variant] | None = None,
    features: str | None = None,
    rewards: Mapping[str, str] | None = None,
    skip: Collection[tuple[str, int]] = (),
    seed: int = 0,
    most_rows: int = MOST_ROWS,
) -> Pool:
    """Rows of the dataset with a picture and two or more distinct captions, but those in `skip`.

    Args:
        made: captioner steps of `view` whose captions are candidates, too.
        features: `step.column` of picture features (embeddings, or 256-bit hashes); caption hashes if None.
        rewards: source -> `step.column` of its captions' reward.
        skip: (shard digest, row) of pairs to leave out. Not for those sampled already: the random share is
            drawn from the whole pool, to which `sample_items` is told what was sampled `before`.

    Raises:
        DatasetError: no row has two captions; the message names the sources there are.
    """
    known = set(skip)
    pool, parts, scored = Pool(), [], []
    for shard in _drawn(dataset, seed, most_rows):
        columns = _columns_of(view, shard, made, features, rewards or {})
        picked = []
        for row, values in enumerate(sidecar_rows(shard.read_sidecar(["key", "media", "captions", "error"]))):
            if (shard.digest, row) in known or not _has_picture(values):
                continue
            texts = {step: columns[f"{step}.text"][row].as_py() for step in made if f"{step}.text" in columns}
            found = candidates_of(values["captions"], sources=sources, made=texts, variants=variants)
            if len(found) < 2:
                continue
            picked.append(row)
            pool.places.append((shard.digest, row))
            pool.keys.append(values["key"])
            pool.candidates.append(found)
            scored.append(_rewards(found, rewards or {}, columns, row))
        if features and features in columns:
            parts.append(picture_features(columns[features].take(pa.array(picked, pa.int64()))))
    if not len(pool) and not known:
        raise _nothing_to_label(dataset, sources)
    complete = bool(parts) and sum(map(len, parts)) == len(pool)
    pool.features = np.concatenate(parts) if complete else caption_hashes([c[0].text for c in pool.candidates])
    pool.rewards = scored if rewards else None
    return pool


def _drawn(dataset: Dataset, seed: int, most_rows: int) -> Iterator[Shard]:
    """Every shard in order, or shards in an order drawn at random until `most_rows` are read."""
    if dataset.rows <= most_rows:
        yield from dataset.shards
        return
    read = 0
    for number in np.random.default_rng(seed).permutation(len(dataset.shards)):
        if read >= most_rows:
            return
        read += dataset.shards[number].rows
        yield dataset.shards[number]


def _has_picture(row: Mapping[str, Any]) -> bool:
    return row["error"] is None and any(medium["role"] == IMAGE_ROLE for medium in row["media"] or ())


def _columns_of(
    view: ColumnsView | None, shard: Shard, made: Sequence[str], features: str | None, rewards: Mapping[str, str]
) -> dict[str, pa.ChunkedArray]:
    """The asked columns this shard has; a run over a sample of the shards has them for some only."""
    if view is None:
        return {}
    names = [f"{step}.text" for step in made] + ([features] if features else []) + list(rewards.values())
    found = {}
    for name in dict.fromkeys(names):
        step, column = view.split(name)
        if view.store.has(step, shard.digest):
            found[name] = view.store.read(step, shard, [column])[column]
    return found


def _rewards(
    candidates: Sequence[Candidate], rewards: Mapping[str, str], columns: Mapping[str, Any], row: int
) -> np.ndarray:
    def reward(source: str) -> float:
        column = columns.get(rewards.get(source, ""))
        value = None if column is None else column[row].as_py()
        return float("nan") if value is None else float(value)

    return np.array([reward(one.source) for one in candidates])


def _nothing_to_label(dataset: Dataset, sources: Sequence[str]) -> DatasetError:
    there: set[str] = set()
    for _, table in dataset.iter_sidecars(["captions"]):
        there.update(caption["source"] for row in table["captions"].to_pylist() for caption in row or ())
        break
    missing = [name for name in sources if name.partition("@")[0] not in there]
    hint = nearest(missing[0], there) if missing else ""
    return DatasetError(
        f"no pair of {dataset.name} has a picture and two different captions from {', '.join(sources)}{hint}; "
        "name more with --sources, or run a recipe with a captioner and give its --workspace"
    )


def feature_column(view: ColumnsView) -> str | None:
    """The `step.column` of a view that says which pictures are alike: an embedding if there is one, else a hash."""
    found: list[tuple[bool, str]] = []
    for name, step in view.steps.items():
        for shard in view.dataset.shards[:1]:
            if view.store.has(step, shard.digest):
                schema = view.store.read(step, shard).schema
                found += [
                    (pa.types.is_fixed_size_binary(one.type), f"{name}.{one.name}")
                    for one in schema
                    if is_picture_feature(one.type)
                ]
    return min(found)[1] if found else None
