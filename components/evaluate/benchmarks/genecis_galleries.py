"""GeneCIS's galleries: a reference, a condition, and a few pictures of which one is right.

    galleries_of(rows)               # those that `ingest genecis` wrote beside their reference
    scene_galleries(labels, size)    # made from composed scenes, whose facts are known

Four tasks (Vaze et al., 2023): focus on, or change, an attribute or an object of the reference. Of every gallery one
picture is right; some match the reference but not the condition, the rest the condition but not the reference, so that
neither the picture nor the text alone can tell. Of scenes, the reference is the first of its family:

    task               right: of the family         matches the reference alone    matches the condition alone
    focus_attribute    the subject's colour stays   the subject's colour changed   that colour on another thing
    change_attribute   the subject's colour changed its colour is another          the new colour on another thing
    focus_object       the object stays             the object is another thing    the object with another subject
    change_object      the object is the one asked  the object is another thing    what is asked, in another family
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TASKS = ("focus_attribute", "change_attribute", "focus_object", "change_object")


@dataclass(frozen=True)
class Gallery:
    """One query.

    Attributes:
        reference: number of the picture asked from.
        pictures: int64 (size,), numbers of the gallery's pictures, the right one first.
        matches: of each of them "both", "reference" or "condition"; empty where nobody said.
    """

    task: str
    reference: int
    condition: str
    pictures: np.ndarray
    matches: tuple[str, ...] = ()


def galleries_of(rows: Sequence[Mapping[str, Any]]) -> list[Gallery]:
    """Galleries written in their references' metadata (sources/published/genecis.py); [] if there are none.

    One whose pictures cannot all be read is left out.
    """
    place = {row["key"]: number for number, row in enumerate(rows)}
    found = []
    for number, row in enumerate(rows):
        said = json.loads(row["meta"]) if row.get("meta") else {}
        for one in said.get("galleries", ()) if isinstance(said, dict) else ():
            pictures = [place.get(key) for key in (one["target"], *one["gallery"])]
            if None not in pictures:
                found.append(Gallery(one["task"], number, one["condition"], np.array(pictures, np.int64)))
    return found


def scene_galleries(labels: Sequence[Mapping[str, str]], size: int, seed: int = 0) -> Iterator[Gallery]:
    """Galleries of composed scenes, each family's first scene asking every task that its family can answer.

    Args:
        labels: of every scene, as `ingest scenes` writes them.
        size: pictures of a gallery; smaller where there are too few that match the condition alone.
    """
    families: dict[str, list[int]] = {}
    for number, one in enumerate(labels):
        if "family" in one:
            families.setdefault(one["family"], []).append(number)
    for family, members in families.items():
        first = next((number for number in members if labels[number]["edit"] == "first"), None)
        if first is None:
            continue
        for task in TASKS:
            draw = np.random.default_rng([seed, TASKS.index(task), int(family)])
            made = _scene_gallery(labels, task, first, members, size, draw)
            if made is not None:
                yield made


def _scene_gallery(
    labels: Sequence[Mapping[str, str]],
    task: str,
    first: int,
    members: Sequence[int],
    size: int,
    draw: np.random.Generator,
) -> Gallery | None:
    """One gallery; None where the family or the others do not hold what it takes."""
    change, attribute = task.startswith("change"), task.endswith("attribute")
    fact = "subject_colour" if attribute else "object"
    start = labels[first]
    others = [number for number in members if number != first]
    if change:
        right = [number for number in others if labels[number][fact] != start[fact]]
    else:
        # Something else changed, so that the right picture is not the reference again.
        right = [number for number in others if labels[number][fact] == start[fact]]
    right = [number for number in right if labels[number]["subject"] == start["subject"]]
    if not right:
        return None
    target = int(draw.choice(right))
    value = labels[target][fact]
    apart = [number for number in others if labels[number][fact] != value]
    inside = set(members)
    alone = [number for number, one in enumerate(labels) if number not in inside and _shows(one, fact, value, start)]
    if not apart or not alone:
        return None
    apart = draw.permutation(apart)[: max(1, (size - 1) // 2)].tolist()
    alone = draw.permutation(alone)[: size - 1 - len(apart)].tolist()
    condition = f"the {start['subject']} is {value}" if attribute else f"with {value}"
    if not change:
        condition = f"the colour of the {start['subject']}" if attribute else f"the same {value}"
    pictures = np.array([target, *apart, *alone], np.int64)
    matches = ("both", *["reference"] * len(apart), *["condition"] * len(alone))
    return Gallery(task, first, condition, pictures, matches)


def _shows(scene: Mapping[str, str], fact: str, value: str, reference: Mapping[str, str]) -> bool:
    """Whether a scene of another family has what is asked for, without the reference's subject."""
    parts = ("subject_colour", "object_colour") if fact == "subject_colour" else ("subject", "object")
    strange = reference["subject"] not in (scene["subject"], scene["object"])
    return strange and value in (scene[part] for part in parts)
