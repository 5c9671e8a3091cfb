"""Media of examples: read by byte range, held against their checksums, decoded to what a task wishes.

    arrays, reasons = read_media(examples, shards, entries, reads, pool, clock)

A medium that cannot be read or decoded is a reason, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.examples.clock import DECODE, READ, Clock
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.view import WHOLE, View, views
from pairwright.components.dataset.examples.wish import AudioWish, FramesWish, ImageWish, MediaWish, Reads
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.frames import clip_frames, sampled
from pairwright.components.dataset.media.sound import sound
from pairwright.components.errors import DataChanged, DatasetError

MISSING = "read:missing"

Entry = Mapping[str, Any]  # of the sidecar's `media`


@dataclass(frozen=True)
class Wanted:
    """One medium of one example, to be read: its entries in order of their ordinal, and how it is seen."""

    shard: Shard
    entries: Sequence[Entry]
    wish: MediaWish
    view: View
    optional: bool


Found = tuple[np.ndarray | None, str | None]  # what was decoded, or why it was not


def read_media(
    examples: Examples,
    shards: Sequence[Shard],
    entries: Sequence[Sequence[Entry]],
    reads: Reads,
    pool: Executor | None,
    clock: Clock,
) -> tuple[dict[str, list[np.ndarray | None]], list[str | None], dict[str, list[View]]]:
    """Every role's media, why an example cannot be read (None if it can), and how its pictures are seen.

    Args:
        examples: of which keys, seed and epoch are known.
        shards, entries: of each example, its shard and its media.
    """
    seen = {
        role: views(examples, role, wish) if not isinstance(wish, AudioWish) else [WHOLE] * len(examples)
        for role, wish in reads.media.items()
    }
    wanted = [
        Wanted(shard, _of_role(found, role), wish, view, role in reads.optional)
        for role, wish in reads.media.items()
        for shard, found, view in zip(shards, entries, seen[role])
    ]

    def get(one: Wanted) -> Found:
        return _read(one, clock)

    made = list(pool.map(get, wanted)) if pool is not None else [get(one) for one in wanted]
    media: dict[str, list[np.ndarray | None]] = {}
    reasons: list[str | None] = [None] * len(examples)
    for at, role in enumerate(reads.media):
        of_role = made[at * len(examples) : (at + 1) * len(examples)]
        media[role] = [array for array, _ in of_role]
        reasons = [reason or why for reason, (_, why) in zip(reasons, of_role)]
    return media, reasons, seen


def _of_role(entries: Sequence[Entry], role: str) -> list[Entry]:
    return sorted((entry for entry in entries if entry["role"] == role), key=lambda entry: entry["ordinal"] or 0)


def _read(one: Wanted, clock: Clock) -> Found:
    if not one.entries:
        return None, None if one.optional else MISSING
    entries = one.entries
    if isinstance(one.wish, FramesWish) and len(entries) > 1:
        entries = _sampled_members(entries, one.wish.count)
    else:
        entries = entries[:1]
    read: dict[str, bytes] = {}
    try:
        with clock(READ):
            for entry in entries:
                if entry["member"] not in read:
                    read[entry["member"]] = one.shard.read_member(entry)
    except DataChanged:
        return None, "read:changed"
    except DatasetError:
        return None, "read:failed"
    with clock(DECODE):
        data = [read[entry["member"]] for entry in entries]
        if isinstance(one.wish, AudioWish):
            return sound(data[0], one.wish.rate, one.wish.seconds)
        if isinstance(one.wish, FramesWish):
            return _clip(data, one.wish, one.view)
        return _picture(data[0], one.wish, one.view)


def _sampled_members(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Evenly over time where every member says when it is shown, else evenly over the members."""
    timed = all(entry["t0"] is not None and entry["t1"] is not None for entry in entries)
    seconds = [max(entry["t1"] - entry["t0"], 1e-3) if timed else 1.0 for entry in entries]
    return [entries[at] for at in sampled(seconds, count).tolist()]


def _picture(data: bytes, wish: ImageWish, view: View) -> Found:
    found = decode(data, view.min_side(wish.side))
    return (None, found.error) if found.image is None else (view.of(found.image, wish.side), None)


def _clip(data: Sequence[bytes], wish: FramesWish, view: View) -> Found:
    """(count, h, w, 3) uint8; members of other sizes are made as large as the first."""
    side = view.min_side(wish.side)
    if len(data) == 1:
        frames, error = clip_frames(data[0], wish.count, side)
    else:
        frames, error = _stacked(data, side)
    return (None, error) if frames is None else (np.stack([view.of(frame, wish.side) for frame in frames]), None)


def _stacked(data: Sequence[bytes], side: int) -> Found:
    import cv2

    frames: list[np.ndarray] = []
    known: dict[int, np.ndarray] = {}
    for one in data:
        if id(one) not in known:
            found = decode(one, side)
            if found.image is None:
                return None, found.error
            known[id(one)] = found.image
        frame = known[id(one)]
        size = frames[0].shape[1::-1] if frames else frame.shape[1::-1]
        frames.append(frame if frame.shape[1::-1] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    return np.stack(frames), None
