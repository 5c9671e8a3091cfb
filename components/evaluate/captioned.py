"""A split as a captioner sees it: what it says of each picture that can be read, and the sidecar's row beside it.

    split = captioned(model, dataset)
    split.captions[0], split.tokens[0], split.texts("alt")[0]

What it says is asked once a process for each (split, model), for all benchmarks of captions. A caption that is none
(None, NaN, no word) is "", counted by `empty`, and never perfect by any metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pairwright.components.caption_metrics.tokens import tokens_of
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import DatasetError, ModelError
from pairwright.components.models.protocols import Captioner

SIDE = 224  # pixels of the shorter side that a captioner is shown, where it does not say
MAX_CACHED = 4
_cached: dict[tuple[str, str, str | None], Captioned] = {}


@dataclass(frozen=True)
class Captioned:
    """Pictures of a split that can be read, in its order, and what a captioner says of each.

    Attributes:
        captions: n texts, "" where nothing is said.
        rows: n rows of the sidecar.
        places: n (number of the shard, row in it).
        groups: n names; pictures of one group are not independent.
    """

    captions: list[str]
    rows: list[dict[str, Any]]
    places: list[tuple[int, int]]
    groups: list[str]

    @cached_property
    def tokens(self) -> list[list[str]]:
        return [tokens_of(text) for text in self.captions]

    @cached_property
    def empty(self) -> np.ndarray:
        """Captions without a word, bool (n,)."""
        return np.array([not some for some in self.tokens], bool)

    def texts(self, source: str) -> list[list[str]]:
        """Each picture's captions of a source that say something."""
        return [captions_from(row["captions"], source) for row in self.rows]

    def take(self, which: Sequence[int] | np.ndarray) -> Captioned:
        """Some of the pictures."""

        def of(values: list[Any]) -> list[Any]:
            return [values[i] for i in which]

        return Captioned(of(self.captions), of(self.rows), of(self.places), of(self.groups))


def captioned(model: Captioner, dataset: Dataset, told: str | None = None) -> Captioned:
    """What the model says of every picture.

    Args:
        told: caption source whose first text leads each caption ("" where a picture has none); None: nothing does.

    Raises:
        DatasetError: the split has no picture that can be read.
        ModelError: the model gives another number of captions than pictures.
    """
    digest = getattr(model, "folder_digest", None)
    key = (dataset.digest, str(digest), told)
    if digest is not None and key in _cached:
        return _cached[key]
    found = _read(model, dataset, told)
    if digest is not None:
        while len(_cached) >= MAX_CACHED:
            _cached.pop(next(iter(_cached)))
        _cached[key] = found
    return found


def _read(model: Captioner, dataset: Dataset, told: str | None) -> Captioned:
    found = Captioned([], [], [], [])
    for number, shard in enumerate(dataset.shards):
        for batch in read_pairs(shard, pixels=getattr(model, "image_size", SIDE)):
            images = [image for image in batch.images if image is not None]
            if not images:
                continue
            fine = [i for i, image in enumerate(batch.images) if image is not None]
            rows = [batch.sidecar[i] for i in fine]
            lead = None if told is None else [next(iter(captions_from(row["captions"], told)), "") for row in rows]
            said = model.caption(images) if lead is None else model.caption(images, lead)
            if len(said) != len(images):
                raise ModelError(f"the captioner gave {len(said)} captions of {len(images)} pictures")
            found.captions.extend(text.strip() if isinstance(text, str) else "" for text in said)
            found.rows.extend(rows)
            found.places.extend((number, int(batch.rows[i])) for i in fine)
            found.groups.extend(
                row.get("group") or f"{shard.digest}/{batch.rows[i]}" for i, row in zip(fine, rows, strict=True)
            )
    if not found.captions:
        raise DatasetError(f"{dataset.name} has no picture that can be read; ingest it again")
    return found
