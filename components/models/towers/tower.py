"""What a tower is: pictures or texts in, one feature vector each out.

A tower runs in evaluation mode always, when it is trained too: batch statistics and dropout would
make a step depend on how many workers share its batch. Gradients flow unless `features` is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.onnx.graph import Graph, graph_or_none
from pairwright.components.models.towers.pixels import squash

if TYPE_CHECKING:
    from pairwright.components.dataset.pairs import PairBatch

# Pictures a forward pass. On a CPU the activations of 8 at 224 px stay in its cache: twice as fast as 64.
IMAGE_CHUNK = {"cpu": 8, "cuda": 256}
TEXT_CHUNK = 128


class Tower(nn.Module):
    """Base of both towers.

    Attributes:
        kind: the name `towers.build_tower` knows it by.
        width: features a picture or text.
        weights: hash of the weights as loaded; None once they are trained on, so they are not shared.
        exports: whether ONNX Runtime is faster than torch at it, on a CPU.
        varying: input of `forward` -> the axes whose length varies.
    """

    kind: str = ""
    width: int = 0
    weights: str | None = None
    exports: ClassVar[bool] = False
    varying: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    _locked: bool = False
    _graph: Graph | None

    def lock(self, weights: str) -> None:
        """For good: nobody trains it, so it may run by a graph made of the weights it has now."""
        self.requires_grad_(False)
        self.weights, self._locked = weights, True

    def example(self, count: int) -> dict[str, Tensor]:
        """As many inputs of `forward`."""
        raise NotImplementedError

    def run(self, **inputs: Tensor) -> Tensor:
        """`forward` without a gradient, the fastest way: by ONNX Runtime where the tower is locked, on a CPU."""
        if not (self.exports and self._locked and self.device.type == "cpu"):
            return self.infer(**inputs)
        if "_graph" not in self.__dict__:
            assert self.weights is not None
            self.__dict__["_graph"] = graph_or_none(self, self.weights, self.example, self.varying)
        return self.infer(**inputs) if self._graph is None else self._graph(**inputs)

    def infer(self, **inputs: Tensor) -> Tensor:
        """`forward` where no gradient is wanted; a tower may have a faster way."""
        found: Tensor = self(**inputs)
        return found

    def config(self) -> dict[str, Any]:
        """All that `towers.build_tower` needs to build it again, without its weights."""
        return {"kind": self.kind, "weights": self.weights}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> Tower:
        """Stays in evaluation mode (see the module's docstring)."""
        return super().train(False)


class ImageTower(Tower):
    """`side` is the input's side in pixels; `crops` says that it reads the centre where others squash the whole."""

    side: int = 224
    crops: bool = False
    varying = {"images": (0,)}

    def example(self, count: int) -> dict[str, Tensor]:
        draw = np.random.default_rng(count)
        return {"images": torch.from_numpy(draw.integers(0, 256, (count, self.side, self.side, 3), dtype=np.uint8))}

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (n, side, side, 3) -> (n, width)."""
        raise NotImplementedError

    def with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (n, side, side, 3) -> what `forward` gives, and (n, P, width) of a picture's parts, row by row.

        Raises:
            ModelError: this tower has none to show.
        """
        raise ModelError(f"an image tower of kind {self.kind} shows no patches; name one that does")

    def pictures(self, pairs: PairBatch) -> Sequence[np.ndarray] | np.ndarray:
        """A batch's pictures, all decoded, as `features` is to be given them, turned or not.

        Whole where this tower crops, for a square no longer has its centre; else (n, side, side, 3) uint8,
        squashed once for all scorers of the batch.
        """
        if self.crops:
            return [image for image in pairs.images if image is not None]
        return pairs.squares(self.side)

    @torch.inference_mode()
    def features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """RGB uint8 pictures of any size -> (n, width) float32, without gradients."""
        parts = [
            self.run(images=torch.from_numpy(np.ascontiguousarray(squash(chunk, self.side))).to(self.device)).float()
            for chunk in batches(cast(Sequence[Any], images), IMAGE_CHUNK.get(self.device.type, 64))
        ]
        return torch.cat(parts) if parts else torch.zeros((0, self.width), device=self.device)


class TextTower(Tower):
    """`tokens` turns texts into what `forward` takes."""

    varying = {"ids": (0, 1), "mask": (0, 1)}

    def example(self, count: int) -> dict[str, Tensor]:
        return self.tokens(["a picture" + " and one more thing" * number for number in range(count)])

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """`ids` int64 (n, length) and `mask` bool (n, length), padded to the longest, on the tower's device."""
        raise NotImplementedError

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """-> (n, width)."""
        raise NotImplementedError

    def token_vectors(self) -> Tensor:
        """The vectors (vocabulary, token width) its tokens become.

        Raises:
            ModelError: it takes no other vectors in their place.
        """
        raise ModelError(f"a text tower of kind {self.kind} takes no prefix; name one that does")

    @torch.inference_mode()
    def word_vectors(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts -> the vectors of their tokens before any layer, (n, length, token width), and bool (n, length).

        Raises:
            ModelError: as `token_vectors`.
        """
        tokens = self.tokens(texts)
        return nn.functional.embedding(tokens["ids"], self.token_vectors()).float(), tokens["mask"]

    def with_prefix(self, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
        """`forward` with vectors (n, tokens, token width) before each text -> (n, width)."""
        raise NotImplementedError

    def save_tokenizer(self, folder: Path) -> None:
        """Write what `tokens` needs into a model folder."""

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (n, width) float32, without gradients; chunks of like length, so little is padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.zeros((len(texts), self.width), device=self.device)
        for chunk in batches(order, TEXT_CHUNK):
            found[list(chunk)] = self.run(**self.tokens([texts[i] for i in chunk])).float()
        return found
