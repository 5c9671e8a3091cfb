"""Composed retrieval in the small: pictures of two facts as vectors, modifications in words, any kind of retriever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.composed.net import scores
from pairwright.components.models.resolve import resolve_model
from pairwright.components.training.here import fit_here

TINY = {"image_tower": resolve_model("builtin:tiny-image"), "text_tower": resolve_model("builtin:tiny-text")}
WIDTH = 64  # of both tiny towers
NOUNS = ("ant", "bear", "camel", "deer", "eagle", "fox")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")


class Scorer:
    """A retriever by a function of (reference, text, gallery) -> scores; either side may be None.

    `read` is what a picture is turned into first, once.
    """

    image_size = 128

    def __init__(
        self,
        score: Callable[[Any, str | None, list[Any]], Sequence[float]],
        read: Callable[[np.ndarray], Any] = lambda picture: picture,
    ) -> None:
        self.score, self.read = score, read

    def index(self, images: Sequence[np.ndarray]) -> list[Any]:
        return [self.read(one) for one in images]

    def search(self, gallery: Any, k: int, *, texts: Any = None, images: Any = None) -> tuple[np.ndarray, np.ndarray]:
        count = len(images if images is not None else texts)
        found = np.array(
            [
                self.score(
                    None if images is None else self.read(images[i]), None if texts is None else texts[i], gallery
                )
                for i in range(count)
            ],
            np.float32,
        )
        numbers = np.argsort(-found, axis=1, kind="stable")[:, :k]
        return numbers, np.take_along_axis(found, numbers, 1)


class Planted:
    """Pictures of a noun in a colour, as vectors (n, 64) or as four patches (n, 4 * 64): one each, and two of noise."""

    def __init__(self, seed: int, each: int = 3, noise: float = 0.25) -> None:
        known = np.random.default_rng(99)  # the world is one; pictures of it are drawn anew
        self.noun_vectors, self.colour_vectors = known.normal(size=(2, 6, WIDTH)).astype(np.float32)
        draw = np.random.default_rng(seed)
        self.nouns = np.tile(np.repeat(np.arange(6), 6), each)
        self.colours = np.tile(np.arange(6), 6 * each)
        n = len(self.nouns)
        patches = noise * draw.normal(size=(n, 4, WIDTH)).astype(np.float32)
        patches[:, 0] += self.noun_vectors[self.nouns]
        patches[:, 1] += self.colour_vectors[self.colours]
        self.patches = patches.reshape(n, -1)
        self.vectors = patches[:, :2].sum(1) + patches[:, 2]
        # The reference of each: the same noun in another colour, drawn.
        shift = draw.integers(1, 6, n)
        before = (self.colours + shift) % 6
        where = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(self.nouns, self.colours, strict=True))}
        self.references = np.array([where[int(a), int(b)] for a, b in zip(self.nouns, before, strict=True)])

    @property
    def modifications(self) -> list[str]:
        return [f"make it {COLOURS[c]}" for c in self.colours]

    def population(self, texts: dict[str, list[str]], patches: bool = False) -> ArrayPopulation:
        keys = [f"k{i}" for i in range(len(self.nouns))]
        labels = {"reference": [keys[i] for i in self.references]}
        column = {"patch_features.vector": self.patches} if patches else {"image_features.vector": self.vectors}
        return ArrayPopulation(column, texts, keys=keys, labels=labels)

    def r1(self, queries: torch.Tensor, targets: torch.Tensor) -> float:
        """Share whose first picture, the reference aside, is of the right noun and colour."""
        found = scores(queries, targets)
        found[torch.arange(len(found)), torch.from_numpy(self.references)] = -torch.inf
        first = found.argmax(1).numpy()
        return float(((self.nouns[first] == self.nouns) & (self.colours[first] == self.colours)).mean())


def fitted(task: Any, population: ArrayPopulation) -> Any:
    """The task, trained in this process; its network in evaluation mode."""
    fit_here(task, population)
    task.model.eval()
    return task


def built(task: Any, population: ArrayPopulation) -> Any:
    """The task with its modules, untrained."""
    task.population, task.device = population, torch.device("cpu")
    torch.manual_seed(0)
    task.model = task.build()
    return task
