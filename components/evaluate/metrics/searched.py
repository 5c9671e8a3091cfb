"""What a retriever finds, as a matrix of scores: for benchmarks that ask about more than its first k.

pictures = split_pictures(dataset, 224)
asked = scores_of(model, model.index(pictures.images), len(pictures.images), texts=texts)      # (q, n)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import DatasetError
from pairwright.components.finite import require_finite
from pairwright.components.models.protocols import Retriever

# Scores are of float32 unit vectors: what rounding may have put between two is no difference of theirs.
TIE = 1e-6


@dataclass
class SplitPictures:
    """The pictures of a split that can be read, in its order, with what the sidecar says of each."""

    images: list[np.ndarray] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def labels(self) -> list[dict[str, str]]:
        """Each picture's labels."""
        return [{one["name"]: one["value"] for one in row.get("labels") or ()} for row in self.rows]

    @property
    def groups(self) -> list[str]:
        """Each picture's group, its key where it has none."""
        return [row.get("group") or row["key"] for row in self.rows]

    def texts(self, source: str) -> list[str]:
        """Each picture's first caption of a source, "" where it has none."""
        found = [[one["text"] for one in row["captions"] or () if one["source"] == source] for row in self.rows]
        return [texts[0] or "" if texts else "" for texts in found]


def split_pictures(dataset: Dataset, side: int) -> SplitPictures:
    """Every picture, its shorter side at least `side` pixels or its own.

    Raises:
        DatasetError: none can be read.
    """
    found = SplitPictures()
    for shard in dataset.shards:
        for batch in read_pairs(shard, pixels=side):
            for image, row in zip(batch.images, batch.sidecar, strict=True):
                if image is not None:
                    found.images.append(image)
                    found.rows.append(row)
    if not found.images:
        raise DatasetError(f"{dataset.name} has no picture that can be read; ingest it again")
    return found


def scores_of(
    model: Retriever,
    gallery: Any,
    size: int,
    texts: Sequence[str] | None = None,
    images: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Each query's score of every picture of a gallery of `size`: float32 (queries, size).

    What a retriever does not return (one that scores nothing below its index's entries) is last: -inf.
    """
    numbers, scores = model.search(gallery, size, texts=texts, images=images)
    require_finite(scores, "the scores of a search")
    found = np.full((len(numbers), size), -np.inf, np.float32)
    np.put_along_axis(found, numbers, scores.astype(np.float32), axis=1)
    return found
