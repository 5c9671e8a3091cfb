"""A variant of the damaged crawl as arrays: what is judged, what was planted, what models train on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.curation.scores import Selector, scores_of
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.evaluate.compression import TrainingPairs


@dataclass
class Crawl:
    """One variant of the crawl: what is judged, what was planted, what models train on."""

    source: str
    rows: np.ndarray  # of the dataset, that have a caption in this variant and features
    kinds: np.ndarray  # planted damage, "" where none
    domains: np.ndarray
    groups: np.ndarray  # pairs of one group are not independent
    pairs: TrainingPairs
    scores: dict[str, np.ndarray]

    @cached_property
    def digest(self) -> str:
        """Of everything a model trained on some of its rows follows from."""
        return bytes_digest(self.pairs.image.numpy(), self.pairs.text.numpy(), self.pairs.captions)


def bytes_digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def read_crawl(view: ColumnsView, source: str, truth: Any, chosen: list[Selector]) -> Crawl:
    from pairwright.components.filter.selections.caption_column import caption_column
    from pairwright.components.filter.selections.groups import labels_of
    from pairwright.components.models.dual_encoders.heads import as_features

    image, text = (view.column(f"{step}.vector") for step in ("image_features", f"features_{source}"))
    labels = labels_of(caption_column(view, source))
    usable = image.is_valid().to_numpy() & text.is_valid().to_numpy() & (labels >= 0)
    rows = np.flatnonzero(usable.astype(bool))
    features = [as_features(view.numpy(f"{step}.vector")[rows]) for step in ("image_features", f"features_{source}")]
    scores = {name: values[rows] for name, values in scores_of(view, source, chosen).items()}
    kinds = truth[source].fill_null("").to_numpy().astype(str)[rows]
    return Crawl(
        source,
        rows,
        kinds,
        truth["domain"].to_numpy().astype(str)[rows],
        _groups(view)[rows],
        TrainingPairs(features[0], features[1], labels[rows]),
        scores,
    )


def _groups(view: ColumnsView) -> np.ndarray:
    """(rows,) a number a group; a pair without one has its own."""
    table = view.sidecar(["group", "key"])
    names = [group or f"/{key}" for group, key in zip(*(table[name].to_pylist() for name in ("group", "key")))]
    return np.unique(names, return_inverse=True)[1]
