"""Sidecar rows and pictures of a dataset by (shard digest, row), and captions as the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.hashing import sha256_text
from pairwright.components.report.pictures import thumbnail_of


class Rows:
    """One sidecar is read once; `columns` are those of `view` that are asked for, by their full names."""

    def __init__(self, dataset: Dataset, view: ColumnsView | None = None, columns: Sequence[str] = ()) -> None:
        self.shards = {shard.digest: shard for shard in dataset.shards}
        self.view, self.columns = view, columns
        self._sidecars: dict[str, pa.Table] = {}
        self._made: dict[str, pa.Table] = {}

    def row(self, shard: str, row: int) -> dict[str, Any]:
        if shard not in self._sidecars:
            self._sidecars[shard] = self.shards[shard].read_sidecar(["key", "media", "captions"])
        found: dict[str, Any] = self._sidecars[shard].slice(row, 1).to_pylist()[0]
        return found

    def key(self, entry: Mapping[str, Any]) -> str:
        return str(self.row(entry["shard"], entry["row"])["key"])

    def picture(self, shard: str, row: int) -> bytes | None:
        return thumbnail_of(self.shards[shard], self.row(shard, row))

    def made(self, shard: str, row: int) -> dict[str, Any]:
        """The row's values of every column asked for."""
        if self.view is None or not self.columns:
            return {}
        if shard not in self._made:
            self._made[shard] = self.view.read_shard(self.shards[shard], self.columns)
        found: dict[str, Any] = self._made[shard].slice(row, 1).to_pylist()[0]
        return found


def first_texts(captions: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """First caption of each source that a sidecar's row has, in the row's order."""
    found: dict[str, str] = {}
    for caption in captions or ():
        if caption["text"]:
            found.setdefault(caption["source"], caption["text"])
    return found


def drawn(entries: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` entries in the order of their digests: the same ones of the same entries, wherever they stand."""
    return sorted(entries, key=lambda entry: sha256_text(f"{seed}/{entry['shard']}/{entry['row']}"))[:count]
