"""What happens in a composed clip, and what is said over it: before anything is painted.

    script = any_script(names, "raw", draw, actions=4, late=6.0)
    script.actions[0].text                       # "a large red dog moves to the left"
    script.subtitles                             # what a narrator says, late, between small talk

A narrator speaks of each action some seconds after it began, in the words of the split, and of nothing that can be seen
in between. Each split has phrases of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.components.dataset.captions.subtitles import Timed
from pairwright.components.dataset.sources.scenes.scene import COLOURS, SIZES, Thing
from pairwright.components.dataset.splits import DEV, TEST, TRAIN

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
TOWARDS = {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards"}
SECONDS = 8  # of an action
PAUSE = (2, 7)  # seconds between two actions, drawn
SPOKEN = {
    TRAIN: ("so here you can see a {thing} moving {way}", "okay now we have a {thing} that moves {way}"),
    DEV: ("and next there is a {thing} going {way}", "alright, let's watch a {thing} go {way}"),
    TEST: ("look, this is a {thing} on its way {way}", "now I want to show you a {thing} wandering {way}"),
}
TALK = {
    TRAIN: (
        "please remember to subscribe to my channel",
        "I had such a long day yesterday",
        "thanks for all your mail",
    ),
    DEV: ("my cousin called me this morning", "leave a comment if you agree", "it has rained here for a week"),
    TEST: ("that reminds me of an old song", "we will come back to this later", "I cannot find my notes"),
}


@dataclass(frozen=True)
class Action:
    """A thing that crosses the picture from second t0 to t1."""

    t0: int
    t1: int
    thing: Thing
    way: str

    @property
    def text(self) -> str:
        return f"a {self.thing.size} {self.thing.colour} {self.thing.name} moves {TOWARDS[self.way]}"


@dataclass(frozen=True)
class Script:
    """A clip of so many seconds.

    Attributes:
        spoken: of each action, the second at which the narrator speaks of it.
        subtitles: all that is said, small talk included, in order of time.
    """

    seconds: int
    actions: list[Action]
    spoken: list[float]
    subtitles: list[Timed]


def any_script(
    names: Sequence[str], split: str, draw: np.random.Generator, actions: int = 4, late: float = 6.0
) -> Script:
    """Of differently named things; the narrator is up to `late` seconds late, and silent about one pause in two."""
    things = [names[int(i)] for i in draw.choice(len(names), actions, replace=False)]
    at, found, spoken, said = int(draw.integers(*PAUSE)), [], [], []
    for name in things:
        colour, size = list(COLOURS)[int(draw.integers(len(COLOURS)))], SIZES[int(draw.integers(len(SIZES)))]
        way = list(WAYS)[int(draw.integers(len(WAYS)))]
        action = Action(at, at + SECONDS, Thing(name, colour, size), way)
        when = round(at + float(draw.uniform(0, late)), 1)
        phrase = SPOKEN[split][int(draw.integers(len(SPOKEN[split])))]
        said.append(Timed(when, when + 3, phrase.format(thing=f"{size} {colour} {name}", way=TOWARDS[way])))
        found.append(action)
        spoken.append(when)
        at = action.t1 + int(draw.integers(*PAUSE))
        if draw.random() < 0.5:
            talk = TALK[split][int(draw.integers(len(TALK[split])))]
            said.append(Timed(when + 3.5, when + 6, talk))
    return Script(at, found, spoken, sorted(said, key=lambda one: one.t0))
