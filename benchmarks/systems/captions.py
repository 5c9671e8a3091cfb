"""What claims about captioners share: one small captioner, and captions held against the pictures' own names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.systems.place import TEXT, Place, features
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.towers.towers import load_text_tower

SMALL: dict[str, Any] = {
    "source": "alt",
    "image_dropout": 0.5,
    "layers": 2,
    "width": 128,
    "steps": 400,
    "batch_size": 128,
    "lr": 2e-3,
    "warmup_steps": 20,
}
DATA = "emoji, 5,555 pairs, judged on emoji-test, 682"


class Judged:
    """The pictures of a test split, and captions of them held against their names by a sentence encoder."""

    def __init__(self, test: ColumnsView) -> None:
        """`test` has the columns of `features("alt")`."""
        vectors = test.numpy("text_alt.vector").astype(np.float32)
        _, first, own = np.unique(vectors.round(4), axis=0, return_index=True, return_inverse=True)
        self.names = torch.nn.functional.normalize(torch.from_numpy(vectors[first]), dim=1)  # four artists share one
        self.own = torch.from_numpy(own.reshape(-1, 1))  # which of the names is each picture's
        self.groups = test.sidecar(["group"])["group"].to_pylist()

    def cosines(self, captions: list[str]) -> torch.Tensor:
        """(n, names): each caption with each name, by a sentence encoder that saw neither."""
        tower = load_text_tower(TEXT)
        with torch.no_grad():
            said = torch.cat([tower.features(captions[at : at + 128]) for at in range(0, len(captions), 128)])
        return torch.nn.functional.normalize(said, dim=1) @ self.names.T

    def found(self, captions: list[str]) -> tuple[np.ndarray, float]:
        """Whether a picture's name is among the five nearest of its caption, 0 or 1 (n,), and their mean cosine."""
        cosines = self.cosines(captions)
        own = cosines.gather(1, self.own)
        return ((cosines > own).sum(1) < 5).numpy().astype(np.float64), float(own.mean())


class Captioned(Judged):
    """A captioner learnt from the emoji's names, and the pictures of the test split it is asked about."""

    def __init__(self, place: Place, seed: int) -> None:
        steps = features("alt")
        self.model: Captioner = load_captioner(
            place.train("captioner", SMALL, place.view(place.corpus("emoji"), steps), seed)
        )
        test = place.view(place.corpus("emoji-test"), steps)
        self.images = torch.from_numpy(test.numpy("image_features.vector").astype(np.float32))
        super().__init__(test)

    def captions(self, **decoding: Any) -> list[list[str]]:
        return self.model.generate({"image": self.images}, Decoding.parse({"least": 1} | decoding, "claim"))
