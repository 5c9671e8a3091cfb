"""What a scene shows, before it is painted: two things, each of a colour, a size and a number, and how they lie.

    base = Scene(Thing("dog", "red", "large"), "left of", Thing("cat", "blue", "small"))
    edits_of(base, names, draw)       # scenes that differ from it in one fact each

A relation is of the subject to the object: "the subject is left of the object".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

# Shades are those of a tinted thing, whose own light and dark stay (painting.py): as far apart in hue as six can be.
COLOURS = {
    "red": (215, 35, 40),
    "orange": (250, 140, 20),
    "yellow": (245, 220, 40),
    "green": (45, 165, 70),
    "blue": (45, 85, 225),
    "purple": (145, 60, 185),
}
SIZES = ("small", "large")
CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "on": "under"}
RELATIONS = tuple(CONVERSE)
COUNTED = tuple(one for one in RELATIONS if one != "on")  # where there may be several of a thing
MOST = 3  # of one thing
EDITS = ("colour", "object", "size", "relation", "count")
PARTS = ("subject", "object")


@dataclass(frozen=True)
class Thing:
    """One kind of thing of a scene: `count` copies, all of one colour (of COLOURS) and one size (of SIZES)."""

    name: str
    colour: str
    size: str
    count: int = 1


@dataclass(frozen=True)
class Scene:
    """`subject` is `relation` (of RELATIONS) `object`."""

    subject: Thing
    relation: str
    object: Thing

    @property
    def things(self) -> tuple[Thing, Thing]:
        return self.subject, self.object

    def with_thing(self, part: str, thing: Thing) -> Scene:
        """The scene with another thing as `subject` or `object`."""
        return replace(self, subject=thing) if part == "subject" else replace(self, object=thing)


@dataclass(frozen=True)
class Edit:
    """One fact changed: `kind` of EDITS, of which part, and the value the new scene has.

    Attributes:
        of: name of the thing that was changed, as the scene before had it.
    """

    kind: str
    part: str
    of: str
    to: str


def any_scene(names: Sequence[str], draw: np.random.Generator, counting: bool) -> Scene:
    """A scene of two differently named things of different colours; with `counting` of one to MOST copies each."""
    first, second = (names[int(i)] for i in draw.choice(len(names), 2, replace=False))
    colours = [list(COLOURS)[int(i)] for i in draw.choice(len(COLOURS), 2, replace=False)]
    counts = [int(n) for n in draw.integers(1, MOST + 1, 2)] if counting else [1, 1]
    relation = COUNTED[int(draw.integers(len(COUNTED)))] if counting else RELATIONS[int(draw.integers(len(RELATIONS)))]
    sizes = [SIZES[int(n)] for n in draw.integers(0, 2, 2)]
    things = [Thing(*said) for said in zip((first, second), colours, sizes, counts, strict=True)]
    return Scene(things[0], relation, things[1])


def edits_of(scene: Scene, names: Sequence[str], draw: np.random.Generator) -> Iterator[tuple[Edit, Scene]]:
    """Scenes that differ from it in one fact: of each kind one; without several copies two of colour, none of count."""
    counting = any(thing.count > 1 for thing in scene.things)
    kinds = EDITS if counting else (*EDITS[:-1], "colour")
    for kind, part in zip(kinds, ("subject", "object", "subject", "subject", "object"), strict=True):
        yield _edited(scene, kind, part, names, draw)


def _edited(scene: Scene, kind: str, part: str, names: Sequence[str], draw: np.random.Generator) -> tuple[Edit, Scene]:
    thing = scene.subject if part == "subject" else scene.object
    taken = {one.name for one in scene.things}

    def other(values: Sequence[str], than: set[str]) -> str:
        left = [value for value in values if value not in than]
        return left[int(draw.integers(len(left)))]

    if kind == "relation":
        # What stands on something is above it, too: no edit leads from one of these to the other.
        same = {scene.relation} | ({"on", "above"} if scene.relation in ("on", "above") else set())
        counting = any(one.count > 1 for one in scene.things)
        to = other(COUNTED if counting else RELATIONS, same)
        return Edit(kind, part, thing.name, to), replace(scene, relation=to)
    if kind == "colour":
        to = other(list(COLOURS), {one.colour for one in scene.things})
        changed = replace(thing, colour=to)
    elif kind == "object":
        to = other(names, taken)
        changed = replace(thing, name=to)
    elif kind == "size":
        to = other(SIZES, {thing.size})
        changed = replace(thing, size=to)
    else:
        count = int(other([str(n) for n in range(1, MOST + 1)], {str(thing.count)}))
        to, changed = str(count), replace(thing, count=count)
    return Edit(kind, part, thing.name, to), scene.with_thing(part, changed)


def undone(edit: Edit, scene: Scene) -> Edit:
    """The edit that leads back to `scene`, which `edit` changed."""
    thing = scene.subject if edit.part == "subject" else scene.object
    before = {
        "colour": thing.colour,
        "object": thing.name,
        "size": thing.size,
        "count": str(thing.count),
        "relation": scene.relation,
    }
    return Edit(edit.kind, edit.part, edit.to if edit.kind == "object" else thing.name, before[edit.kind])


def refuted(scene: Scene, names: Sequence[str], draw: np.random.Generator) -> Iterator[tuple[str, Scene]]:
    """(kind, scene) that the picture of `scene` is not of, by SugarCrepe's kinds (Hsieh et al., 2023).

    swap_object and swap_attribute exchange two words; replace_object, replace_attribute, replace_relation and, where
    there are several copies, replace_count put another in the place of one.
    """
    a, b = scene.things
    yield "swap_attribute", Scene(replace(a, colour=b.colour), scene.relation, replace(b, colour=a.colour))
    yield "swap_object", Scene(replace(a, name=b.name), scene.relation, replace(b, name=a.name))
    yield "replace_relation", replace(scene, relation=CONVERSE[scene.relation])
    kinds = {"replace_object": "object", "replace_attribute": "colour"}
    if a.count > 1 or b.count > 1:
        kinds["replace_count"] = "count"
    for kind, edit in kinds.items():
        yield kind, _edited(scene, edit, PARTS[int(draw.integers(2))], names, draw)[1]
