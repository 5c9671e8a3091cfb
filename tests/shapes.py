"""A synthetic corpus: coloured shapes, each with a caption from a small grammar.

Colour, shape and position are drawn by the pair's number, so any two runs make the same pictures,
a picture's caption is true, and a model can learn the difference within seconds.
"""

from __future__ import annotations

import io
import json

from PIL import Image, ImageDraw

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "yellow": (235, 205, 30)}
SHAPES = ("circle", "square", "triangle")
WORDINGS = (  # of the same facts: a split in words of its own shares no caption with what is trained on
    "a {colour} {shape} on the {position}",
    "{position}: one {shape}, painted {colour}",
    "there is a {shape} in {colour} at the {position}",
)
POSITIONS = {"left": (0.28, 0.5), "right": (0.72, 0.5), "top": (0.5, 0.28), "bottom": (0.5, 0.72)}
KINDS = len(COLOURS) * len(SHAPES) * len(POSITIONS)


def facts_of(number: int) -> tuple[str, str, str]:
    """(colour, shape, position) of the pair with this number; all 48 appear in 48 consecutive ones."""
    kind = (number * 29) % KINDS  # 29 is coprime to 48: neighbours differ in every fact
    colours, shapes, positions = list(COLOURS), list(SHAPES), list(POSITIONS)
    return colours[kind % 4], shapes[kind // 4 % 3], positions[kind // 12]


def caption_text(number: int, wording: int = 0) -> str:
    colour, shape, position = facts_of(number)
    return WORDINGS[wording].format(colour=colour, shape=shape, position=position)


def picture(number: int, size: int = 96) -> Image.Image:
    """RGB `size` x `size`; shade and jitter vary with the number, so no two pictures are the same."""
    colour, shape, position = facts_of(number)
    shade = 225 + number // KINDS % 5 * 6
    image = Image.new("RGB", (size, size), (shade, shade, 255 - number % 3 * 4))
    x, y = (part * size + (number * 7 % 5 - 2) for part in POSITIONS[position])
    radius = size * (0.16 + 0.01 * (number % 4))
    box = (x - radius, y - radius, x + radius, y + radius)
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=COLOURS[colour])
    else:
        draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=COLOURS[colour])
    return image


def encoded(number: int, size: int = 96, form: str = "JPEG") -> bytes:
    """The picture as JPEG, PNG, WEBP or GIF bytes."""
    stream = io.BytesIO()
    picture(number, size).save(stream, form, **({"quality": 92} if form == "JPEG" else {}))
    return stream.getvalue()


def shapes_dataset(
    root: object,
    pairs: int = 48,
    shards: int = 2,
    *,
    size: int = 96,
    name: str = "shapes",
    start: int = 0,
    wording: int = 0,
) -> Dataset:
    """A dataset of `pairs` shapes in `shards` shards under `root`/`name` (a folder or `s3://...`).

    Each pair has an alt caption, a colour and a category label (the shape), a group (the facts) and
    KEY.json metadata. `start` shifts the numbers, for a second dataset with other pictures; `wording` is that
    of its captions.
    """
    per_shard = -(-pairs // shards)
    with ShardWriter(f"{root}/{name}", name, pairs_per_shard=per_shard, licence="CC0-1.0") as writer:
        for number in range(start, start + pairs):
            colour, shape, position = facts_of(number)
            writer.add(
                f"{number:06d}",
                [("image", "image", "jpg", encoded(number, size))],
                [caption(caption_text(number, wording), lang="en"), caption(f"{colour}, {shape}", source="keywords")],
                [("category", shape), ("colour", colour)],
                group=f"{colour}-{shape}-{position}",
                origin=f"shapes/{number}",
                meta=json.dumps({"number": number}).encode(),
            )
    return writer.dataset
