"""Painting a scene: things tinted, scaled and pasted where its relation says, each with its exact box.

    picture, boxes = paint(scene, {"dog": rgba, "cat": rgba}, side=128, draw=np.random.default_rng(0))

A thing's box is that of what is seen of it. Boxes of a scene never overlap; "on" means that the lower edge of the one
is the upper edge of the other. A thing is large if its longer side is over LARGE of the picture's, else small.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from pairwright.components.dataset.sources.scenes.scene import COLOURS, Scene, Thing

LARGE = 0.22
SHARE = {"small": 0.20, "large": 0.38}  # longer side of one copy, as a share of the picture's side
CROWDED = {1: 1.0, 2: 0.8, 3: 0.62}  # several copies are smaller, but a large one stays larger than any small one
GAP = 0.03  # least distance of two things, and of a thing from the picture's edge
SEEN = 128  # alpha from which a pixel counts as the thing's
SHADE = 0.62  # what is darkest in a thing keeps this share of its colour

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


def paint(
    scene: Scene, pictures: Mapping[str, np.ndarray], side: int, draw: np.random.Generator, ground: np.ndarray
) -> tuple[np.ndarray, list[list[Box]]]:
    """(side, side, 3) uint8, and the boxes of each thing's copies: of the subject's, of the object's.

    Args:
        pictures: RGBA uint8 by a thing's name, trimmed to what is seen.
        ground: (side, side, 3) uint8 that is painted on; it is left as it is.
    """
    copies = [[sized(pictures[thing.name], thing, side)] * thing.count for thing in scene.things]
    places = _places(scene, [[one.shape[:2] for one in some] for some in copies], side, draw)
    canvas = ground.astype(np.float32)
    for some, at in zip(copies, places, strict=True):
        for one, (x, y, right, bottom) in zip(some, at, strict=True):
            alpha = one[..., 3:].astype(np.float32) / 255
            canvas[y:bottom, x:right] += alpha * (one[..., :3] - canvas[y:bottom, x:right])
    return np.rint(canvas).astype(np.uint8), places


def sized(picture: np.ndarray, thing: Thing, side: int) -> np.ndarray:
    """The thing's picture in its colour and size, trimmed to what is seen of it then."""
    longest = round(SHARE[thing.size] * CROWDED[thing.count] * side)
    scale = longest / max(picture.shape[:2])
    shape = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return trimmed(tinted(cv2.resize(picture, shape, interpolation=cv2.INTER_AREA), COLOURS[thing.colour]))


def tinted(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """RGBA in shades of one colour: what was light in it is the colour, what was dark is SHADE of it."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    seen = grey[picture[..., 3] >= SEEN]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 255.0)
    light = (grey - low).clip(0) / max(high - low, 1.0)
    shade = SHADE + (1 - SHADE) * light.clip(max=1)
    made = np.rint(shade[..., None] * np.array(colour, np.float32)).astype(np.uint8)
    return np.concatenate([made, picture[..., 3:]], axis=2)


def trimmed(picture: np.ndarray) -> np.ndarray:
    """The part of an RGBA picture that holds all that is seen of it; what is hardly there is made invisible.

    Raises:
        ValueError: nothing is seen.
    """
    seen = picture[..., 3] >= SEEN
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        raise ValueError("nothing is seen")
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def ground(side: int, draw: np.random.Generator) -> np.ndarray:
    """A pale background: plain, shaded from one edge to the other, striped or speckled."""
    first, second = (draw.integers(205, 250, 3).astype(np.float32) for _ in range(2))
    along = np.linspace(0, 1, side, dtype=np.float32)
    kind = int(draw.integers(4))
    share: np.ndarray
    if kind == 0:
        share = np.zeros((side, side), np.float32)
    elif kind == 1:
        share = np.broadcast_to(along if draw.integers(2) else along[:, None], (side, side))
    elif kind == 2:
        stripes = (along * int(draw.integers(3, 9))).astype(np.int64) % 2
        share = np.broadcast_to(stripes if draw.integers(2) else stripes[:, None], (side, side)).astype(np.float32)
    else:
        share = cv2.GaussianBlur(draw.random((side, side), np.float32), (0, 0), side / 40)
        share = (share - share.min()) / max(float(np.ptp(share)), 1e-6)
    made: np.ndarray = np.rint(first + share[..., None] * (second - first)).astype(np.uint8)
    return made


def _places(scene: Scene, shapes: list[list[tuple[int, int]]], side: int, draw: np.random.Generator) -> list[list[Box]]:
    """Where each copy lies: the groups beside or above each other, the copies of one in a row across that."""
    sideways = scene.relation in ("left of", "right of")
    along = 1 if sideways else 0  # the axis of (height, width) in which the relation holds
    gap = round(GAP * side)
    lengths = [max(shape[along] for shape in some) for some in shapes]
    widths = [sum(shape[1 - along] for shape in some) + gap * (len(some) - 1) for some in shapes]
    order = (0, 1) if scene.relation in ("left of", "above", "on") else (1, 0)
    between = 0 if scene.relation == "on" else gap + int(draw.integers(0, max(1, side - 3 * gap - sum(lengths))) // 2)
    first = gap + int(draw.integers(0, max(1, side - 2 * gap - between - sum(lengths) + 1)))
    starts = {order[0]: first, order[1]: first + lengths[order[0]] + between}
    room = side - 2 * gap - max(widths)
    middle = gap + max(widths) / 2 + float(draw.random()) * max(room, 0)
    sway = 0.0 if scene.relation == "on" else 0.3 * (between + min(lengths))
    places: list[list[Box]] = []
    for number, some in enumerate(shapes):
        centre = middle + (float(draw.random()) - 0.5) * sway
        at = int(np.clip(round(centre - widths[number] / 2), gap, side - gap - widths[number]))
        boxes = []
        for height, width in some:
            # Copies of one thing stand on one line: the far edge of what is on or before, the near one of the rest.
            length = (height, width)[along]
            start = starts[number] + (lengths[number] - length if number == order[0] else 0)
            x, y = (start, at) if sideways else (at, start)
            boxes.append((x, y, x + width, y + height))
            at += (height, width)[1 - along] + gap
        places.append(boxes)
    return places
