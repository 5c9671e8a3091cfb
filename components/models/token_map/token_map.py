"""The token map: a linear map from a shared space into a language model's space of tokens.

    W = procrustes(x, y)                               # (d_lm, d): argmin |W x - y| with W'W = I
    found = TokenMap.fitted(W, x, y, of=pictures)
    found.nearest(pictures, vectors, tokens, k=8)      # tokens of the language model, the nearest first

SITTA (Paischer et al., 2023, "SITTA: A semantic image-text alignment for image captioning"). Both sides are centred and
scaled to unit mean square before; by one number a side, not by one a coordinate as in the released code, so that a map
that turns the one space into the other stays one that turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.model_folder import FolderFormat, damage_named

FORMAT = FolderFormat("pairwright-token-map", 1, "token map", "`token_map` fitted")


def least_squares(x: Tensor, y: Tensor, ridge: float = 0.0) -> Tensor:
    """argmin_W sum_i |W x_i - y_i|^2 + ridge n |W|^2: (n, d), (n, d_lm) -> (d_lm, d); the least of several."""
    a, b = x.double(), y.double()
    if not ridge:
        return torch.linalg.lstsq(a, b, driver="gelsd").solution.T.float()
    gram = a.T @ a + ridge * len(a) * torch.eye(a.shape[1], dtype=a.dtype)
    return torch.linalg.solve(gram, a.T @ b).T.float()


def procrustes(x: Tensor, y: Tensor) -> Tensor:
    """argmin_W sum_i |W x_i - y_i|^2 over W'W = I (W W' = I where the second space is the smaller): (d_lm, d).

    Schoenemann (1966): W = U V' of the singular value decomposition y'x = U S V'.
    """
    u, _, vh = torch.linalg.svd(y.double().T @ x.double(), full_matrices=False)
    return (u @ vh).float()


@dataclass(frozen=True)
class Scale:
    """A space's mean (d,) and root mean square about it."""

    mean: Tensor
    spread: float

    @classmethod
    def of(cls, vectors: Tensor) -> Scale:
        mean = vectors.float().mean(0)
        return cls(mean, max(float((vectors.float() - mean).square().mean()) ** 0.5, 1e-12))

    def __call__(self, vectors: Tensor) -> Tensor:
        return (vectors.float() - self.mean) / self.spread


@dataclass(frozen=True)
class TokenMap:
    """W (d_lm, d), and what either side is centred and scaled by: pictures' vectors and tokens'."""

    weight: Tensor
    pictures: Scale
    words: Scale

    def __call__(self, pictures: Tensor) -> Tensor:
        """(n, d) vectors of pictures -> (n, d_lm), where tokens' vectors lie once centred and scaled."""
        return self.pictures(pictures) @ self.weight.T

    def nearest(self, pictures: Tensor, vectors: Tensor, tokens: Tensor, k: int) -> Tensor:
        """Of the tokens (m,), whose vectors are rows of (vocabulary, d_lm), the k of the greatest cosine: (n, k)."""
        among = F.normalize(self.words(vectors[tokens]), dim=1)
        cosine = F.normalize(self(pictures), dim=1) @ among.T
        return tokens[cosine.sort(dim=1, descending=True, stable=True).indices[:, :k]]

    def check(self, vectors: Tensor, where: str) -> None:
        """Refuse another language model than the one it leads to.

        Raises:
            ModelError: its tokens' vectors have another width or another mean.
        """
        mean = Scale.of(vectors).mean
        if mean.shape != self.words.mean.shape or not torch.allclose(mean, self.words.mean, atol=1e-4):
            raise ModelError(f"{where} is not the language model that the map was fitted for; name that one")

    def save(self, folder: Path, card: str, config: dict[str, object]) -> None:
        tensors = {"weight": self.weight, "pictures_mean": self.pictures.mean, "words_mean": self.words.mean}
        spreads = {"pictures_spread": self.pictures.spread, "words_spread": self.words.spread}
        FORMAT.write(folder, {**config, **spreads}, tensors, card)


def load_token_map(folder: str | Path) -> TokenMap:
    """The map in a folder.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no token map.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        pictures, words = (
            Scale(tensors[f"{side}_mean"], float(config[f"{side}_spread"])) for side in ("pictures", "words")
        )
        return TokenMap(tensors["weight"], pictures, words)
