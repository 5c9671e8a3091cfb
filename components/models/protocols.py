"""What a benchmark may ask of a model. A model speaks a protocol by having its methods; it inherits nothing.

    PROTOCOLS["captioner"]        # -> Captioner

Which protocols the model in a folder speaks, its format says (components/models/formats.py). Pictures are RGB uint8
arrays (h, w, 3) of any size. What `load_model` gives has `folder_digest`, which names its folder's content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class DualEncoder(Protocol):
    """Pictures and texts into one space of unit vectors, by features that several models may share.

    components/models/dual_encoders/encoder.py has the class of ours, which also trains.

    Attributes:
        image_size: shortest side in pixels that its pictures need.
        image_key, text_key: name a tower, so that models of one tower share its features; None where a tower is
            this model's alone.
        folder_digest: names the model's weights where they are a folder's and cannot have changed since, else None.
    """

    image_size: int
    image_key: str | None
    text_key: str | None
    folder_digest: str | None

    @property
    def device(self) -> torch.device: ...

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """n pictures -> the tower's features (n, width)."""

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """n texts -> the tower's features (n, width)."""

    def encode_image_features(self, features: Any) -> Tensor:
        """Tower features -> (n, dim) unit vectors."""

    def encode_text_features(self, features: Any) -> Tensor:
        """Tower features -> (n, dim) unit vectors."""

    def encode_image(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """n pictures -> (n, dim) unit vectors."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """n texts -> (n, dim) unit vectors."""


@runtime_checkable
class Captioner(Protocol):
    """Says what is in a picture."""

    def caption(self, images: Sequence[np.ndarray], texts: Sequence[str] | None = None) -> list[str]:
        """A caption of each of n pictures; `texts` are n questions, alt-texts or controls that lead it."""


@runtime_checkable
class Tagger(Protocol):
    """Says which of a fixed list of words fit a picture."""

    tags: Sequence[str]

    def tag(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """n pictures -> float32 (n, len(tags)), each in [0, 1], higher for a word that fits."""


@dataclass(frozen=True)
class Detections:
    """What was found in one picture.

    Attributes:
        boxes: float32 (k, 4): left, top, right and bottom as shares of the picture's width and height.
        scores: float32 (k,), higher is surer.
        labels: k texts: the phrase that was asked for, or the detector's own word.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: list[str]


@runtime_checkable
class Detector(Protocol):
    """Finds where things are."""

    def detect(self, images: Sequence[np.ndarray], phrases: Sequence[Sequence[str]] | None = None) -> list[Detections]:
        """What is found in each of n pictures: of its own phrases, or of all the detector knows where None."""


@runtime_checkable
class Retriever(Protocol):
    """Finds pictures of a gallery for queries of text, picture or both; it may keep no dense vectors at all."""

    def index(self, images: Sequence[np.ndarray]) -> Any:
        """Pictures -> the gallery as `search` takes it."""

    def search(
        self, gallery: Any, k: int, *, texts: Sequence[str] | None = None, images: Sequence[np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The gallery's k best for each of q queries, best first: numbers int64 and scores float32, both (q, k)."""


@runtime_checkable
class PictureDecoder(Protocol):
    """Draws what a text says."""

    def draw(self, texts: Sequence[str]) -> np.ndarray:
        """A picture of each of n texts: float32 (n, side, side, 3) in [0, 1]."""


PROTOCOLS: dict[str, type] = {
    "dual_encoder": DualEncoder,
    "captioner": Captioner,
    "tagger": Tagger,
    "detector": Detector,
    "retriever": Retriever,
    "picture_decoder": PictureDecoder,
}
