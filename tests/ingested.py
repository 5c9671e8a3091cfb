"""What an ingested dataset holds, as tests ask for it."""

from __future__ import annotations

from typing import Any


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    """Sidecar rows of all shards, in order."""
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


def alts_of(row: dict[str, Any]) -> list[str]:
    """The alt-texts of a row, in order."""
    return [one["text"] for one in row["captions"] if one["source"] == "alt"]


def picture_of(dataset: Any, number: int = 0) -> bytes:
    """The picture's bytes of one row of the first shard."""
    return bytes(dataset.shards[0].read_member(rows_of(dataset)[number]["media"][0]))
