"""Items: pictures to label with the captions shown, as sampled and as a label store keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from pairwright.components.preference.candidates import Candidate

SHARES = CHOSEN, RANDOM = "chosen", "random"


@dataclass(frozen=True)
class Item:
    """A picture to label, with the captions shown. `share` is "chosen" or "random"; `uncertainty` in [0, 1]."""

    shard: str
    row: int
    key: str
    candidates: tuple[Candidate, ...]
    share: str
    uncertainty: float


@dataclass(frozen=True)
class StoredItem:
    """An item as stored; `wanted` is how many labellers should answer it."""

    id: int
    shard: str
    row: int
    key: str
    candidates: tuple[Candidate, ...]
    share: str
    uncertainty: float
    wanted: int
