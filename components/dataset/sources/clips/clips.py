"""Composed clips: things that cross a ground one after the other, with a narrator who is late.

    pairwright ingest clips ./build --set count=120 --set seed=0    # ./build/clips, -dev and -test, of data/emoji

A clip is one row. It has

    frames         a frame a second, each a member with its seconds (role `frames`)
    image          the frame in the middle of the first action
    subtitles      all that is said over it, as WebVTT: each action some seconds late, and small talk
    alt            what the first action is
    KEY.json       every action with its seconds, and when it was spoken of: the truth for whoever judges

Things are those of composed scenes, cut out of another dataset's pictures and tinted; those of `dev` and `test` are of
the donors' own, and no phrase of one split is in another. The same donors and seed give the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from pairwright.components.dataset.captions.subtitles import write_webvtt
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.clips.script import SECONDS, WAYS, Action, Script, any_script
from pairwright.components.dataset.sources.scenes.donors import Donor, apart, read_donors
from pairwright.components.dataset.sources.scenes.painting import ground, sized
from pairwright.components.dataset.sources.source import CopyingOptions, Progress, absolute
from pairwright.components.dataset.splits import DEV, TEST, TRAIN
from pairwright.components.errors import DatasetError

NAME = "clips"
DONORS = "data/emoji"
ENDINGS = {TRAIN: "", DEV: "-dev", TEST: "-test"}


class ClipsOptions(CopyingOptions):
    """What composed clips take."""

    count: int = Field(120, ge=1, description="clips to train on")
    evaluation_count: int = Field(24, ge=1, description="clips in each of dev and test")
    seed: int = Field(0, ge=0, description="clip n of a seed is the same, whatever the count")
    side: int = Field(96, ge=48, le=1024, description="width and height of the frames, in pixels")
    actions: int = Field(4, ge=1, le=32, description=f"things that cross a clip, each in {SECONDS} seconds")
    late: float = Field(6.0, ge=0, description="seconds that the narrator is late at most")


def read_clips(source: str, dest: str, options: ClipsOptions, progress: Progress) -> list[Dataset]:
    """Write `dest/clips`, `dest/clips-dev` and `dest/clips-test`; returns them in this order.

    Args:
        source: the dataset whose pictures are donors, with its `-dev` and `-test` beside it; "" is data/emoji.

    Raises:
        DatasetError: a donors' dataset is not there, or has fewer things with a short name than a clip has actions.
        WorkspaceError: `dest` cannot be written.
    """
    root = absolute(source or DONORS)
    donors = apart({split: read_donors(open_dataset(f"{root}{end}"))[0] for split, end in ENDINGS.items()})
    for split, found in donors.items():
        if len(found) < options.actions:
            raise DatasetError(
                f"{root}{ENDINGS[split]} has {len(found)} things with a short name, a clip has {options.actions} "
                "actions; say fewer, or name a dataset of pictures with transparency"
            )
    counts = {split: options.count if split == TRAIN else options.evaluation_count for split in ENDINGS}
    done, total, written = 0, sum(counts.values()), []
    for number, (split, ending) in enumerate(ENDINGS.items()):
        with _writer(dest, (options.name or NAME) + ending, options, split, donors[split]) as writer:
            for clip in range(counts[split]):
                draw = np.random.default_rng([options.seed, number, clip])
                writer.add(**clip_row(clip, split, donors[split], options, draw))
                done += 1
                progress(done, total, "clips")
        written.append(writer.dataset)
    return written


def clip_row(
    number: int, split: str, donors: Mapping[str, list[Donor]], options: ClipsOptions, draw: np.random.Generator
) -> dict[str, Any]:
    """A clip as keyword arguments of `ShardWriter.add`."""
    script = any_script(list(donors), split, draw, options.actions, options.late)
    used = [donors[one.thing.name][int(draw.integers(len(donors[one.thing.name])))] for one in script.actions]
    frames = painted(script, [one.rgba for one in used], options.side, draw)
    data = [_png(frame) for frame in frames]
    names = [f"frames.{at:04d}.png" for at in range(len(data))]
    first = script.actions[0]
    return {
        "key": f"{number:06d}",
        "media": [
            ("image", "image", "png", data[(first.t0 + first.t1) // 2]),
            *(("frames", "frame", name, one) for name, one in zip(names, data, strict=True)),
        ],
        "shown": {name: (float(at), at + 1.0) for at, name in enumerate(names)},
        "captions": [
            caption(first.text, "alt", 0, "en", f"{NAME}/grammar"),
            caption(write_webvtt(script.subtitles), "subtitles", 0, "en", f"{NAME}/narrator"),
        ],
        "licence": " AND ".join(sorted({one.licence for one in used if one.licence})) or None,
        "author": "; ".join(sorted({one.author for one in used if one.author})) or None,
        "origin": " and ".join(one.key for one in used),
        "group": f"{split}-{number:06d}",
        "meta": _truth(script, used),
    }


def painted(script: Script, pictures: list[np.ndarray], side: int, draw: np.random.Generator) -> list[np.ndarray]:
    """A frame a second, uint8 (side, side, 3); between actions the ground alone is seen."""
    beneath = ground(side, draw)
    frames = [beneath] * script.seconds
    for action, picture in zip(script.actions, pictures, strict=True):
        thing = sized(picture, action.thing, side)
        for second in range(action.t0, action.t1):
            frames[second] = _pasted(beneath, thing, _place(action, second, thing, side))
    return frames


def _place(action: Action, second: int, thing: np.ndarray, side: int) -> tuple[int, int]:
    """The upper left corner: across the middle, from one edge to the other."""
    share = (second - action.t0) / (action.t1 - action.t0 - 1)
    left, top = (side - size for size in (thing.shape[1], thing.shape[0]))
    x, y = WAYS[action.way]

    def along(room: int, way: int) -> int:
        return round(room * (share if way > 0 else 1 - share)) if way else room // 2

    return along(left, x), along(top, y)


def _pasted(beneath: np.ndarray, thing: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    x, y = at
    canvas = beneath.astype(np.float32)
    height, width = thing.shape[:2]
    alpha = thing[..., 3:].astype(np.float32) / 255
    canvas[y : y + height, x : x + width] += alpha * (thing[..., :3] - canvas[y : y + height, x : x + width])
    made: np.ndarray = np.rint(canvas).astype(np.uint8)
    return made


def _truth(script: Script, used: list[Donor]) -> bytes:
    actions = [
        {
            "t0": action.t0,
            "t1": action.t1,
            "text": action.text,
            "name": action.thing.name,
            "colour": action.thing.colour,
            "way": action.way,
            "spoken": spoken,
            "donor": donor.key,
        }
        for action, spoken, donor in zip(script.actions, script.spoken, used, strict=True)
    ]
    return json.dumps({"seconds": script.seconds, "actions": actions}, sort_keys=True).encode()


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _writer(dest: str, name: str, options: ClipsOptions, split: str, donors: Mapping[str, list[Donor]]) -> ShardWriter:
    credit = sorted({(donor.author, donor.licence) for some in donors.values() for donor in some})
    facts: dict[str, Any] = {
        "split": split,
        "seed": options.seed,
        "side": options.side,
        "things": len(donors),
        "attribution": [{"author": author, "licence": licence} for author, licence in credit],
    }
    return ShardWriter(
        f"{dest.rstrip('/')}/{name}",
        name,
        pairs_per_shard=options.pairs_per_shard,
        description=options.description or "Things that cross a ground one after the other, with late subtitles",
        licence=options.licence or " AND ".join(dict.fromkeys(one["licence"] for one in facts["attribution"])),
        facts=facts,
    )
