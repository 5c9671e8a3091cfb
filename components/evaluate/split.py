"""An evaluation split in memory: pictures' and captions' tower features, captions, groups, labels.

Tower features are computed once a process for each (split, tower), so that six models on one split
cost one pass of the tower.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import DatasetError
from pairwright.components.finite import require_finite
from pairwright.components.models.encoder import DualEncoder

MAX_CACHED = 16  # (split, tower) entries; a split of 250 pairs is about 2 MB
_cached: dict[tuple[str, str, str], Any] = {}


@dataclass(frozen=True)
class SplitFeatures:
    """Features of the usable pairs of a split, in its order.

    Attributes:
        image: (n, image tower's width) float32.
        text: (n, text tower's width) float32, of the captions.
        captions: n texts of the source asked for.
        groups: n names; pairs of one group are not independent.
        labels: n dicts of the sidecar's labels.
        skipped: pairs without a readable picture or without a caption.
    """

    image: Tensor
    text: Tensor
    captions: list[str]
    groups: list[str]
    labels: list[dict[str, str]]
    skipped: int


@dataclass
class _Facts:
    """What is known of the usable pairs besides features."""

    captions: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    skipped: int = 0


def features_of(model: DualEncoder, dataset: Dataset, source: str = "alt") -> SplitFeatures:
    """The model's tower features of a split.

    Raises:
        DatasetError: the split has no pair with a picture and a caption of this source.
        NotFinite: a tower gave a feature that is not.
    """
    split = f"{dataset.digest}/{source}"
    image_key = f"{model.image_key}/{model.device}" if model.image_key else None
    text_key = f"{model.text_key}/{model.device}" if model.text_key else None
    facts, image = _once(("image", split, image_key), lambda: _read(model, dataset, source))
    text = _once(("text", split, text_key), lambda: model.text_features(facts.captions).clone())
    require_finite(image, f"the picture features of {dataset.name}")
    require_finite(text, f"the caption features of {dataset.name}")
    return SplitFeatures(image, text, facts.captions, facts.groups, facts.labels, facts.skipped)


def _once(key: tuple[str, str, str | None], make: Callable[[], Any]) -> Any:
    """`make()`, remembered unless the key's last part is None (a tower trained with its model)."""
    kind, split, tower = key
    if tower is None:
        return make()
    if (kind, split, tower) not in _cached:
        while len(_cached) >= MAX_CACHED:
            _cached.pop(next(iter(_cached)))
        _cached[kind, split, tower] = make()
    return _cached[kind, split, tower]


def _read(model: DualEncoder, dataset: Dataset, source: str) -> tuple[_Facts, Tensor]:
    """Facts and image features of the pairs that have a good picture and a caption."""
    facts = _Facts()
    parts: list[Tensor] = []
    for shard in dataset.shards:
        for batch in read_pairs(shard, pixels=model.image_size):
            texts = batch.captions(source)
            fine = [i for i, image in enumerate(batch.images) if image is not None and texts[i]]
            facts.skipped += len(batch) - len(fine)
            if not fine:
                continue
            parts.append(model.image_features([image for i in fine if (image := batch.images[i]) is not None]).clone())
            for i in fine:
                row = batch.sidecar[i]
                facts.captions.append(texts[i] or "")
                facts.groups.append(row.get("group") or f"{shard.digest}/{batch.rows[i]}")
                facts.labels.append({label["name"]: label["value"] for label in row.get("labels") or ()})
    if not parts:
        raise DatasetError(f'{dataset.name} has no pair with a picture and a caption "{source}"; name another source')
    return facts, torch.cat(parts)


def normalised(caption: str) -> str:
    """A caption as compared: Unicode-folded, lower case, single spaces, without a final full stop."""
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().split()).rstrip(".! ")


def positives_of(split: SplitFeatures) -> np.ndarray:
    """bool (n, n): pair i's picture and pair j's caption belong together.

    They do if i = j, if both are of one group, or if their captions are the same text.
    """
    groups = np.unique(np.asarray(split.groups), return_inverse=True)[1].reshape(-1)
    texts = np.unique(np.asarray([normalised(text) for text in split.captions]), return_inverse=True)[1].reshape(-1)
    same: np.ndarray = (groups[:, None] == groups[None, :]) | (texts[:, None] == texts[None, :])
    return same
