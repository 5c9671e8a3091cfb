"""Corpora in miniature: the first pairs of a dataset, as a dataset of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.writer import ShardWriter

EACH = 120  # pairs of stamps and of clip-art


def in_miniature(raw: Dataset, dest: Path, each: int = EACH) -> None:
    """The first pairs of either collection, as a dataset of its own of two shards."""
    left = {"stamp": each, "clipart": each}
    with ShardWriter(str(dest), "raw", pairs_per_shard=each) as writer:
        for shard, table in raw.iter_sidecars():
            for row in table.to_pylist():
                collection = row["key"].partition("-")[0]
                if left[collection] and row["error"] is None:
                    left[collection] -= 1
                    _add(writer, shard, row)


def first_pairs(
    whole: Dataset, dest: Path, most: int = EACH, shards: int = 1, facts: Mapping[str, Any] | None = None
) -> None:
    """The first pairs of that many shards, readable or not."""
    with ShardWriter(str(dest), dest.name, pairs_per_shard=most, facts=facts) as writer:
        for shard, table in itertools.islice(whole.iter_sidecars(), shards):
            for row in table.slice(0, most).to_pylist():
                _add(writer, shard, row)


def _add(writer: ShardWriter, shard: Shard, row: dict) -> None:
    media = [(m["role"], m["kind"], m["member"].rpartition(".")[2], shard.read_member(m)) for m in row["media"]]
    about = {name: row[name] for name in ("licence", "author", "origin", "group", "meta", "error")}
    writer.add(row["key"], media, row["captions"], row["labels"], **about)
