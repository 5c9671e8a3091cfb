"""A dataset as a notebook reads it: pairs in order, by key, and each picture only when it is looked at.

data = open_dataset("data/raw")
for pair in data:
    print(pair.key, pair.caption("alt"), pair.picture.shape)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.examples.example import Text
from pairwright.components.dataset.media.decode import Decoded, decode
from pairwright.components.dataset.shards.reading import IMAGE_ROLE, NO_IMAGE, sidecar_rows
from pairwright.components.environment import silence
from pairwright.components.filter.rules.why import called
from pairwright.flows.planning.datasets import find_dataset

OWN_SIZE = 1 << 30  # px, more than any picture has: it is decoded as large as it is


@dataclass(frozen=True)
class Pair:
    """One pair of a dataset: what its sidecar says, and its picture on demand.

    Attributes:
        key: its name in the dataset; keys need not be unique.
        captions: every text by source, ordinal and language; the first of a source is `caption(source)`.
        labels: facts that are not captions, by name.
        error: why it is no usable pair, or None.
    """

    key: str
    captions: tuple[Text, ...]
    labels: Mapping[str, str]
    licence: str | None
    author: str | None
    origin: str | None
    error: str | None
    _shard: Shard = field(repr=False)
    _media: list[dict[str, Any]] = field(repr=False)

    def caption(self, source: str = "alt") -> str | None:
        """Its first caption of this source; "" is a caption, None means there is none."""
        return next((caption.text for caption in self.captions if caption.source == source), None)

    def read(self) -> bytes | None:
        """The picture's file as it lies in the shard; None where the pair has none.

        Raises:
            DataChanged: it is not what was indexed.
            DatasetError: the tar cannot be read.
        """
        found = next((medium for medium in self._media if medium["role"] == IMAGE_ROLE), None)
        return None if found is None else self._shard.read_member(found)

    @property
    def picture(self) -> np.ndarray | None:
        """RGB uint8 (h, w, 3) in its own size; None where there is none or it does not decode (`picture_error`).

        Raises: as `read`.
        """
        return None if self._decoded is None else self._decoded.image

    @property
    def picture_error(self) -> str | None:
        """Why there is no picture, e.g. "decode:truncated"; None where there is one."""
        return NO_IMAGE if self._decoded is None else self._decoded.error

    @cached_property
    def _decoded(self) -> Decoded | None:
        data = self.read()
        return None if data is None else decode(data, OWN_SIZE)


class Pairs:
    """An open dataset: iterate it for its `Pair`s, or ask for one by key."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def root(self) -> str:
        return self.dataset.root

    @property
    def digest(self) -> str:
        """Of what it holds, whatever it is called and wherever it lies."""
        return self.dataset.digest

    def __len__(self) -> int:
        return self.dataset.rows

    def __iter__(self) -> Iterator[Pair]:
        for shard, table in self.dataset.iter_sidecars():
            for row in sidecar_rows(table):
                yield _pair(shard, row)

    def __getitem__(self, key: str) -> Pair:
        """The first pair with this key (or `dataset/key`, or a part that one key alone holds).

        Raises:
            DatasetError: none is called that, or several hold that part.
        """
        _, found = called(self.dataset, key.removeprefix(f"{self.name}/"))
        shard, row = found[0]
        return _pair(shard, sidecar_rows(shard.read_sidecar().slice(row, 1))[0])

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self):,} pairs in {len(self.dataset.shards)} shards>"


def _pair(shard: Shard, row: Mapping[str, Any]) -> Pair:
    return Pair(
        key=row["key"],
        captions=tuple(Text(c["text"], c["source"], c["ordinal"], c["lang"]) for c in row["captions"] or ()),
        labels={label["name"]: label["value"] for label in row["labels"] or ()},
        licence=row["licence"],
        author=row["author"],
        origin=row["origin"],
        error=row["error"],
        _shard=shard,
        _media=row["media"] or [],
    )


def open_dataset(path: str) -> Pairs:
    """The dataset at a folder or address; the demo corpus is pulled on first use.

    Raises:
        DatasetError: there is none.
    """
    silence()
    return Pairs(find_dataset(str(path)))
