"""An evaluation split in memory: pictures' and captions' tower features, captions, groups, labels.

Tower features are computed once a process for each (split, tower), so that six models on one split cost one
pass of the tower, and several benchmarks of a model one of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.reading import read_pairs, sidecar_rows
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.finite import require_finite
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.protocols import DualEncoder
from pairwright.components.models.towers.tower import ImageTower

T = TypeVar("T")

MAX_CACHED = 16  # (what, of what, tower) entries; a split of 250 pairs is about 2 MB
_cached: dict[tuple[str, str, str], Any] = {}


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split that can be read, in its order; no caption is asked for.

    Attributes:
        image: (n, image tower's width) float32.
        groups: n names; pictures of one group are not independent.
        labels: n dicts of the sidecar's labels.
        rows: which rows of each shard they are.
        skipped: pairs without a readable picture.
    """

    image: Tensor
    groups: list[str]
    labels: list[dict[str, str]]
    rows: list[list[int]]
    skipped: int


@dataclass(frozen=True)
class SplitFeatures:
    """Features of a split's pictures that have a caption, and of all their captions, in its order.

    Attributes:
        image: (n, image tower's width) float32.
        text: (m, text tower's width) float32, of the captions.
        captions: m texts of the source asked for; a picture may have several.
        picture: int64 (m,), ascending: which picture each caption is of.
        groups: n names; pairs of one group are not independent.
        labels: n dicts of the sidecar's labels.
        skipped: pairs without a readable picture or without a caption.
        rows: which rows of each shard the pictures are.
    """

    image: Tensor
    text: Tensor
    captions: list[str]
    picture: np.ndarray
    groups: list[str]
    labels: list[dict[str, str]]
    skipped: int
    rows: list[list[int]] = field(default_factory=list)

    @property
    def caption_groups(self) -> list[str]:
        """m names: the group of each caption's picture."""
        return [self.groups[i] for i in self.picture]

    def positives(self) -> Positives:
        """Which captions are right answers of which pictures."""
        return Positives.of(self.captions, self.picture, self.groups)


def pictures_of(model: DualEncoder, dataset: Dataset) -> Pictures:
    """The model's tower features of a split's pictures.

    Raises:
        DatasetError: the split has no picture that can be read.
        NotFinite: a tower gave a feature that is not.
    """
    found = _once(("image", dataset.digest, _key(model, model.image_key)), lambda: _read(model, dataset))
    require_finite(found.image, f"the picture features of {dataset.name}")
    return found


def features_of(model: DualEncoder, dataset: Dataset, source: str = "alt") -> SplitFeatures:
    """The model's tower features of a split's pictures and of all their captions of a source.

    Raises:
        DatasetError: the split has no pair with a picture and a caption of this source.
        NotFinite: a tower gave a feature that is not.
    """
    every = pictures_of(model, dataset)
    texts = captions_of(dataset, every.rows, source)
    asked = [i for i, of_one in enumerate(texts) if of_one]
    if not asked:
        raise DatasetError(f'{dataset.name} has no pair with a picture and a caption "{source}"; name another source')
    captions = [text for i in asked for text in texts[i]]
    number = itertools.count()
    rows = [[row for row in of_shard if texts[next(number)]] for of_shard in every.rows]
    return SplitFeatures(
        image=every.image if len(asked) == len(texts) else every.image[asked],
        text=text_features_of(model, captions, dataset.name),
        captions=captions,
        picture=np.repeat(np.arange(len(asked)), [len(texts[i]) for i in asked]),
        groups=[every.groups[i] for i in asked],
        labels=[every.labels[i] for i in asked],
        skipped=every.skipped + len(texts) - len(asked),
        rows=rows,
    )


def pictures_again(dataset: Dataset, rows: list[list[int]], pixels: int) -> Iterator[list[np.ndarray]]:
    """The pictures of these rows of each shard once more, decoded, batch by batch; all of them can be read."""
    for shard, of_shard in zip(dataset.shards, rows, strict=True):
        for batch in read_pairs(shard, pixels=pixels, rows=of_shard) if of_shard else ():
            yield [image for image in batch.images if image is not None]


def tower_features_of(tower: ImageTower, dataset: Dataset, rows: list[list[int]]) -> np.ndarray:
    """What a tower that is not the model's makes of the pictures of these rows: (n, width) float32.

    Raises:
        NotFinite: a feature is not.
    """

    def make() -> np.ndarray:
        parts = [tower.features(images).float().cpu().numpy() for images in pictures_again(dataset, rows, tower.side)]
        return np.concatenate(parts)

    found = _once(("tower", f"{dataset.digest}/{sha256_text(canonical(rows))}", tower.weights), make)
    require_finite(found, f"the features of {dataset.name}'s pictures")
    return found


def text_features_of(model: DualEncoder, captions: list[str], name: str) -> Tensor:
    """The model's tower features of captions: (m, width) float32.

    Raises:
        NotFinite: the tower gave one that is not; `name` says of what.
    """
    key = ("text", sha256_text(canonical(captions)), _key(model, model.text_key))
    text = _once(key, lambda: model.text_features(captions).clone())
    require_finite(text, f"the caption features of {name}")
    return text


def _key(model: DualEncoder, tower: str | None) -> str | None:
    """What names a tower's features: the tower, or the folder of a model that trained it; None if nothing does."""
    name = tower or model.folder_digest
    return f"{name}/{model.device}" if name else None


def _once(key: tuple[str, str, str | None], make: Callable[[], T]) -> T:
    """`make()`, remembered unless the key's last part is None (a tower that may still be trained)."""
    kind, of, tower = key
    if tower is None:
        return make()
    if (kind, of, tower) not in _cached:
        while len(_cached) >= MAX_CACHED:
            _cached.pop(next(iter(_cached)))
        _cached[kind, of, tower] = make()
    found: T = _cached[kind, of, tower]
    return found


@dataclass
class _Facts:
    """What is known of the readable pictures besides features."""

    groups: list[str] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    skipped: int = 0


def _read(model: DualEncoder, dataset: Dataset) -> Pictures:
    facts = _Facts()
    parts: list[Tensor] = []
    for shard in dataset.shards:
        facts.rows.append([])
        for batch in read_pairs(shard, pixels=model.image_size):
            fine = [i for i, image in enumerate(batch.images) if image is not None]
            facts.skipped += len(batch) - len(fine)
            if not fine:
                continue
            parts.append(model.image_features([image for i in fine if (image := batch.images[i]) is not None]).clone())
            for i in fine:
                row = batch.sidecar[i]
                facts.rows[-1].append(int(batch.rows[i]))
                facts.groups.append(row.get("group") or f"{shard.digest}/{batch.rows[i]}")
                facts.labels.append({label["name"]: label["value"] for label in row.get("labels") or ()})
    if not parts:
        raise DatasetError(f"{dataset.name} has no picture that can be read; ingest it again")
    return Pictures(torch.cat(parts), facts.groups, facts.labels, facts.rows, facts.skipped)


def captions_of(dataset: Dataset, rows: list[list[int]], source: str) -> list[list[str]]:
    """Each picture's captions of a source that are not empty; [] where it has none."""
    found = []
    for shard, of_shard in zip(dataset.shards, rows, strict=True):
        if of_shard:
            table = shard.read_sidecar(["captions"]).take(of_shard)
            found += [captions_from(row["captions"], source) for row in sidecar_rows(table)]
    return found
