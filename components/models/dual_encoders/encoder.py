"""What a dual encoder is: pictures and texts into one space of unit vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE
from pairwright.components.models.dual_encoders.remembered import remembered
from pairwright.components.models.towers.pixels import RESIZE

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"  # of its folder


class DualEncoder(nn.Module):
    """What every dual encoder does; `TwoTower` and `TransformersEncoder` say how.

    Attributes:
        dim: width of the shared space.
        image_size: side in pixels of the square its image tower reads.
        image_key, text_key: name a tower's features, so that models of one tower share them; None
            where the tower was trained with this model alone.
        folder_digest: digest of the folder whose weights it has; None where they may have changed since.
        crops: whether it reads a picture's centre; else the whole is squashed to a square.
        card: the model card's text.
    """

    dim: int
    image_size: int
    crops: bool = False
    image_key: str | None = None
    text_key: str | None = None
    folder_digest: str | None = None
    card: str = ""
    log_scale: nn.Parameter
    logit_bias: nn.Parameter | None

    @property
    def resize(self) -> str:
        """How a picture becomes the tower's, in words; stands beside every figure."""
        what = "centre square, resized" if self.crops else "whole, squashed"
        return f"{what} to {self.image_size}x{self.image_size} by {RESIZE}"

    @property
    def scale(self) -> Tensor:
        """exp(t), clamped at 100."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """RGB uint8 pictures -> the tower's features, to be cached and projected; no gradient."""
        raise NotImplementedError

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> the tower's features, to be cached and projected; no gradient."""
        raise NotImplementedError

    def project_image(self, features: Any) -> Tensor:
        """(n, width) tower features -> (n, dim) unit vectors, with gradient."""
        raise NotImplementedError

    def project_text(self, features: Any) -> Tensor:
        """(n, width) tower features -> (n, dim) unit vectors, with gradient."""
        raise NotImplementedError

    def embed_pixels(self, images: Tensor) -> Tensor:
        """uint8 (n, side, side, 3) -> (n, dim) unit vectors, with gradient through the tower."""
        raise NotImplementedError

    def embed_with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (n, side, side, 3) -> unit vectors of pictures (n, dim) and of their patches (n, P, dim).

        Raises:
            ModelError: its image tower shows no patches.
        """
        raise NotImplementedError

    def embed_tokens(self, tokens: dict[str, Tensor]) -> Tensor:
        """What `tokens` gives -> (n, dim) unit vectors, with gradient through the tower."""
        raise NotImplementedError

    def pixels(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures of any size as `embed_pixels` takes them: (n, side, side, 3) uint8."""
        raise NotImplementedError

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as `embed_tokens` takes them."""
        raise NotImplementedError

    def save(self, folder: str | Path, card: str = "") -> None:
        """Write the model folder. The same weights give the same bytes."""
        raise NotImplementedError

    @torch.no_grad()
    def encode_image(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """RGB uint8 pictures of any size, or one (n, h, w, 3) -> (n, dim) unit vectors, float32."""
        return self.project_image(self.image_features(images))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (n, dim) unit vectors, float32."""
        return self.project_text(self.text_features(texts))

    @torch.no_grad()
    def index(self, images: Sequence[np.ndarray]) -> Tensor:
        """Pictures as `search` takes them: (n, dim) unit vectors."""
        return self._asked(images)

    def _asked(self, images: Sequence[np.ndarray]) -> Tensor:
        """`encode_image`, the features of a locked tower being remembered."""
        if self.image_key is None:
            return self.encode_image(images)
        return self.project_image(remembered((self.image_key, str(self.device)), images, self.image_features))

    @torch.no_grad()
    def search(
        self,
        gallery: Tensor,
        k: int,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The gallery's k best for each query of text, picture or both, whose unit vectors are then averaged.

        Raises:
            ValueError: neither is given.
        """
        sides = [] if texts is None else [self.encode_text(texts)]
        sides += [] if images is None else [self._asked(images)]
        if not sides:
            raise ValueError("a search needs texts or images")
        queries = nn.functional.normalize(torch.stack(sides).mean(0), dim=-1)
        found = (queries @ gallery.T).topk(min(k, len(gallery)), dim=1)
        return found.indices.cpu().numpy(), found.values.float().cpu().numpy()

    def encode_image_features(self, features: Any) -> Tensor:
        """Cached tower features -> (n, dim) unit vectors, no gradient."""
        with torch.no_grad():
            return self.project_image(features)

    def encode_text_features(self, features: Any) -> Tensor:
        """Cached tower features -> (n, dim) unit vectors, no gradient."""
        with torch.no_grad():
            return self.project_text(features)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep exp(t) <= 100 after an optimizer step (Radford et al., 2021)."""
        self.log_scale.clamp_(max=math.log(MAX_SCALE))
