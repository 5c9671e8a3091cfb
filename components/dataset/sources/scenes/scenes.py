"""Composed scenes: two kinds of thing on a ground, and everything that is true of them.

    pairwright ingest scenes ./build --set count=2000 --set seed=0    # ./build/scenes, -dev and -test, of data/emoji

Scenes come in families: a first one, and others that differ from it in one fact each. A scene has

    alt            its caption, by a grammar (grammar.py)
    paraphrase     the same facts in other words, told from the other thing's side
    negative       what is false of it by one or two words; `producer` ends in the kind of change (scene.py, `refuted`)
    modification   what had to be changed in the scene that its label `reference` names to get this one
    regions        the exact box of each copy of each thing, labelled by the thing's name
    labels         family, edit, reference, relation; name, colour, size and count of the subject and of the object
    KEY.json       all of it as one graph, with names of things that are not there (`absent`)

A family is a group. Things are cut out of other datasets' pictures and tinted (painting.py), so that a colour is true.
Things of `dev` and `test` are those of the donors' own `-dev` and `-test`: no picture, no name and no sentence frame of
one split is in another. Family number n of a seed is the same whatever the count; the same donors give the same bytes.
"""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.shards.sidecar import caption, region
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.scenes.donors import Donor, apart, read_donors
from pairwright.components.dataset.sources.scenes.grammar import asked, describe, paraphrase
from pairwright.components.dataset.sources.scenes.painting import Box, ground, paint
from pairwright.components.dataset.sources.scenes.scene import (
    PARTS,
    Edit,
    Scene,
    any_scene,
    edits_of,
    refuted,
    undone,
)
from pairwright.components.dataset.sources.source import CopyingOptions, Progress, absolute
from pairwright.components.dataset.splits import DEV, TEST, TRAIN
from pairwright.components.errors import DatasetError

NAME = "scenes"
DONORS = "data/emoji"
ENDINGS = {TRAIN: "", DEV: "-dev", TEST: "-test"}
FAMILY = 6  # scenes: the first and its five edits
FEWEST = 6  # names of things that a split needs
ABSENT = 5  # names of things that are not there, told with each scene


class ScenesOptions(CopyingOptions):
    """What composed scenes take."""

    count: int = Field(2000, ge=FAMILY, description="scenes to train on; whole families of 6 are made")
    evaluation_count: int = Field(480, ge=FAMILY, description="scenes in each of dev and test, likewise")
    seed: int = Field(0, ge=0, description="family n of a seed is the same, whatever the count")
    side: int = Field(128, ge=64, le=1024, description="width and height of the pictures, in pixels")
    counting: float = Field(0.3, ge=0, le=1, description="share of families with up to three copies of a thing")


@dataclass(frozen=True)
class Member:
    """A scene of a family: what was changed, seen from the scene its `reference` (place in the family) is."""

    scene: Scene
    reference: int
    edit: Edit
    changed: str  # what this scene is by: "first", or the kind of the edit


