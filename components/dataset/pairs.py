"""A batch of pairs, as scorers and captioners see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One frame of a clip: shown from second `t0` to `t1`, as encoded."""

    t0: float
    t1: float
    data: bytes


@dataclass
class PairBatch:
    """Pairs of one shard, in row order. All lists have one entry a pair.

    Attributes:
        rows: row numbers in the shard, int32 (n,).
        keys: the pairs' keys.
        sidecar: the sidecar's rows as dicts with `captions`, `labels`, `licence`, `origin`, ...
        images: RGB uint8 arrays (h, w, 3), shorter side at least what the scorers asked for (or the
            picture's own); None where it could not be decoded, or no scorer of this pass opens images.
        raw: encoded image bytes; None unless asked for, or where the tar holds none.
        facts: header facts of each picture: {"width", "height", "format", "bytes"} in its own size.
        errors: why the picture could not be read or decoded, e.g. "decode:truncated"; None if it could.
        frames: each clip's frames in order of time; None unless asked for, or where a pair is no clip.
        extra_captions: captions made by earlier steps, by source (the step's name).
    """

    rows: np.ndarray
    keys: list[str]
    sidecar: list[dict[str, Any]]
    images: list[np.ndarray | None] = field(default_factory=list)
    raw: list[bytes | None] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)
    extra_captions: dict[str, list[str | None]] = field(default_factory=dict)
    frames: list[list[Frame] | None] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)  # `step.column` values asked for by `Columns`
    _squares: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def captions(self, source: str) -> list[str | None]:
        """First caption of this source for each pair; "" is a caption, None means there is none."""
        if source in self.extra_captions:
            return self.extra_captions[source]
        return [caption_of(row["captions"], source) for row in self.sidecar]

    def squares(self, size: int) -> np.ndarray:
        """Pictures squashed to (n, size, size, 3) uint8, made once a batch and shared by scorers.

        Aspect ratio is not kept. Undecoded pictures must not be in the batch.
        """
        if size not in self._squares:
            import cv2

            views = [
                image
                if image.shape[:2] == (size, size)
                else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
                for image in self.images
                if image is not None
            ]
            self._squares[size] = np.stack(views) if views else np.zeros((0, size, size, 3), np.uint8)
        return self._squares[size]

    def take(self, which: Sequence[int]) -> PairBatch:
        """The pairs at these positions, as a batch of their own."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in which] if values else []

        index = np.asarray(which, dtype=np.int64)
        return PairBatch(
            self.rows[index],
            pick(self.keys),
            pick(self.sidecar),
            pick(self.images),
            pick(self.raw),
            pick(self.facts),
            pick(self.errors),
            {name: pick(values) for name, values in self.extra_captions.items()},
            pick(self.frames),
            {name: pick(values) for name, values in self.columns.items()},
            {size: square[index] for size, square in self._squares.items() if len(square) == len(self)},
        )


def caption_of(captions: Sequence[dict[str, Any]] | None, source: str) -> str | None:
    """First caption of a source (`alt`) or of a source in a language (`translation@de`); None if absent."""
    name, _, lang = source.partition("@")
    for caption in captions or ():
        if caption["source"] == name and (not lang or caption["lang"] == lang):
            text: str | None = caption["text"]
            return text
    return None


def captions_from(captions: Sequence[dict[str, Any]] | None, source: str) -> list[str]:
    """Every caption of a source that says something; of several languages, those of the first one's or of `@de`."""
    name, _, lang = source.partition("@")
    mine = [one for one in captions or () if one["source"] == name and one["text"]]
    wanted = lang or (mine[0]["lang"] if mine else None)
    return [one["text"] for one in mine if one["lang"] == wanted]
