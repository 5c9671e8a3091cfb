"""What is explored: a dataset, the columns of a run's steps, and the selections made of it.

    exploration = Exploration("quickstart", view, (SelectionPlace("20261121-...", folder, "quickstart"),))
    exploration.gaps()          # which step lacks which shards

The data is only read: what the explorer lays down goes to a scratch folder, what a person saves to the workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.shards.columns import ColumnsView

SHARDS_NAMED = 8  # of a gap, in words
READERS = 8  # commit records read at once: in object storage each takes a round trip


@dataclass(frozen=True)
class SelectionPlace:
    """A selection to look at: what an address calls it, its folder, and what a person reads."""

    name: str
    folder: str
    label: str


@dataclass(frozen=True)
class Gap:
    """Shards of which a step has no readable columns; their pairs show nothing for it."""

    step: str
    shards: tuple[str, ...]
    of: int
    reason: str

    def says(self) -> str:
        """In one line."""
        named = ", ".join(self.shards[:SHARDS_NAMED]) + (", …" if len(self.shards) > SHARDS_NAMED else "")
        which = "every shard" if len(self.shards) == self.of else f"{len(self.shards)} of {self.of} shards ({named})"
        return f"{self.step} has no columns of {which}: {self.reason}"


@dataclass(frozen=True)
class Exploration:
    """One run (or a dataset alone, with no steps and no selections).

    Attributes:
        own: name of the run's own selection, shown first; None if it made none.
        captioners: steps whose `text` column is a caption.
        workspace: where saved selections lie; None: nothing is saved.
    """

    name: str
    view: ColumnsView
    selections: tuple[SelectionPlace, ...] = ()
    own: str | None = None
    captioners: tuple[str, ...] = ()
    workspace: str | None = None

    @property
    def shards(self) -> Sequence[Shard]:
        return self.view.dataset.shards

    def missing(self) -> dict[str, list[Shard]]:
        """Step -> the shards it has no trusted file for; steps that lack none are left out."""
        asked = [(step, place, shard) for step, place in self.view.steps.items() for shard in self.shards]
        with ThreadPoolExecutor(READERS, thread_name_prefix="records") as pool:
            found = pool.map(lambda one: self.view.store.has(one[1], one[2].digest), asked)
            lacking: dict[str, list[Shard]] = {}
            for (step, _, shard), has in zip(asked, found, strict=True):
                if not has:
                    lacking.setdefault(step, []).append(shard)
        return lacking
