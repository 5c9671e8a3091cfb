"""What claims about captioners of text alone share: a space, both sides' vectors in it, and captions held to names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.systems.captions import SMALL, Judged
from benchmarks.systems.place import Place, features, heads
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.decoding.settings import Decoding

DIM = 256
TEXT_ONLY = {name: value for name, value in SMALL.items() if name != "image_dropout"}


class Spaced(Judged):
    """One space of the emoji's pictures and names, and both splits' vectors in it."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.seed = place, seed
        emoji, test = place.corpus("emoji"), place.corpus("emoji-test")
        told = heads("alt", dim=DIM, steps=300)
        self.space = place.train("dual_encoder", told, place.view(emoji, features("alt")), seed)
        in_space = {"model": str(self.space), "width": DIM}
        self.columns: dict[str, tuple[str, dict[str, Any]]] = features("alt") | {
            "pictures": ("image_embedding", in_space | {"features": "image_features.vector"}),
            "captions": ("text_embedding", in_space | {"features": "text_alt.vector"}),
        }
        self.train: ColumnsView = place.view(emoji, self.columns)
        self.test: ColumnsView = place.view(test, self.columns)
        super().__init__(self.test)

    def captioner(self, **settings: Any) -> Captioner:
        """One that learnt from the training names' vectors alone."""
        return load_captioner(self.place.train("text_captioner", TEXT_ONLY | settings, self.train, self.seed))

    def vectors(self, column: str) -> torch.Tensor:
        """Of the test split."""
        return torch.from_numpy(self.test.numpy(column).astype(np.float32))

    def captions(self, model: Captioner, column: str = "pictures.vector", **told: torch.Tensor) -> list[str]:
        """Of the test split's pictures, greedily."""
        given = {"image": self.vectors(column), **told}
        return [texts[0] for texts in model.generate(given, Decoding.parse({"least": 1}, "claim"))]
