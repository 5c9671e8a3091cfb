"""Models that know what they are told: vectors by a function of the picture and one of the text."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.sources.scenes.scene import COLOURS
from pairwright.components.models.dual_encoders.encoder import DualEncoder

THING = rf"(a|two|three) (small|large) ({'|'.join(COLOURS)}) ([a-z]+?)s?"
HOW = r"to the left of|to the right of|above|below|on|under"
SAID = re.compile(rf"{THING}(?: is| are)?(?: drawn)? ({HOW}) {THING}(?: here)?$")
TURNED = {"to the right of": "to the left of", "below": "above", "under": "on"}


def facts_of(sentence: str) -> tuple[Any, ...]:
    """What a scene's sentence says, the same for all that say the same."""
    said = SAID.search(sentence)
    assert said, sentence
    groups = said.groups()
    first, how, second = groups[:4], groups[4], groups[5:]
    return (second, TURNED[how], first) if how in TURNED else (first, how, second)


def vector_of(said: Any, width: int = 64) -> Tensor:
    """A random direction of its own for everything that can be said."""
    seed = int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[:8], "big")
    return torch.from_numpy(np.random.default_rng(seed).normal(size=width)).float()


def pictures_by_bytes(dataset: Dataset) -> dict[bytes, dict[str, Any]]:
    """Each picture's row, labels as a mapping and meta read, by its pixels."""
    found = {}
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            if row["media"]:
                with Image.open(io.BytesIO(shard.read_member(row["media"][0]))) as image:
                    pixels = np.asarray(image.convert("RGB")).tobytes()
                labels = {one["name"]: one["value"] for one in row["labels"]}
                texts = {one["source"]: one["text"] for one in reversed(row["captions"])}  # the first of each
                found[pixels] = row | {"labels": labels, "texts": texts, "graph": json.loads(row["meta"])}
    return found


class Knowing(DualEncoder):
    """Unit vectors by two functions."""

    dim, image_size = 64, 128  # scenes as they are stored

    def __init__(self, of_picture: Callable[[np.ndarray], Tensor], of_text: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.of_picture, self.of_text = of_picture, of_text
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return torch.stack([self.of_picture(np.ascontiguousarray(one)) for one in images])

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.of_text(one) for one in texts])

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(features.float(), dim=-1)

    project_text = project_image
