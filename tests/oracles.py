"""Models that benchmarks are tried on: one that sees what the shapes are, one that guesses, one that says the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.dual_encoders.encoder import DualEncoder


class Reader(DualEncoder):
    """An oracle on shapes: reads the colour and place off the picture, and the caption's words."""

    dim = 8
    image_size = 32

    def __init__(self, noise: bool = False) -> None:
        super().__init__()
        self.noise = noise
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        random = torch.Generator().manual_seed(5)
        if self.noise:
            return torch.randn(len(images), self.dim, generator=random)
        return torch.stack([torch.from_numpy(self._facts(image)) for image in images])

    @staticmethod
    def _facts(image: np.ndarray) -> np.ndarray:
        from shapes import COLOURS

        ground = image[0, 0].astype(int)
        ink = np.abs(image.astype(int) - ground).sum(-1) > 150
        y, x = (axis.mean() / len(image) - 0.5 for axis in np.nonzero(ink))
        place = [x < -0.1, x > 0.1, y < -0.1, y > 0.1]
        colour = np.median(image[ink], axis=0)
        distances = [np.abs(colour - np.array(rgb)).sum() for rgb in COLOURS.values()]
        return np.r_[np.eye(4)[int(np.argmin(distances))], np.array(place, float)].astype(np.float32)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        from shapes import COLOURS, POSITIONS

        words = [*COLOURS, *POSITIONS]
        if self.noise:
            return torch.randn(len(texts), self.dim, generator=torch.Generator().manual_seed(6))
        return torch.tensor([[float(word in re.findall(r"\w+", text)) for word in words] for text in texts])

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(features.float(), dim=-1)

    project_text = project_image


class Constant(Reader):
    """Says the same of every picture and of every text."""

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return torch.ones(len(images), self.dim)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), self.dim)


class Broken(Reader):
    """Says of every second picture and text what is no number."""

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self._broken(super().image_features(images))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return self._broken(super().text_features(texts))

    @staticmethod
    def _broken(features: Tensor) -> Tensor:
        features[::2] = float("nan")
        return features
