"""Captioners by a function: of a picture's row, which they know by its pixels, and of what leads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Says = Callable[[dict[str, Any], str | None], Any]


class Speaker:
    """Speaks `captioner`; `rows` are what `knowing.pictures_by_bytes` found."""

    image_size = 128  # scenes as they are stored
    folder_digest: str | None = None

    def __init__(self, rows: dict[bytes, dict[str, Any]], says: Says, tuned_on: Sequence[str] = ()) -> None:
        self.rows, self.says, self.tuned_on, self.asked = rows, says, tuple(tuned_on), 0

    def caption(self, images: Sequence[np.ndarray], texts: Sequence[str] | None = None) -> list[Any]:
        self.asked += len(images)
        led = [None] * len(images) if texts is None else list(texts)
        return [self.says(self.rows[image.tobytes()], text) for image, text in zip(images, led, strict=True)]


class Weigher(Speaker):
    """... that also finds texts likelier by a function of the row and the text."""

    def __init__(self, rows: dict[bytes, dict[str, Any]], cost: Callable[[dict[str, Any], str], float]) -> None:
        super().__init__(rows, lambda row, led: "a picture")
        self.cost = cost

    def nats(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        pairs = zip(images, texts, strict=True)
        return np.array([self.cost(self.rows[image.tobytes()], text) for image, text in pairs], np.float64)