def read_scenes(source: str, dest: str, options: ScenesOptions, progress: Progress) -> list[Dataset]:
    """Write `dest/scenes`, `dest/scenes-dev` and `dest/scenes-test`; returns them in this order.

    Args:
        source: the dataset whose pictures are donors, with its `-dev` and `-test` beside it; "" is data/emoji.

    Raises:
        DatasetError: a donors' dataset is not there, or has too few things with a short name.
        WorkspaceError: `dest` cannot be written.
    """
    root = absolute(source or DONORS)
    read = {split: read_donors(open_dataset(f"{root}{ending}")) for split, ending in ENDINGS.items()}
    donors = apart({split: found for split, (found, _) in read.items()})
    for split, found in donors.items():
        if len(found) < FEWEST:
            raise DatasetError(
                f"{root}{ENDINGS[split]} has {len(found)} things with a short name and a picture to cut out, scenes "
                f"need {FEWEST}; name a dataset of pictures with transparency, e.g. `pairwright ingest emoji data`"
            )
    counts = {split: options.count if split == TRAIN else options.evaluation_count for split in ENDINGS}
    total, done, written = sum(-(-count // FAMILY) for count in counts.values()), 0, []
    for number, (split, ending) in enumerate(ENDINGS.items()):
        facts = _facts(split, donors[split], read[split][1], options, posixpath.basename(root))
        with _writer(dest, (options.name or NAME) + ending, options, facts) as writer:
            for family in range(-(-counts[split] // FAMILY)):
                draw = np.random.default_rng([options.seed, number, family])
                for row in family_rows(family, split, donors[split], options, draw):
                    writer.add(**row)
                done += 1
                progress(done, total, "families")
        written.append(writer.dataset)
    return written


def family_rows(
    family: int, split: str, donors: Mapping[str, list[Donor]], options: ScenesOptions, draw: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """A family's scenes as keyword arguments of `ShardWriter.add`, on one ground, each thing by one donor."""
    names = list(donors)
    members = list(_members(names, draw, draw.random() < options.counting))
    shown = {one.name for member in members for one in member.scene.things}
    chosen = {name: donors[name][int(draw.integers(len(donors[name])))] for name in names if name in shown}
    beneath = ground(options.side, draw)
    pictures = {name: donor.rgba for name, donor in chosen.items()}
    for number, member in enumerate(members):
        picture, boxes = paint(member.scene, pictures, options.side, draw, beneath)
        used = [chosen[thing.name] for thing in member.scene.things]
        absent = [name for name in (names[int(i)] for i in draw.permutation(len(names))) if name not in shown][:ABSENT]
        negatives = list(refuted(member.scene, names, draw))
        keys = f"{family:06d}-{number}", f"{family:06d}-{member.reference}"
        yield {
            "key": keys[0],
            "media": [("image", "image", "png", _png(picture))],
            "captions": _captions(member, negatives, split),
            "labels": _labels(member, family, keys[1]),
            "licence": " AND ".join(sorted({donor.licence for donor in used if donor.licence})) or None,
            "author": "; ".join(sorted({donor.author for donor in used if donor.author})) or None,
            "origin": f"{used[0].key} and {used[1].key}",
            "group": f"{split}-{family:06d}",
            "meta": _graph(member, boxes, used, absent, keys[1], options.side),
            "regions": [
                region([x / options.side for x in box], thing.name, caption=0, source=NAME)
                for thing, some in zip(member.scene.things, boxes, strict=True)
                for box in some
            ],
        }


def _members(names: list[str], draw: np.random.Generator, counting: bool) -> Iterator[Member]:
    """The first scene, whose reference is its first edit, and the edits, whose reference is the first scene."""
    first = any_scene(names, draw, counting)
    edits = list(edits_of(first, names, draw))
    yield Member(first, 1, undone(edits[0][0], first), "first")
    for edit, scene in edits:
        yield Member(scene, 0, edit, edit.kind)


def _captions(member: Member, negatives: list[tuple[str, Scene]], split: str) -> list[dict[str, Any]]:
    def said(text: str, source: str, ordinal: int = 0, how: str = "grammar") -> dict[str, Any]:
        return caption(text, source, ordinal, "en", f"{NAME}/{how}")

    kind = f"modification/{member.edit.kind}"
    return [
        said(describe(member.scene, split), "alt"),
        said(paraphrase(member.scene, split), "paraphrase"),
        *(said(describe(wrong, split), "negative", n, how) for n, (how, wrong) in enumerate(negatives)),
        said(asked(member.edit, member.scene, split), "modification", how=kind),
    ]


def _labels(member: Member, family: int, reference: str) -> list[tuple[str, str]]:
    facts = [("family", f"{family:06d}"), ("edit", member.changed), ("reference", reference)]
    facts.append(("relation", member.scene.relation))
    for part, thing in zip(PARTS, member.scene.things, strict=True):
        facts += [(part, thing.name), (f"{part}_colour", thing.colour)]
        facts += [(f"{part}_size", thing.size), (f"{part}_count", str(thing.count))]
    return facts


def _graph(
    member: Member, boxes: list[list[Box]], used: list[Donor], absent: list[str], reference: str, side: int
) -> bytes:
    """The scene graph as JSON; boxes in pixels."""
    things = [
        asdict(thing) | {"boxes": some, "donor": donor.key}
        for thing, some, donor in zip(member.scene.things, boxes, used, strict=True)
    ]
    said = {
        "side": side,
        "things": things,
        "relations": [[0, member.scene.relation, 1]],
        "absent": absent,
        "edit": asdict(member.edit) | {"reference": reference},
    }
    return json.dumps(said, sort_keys=True).encode()


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _facts(
    split: str, donors: Mapping[str, list[Donor]], refused: Mapping[str, int], options: ScenesOptions, source: str
) -> dict[str, Any]:
    credit = sorted({(donor.author, donor.licence) for some in donors.values() for donor in some})
    return {
        "split": split,
        "seed": options.seed,
        "side": options.side,
        "donors": f"{source}{ENDINGS[split]}",
        "things": len(donors),
        "pictures_of_things": sum(len(some) for some in donors.values()),
        "no_donors": dict(sorted(refused.items())),
        "attribution": [{"author": author, "licence": licence} for author, licence in credit],
    }


def _writer(dest: str, name: str, options: ScenesOptions, facts: dict[str, Any]) -> ShardWriter:
    told = "Two kinds of thing composed on a ground, in families of six that differ in one fact"
    return ShardWriter(
        f"{dest.rstrip('/')}/{name}",
        name,
        pairs_per_shard=options.pairs_per_shard,
        description=options.description or told,
        licence=options.licence or " AND ".join(dict.fromkeys(one["licence"] for one in facts["attribution"])),
        facts=facts,
    )
