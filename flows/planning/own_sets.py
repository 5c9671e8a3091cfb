"""Evaluation sets drawn from the data itself: which recipe wants them, and where they are once they are drawn.

    draw = own_draw(recipe, dataset)         # None where `dev` and `test` are named
    draw.sets(artifacts)                     # the datasets; without a pair as long as nothing is drawn

A draw is known by what decides it (data, hashes, source, code), so a recipe can be planned before it is made.
flows/stages/own_splits.py makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pairwright.components.artifact import ArtifactStore
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.splits import DRAWN_FROM
from pairwright.components.digest import op_digest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.recipe import Recipe
from pairwright.components.source_code import source_digest
from pairwright.flows.planning.evaluation_sets import DEFAULT_SOURCE, OWN, hashing
from pairwright.flows.planning.planning import parse

KIND = "splits"  # of artifacts


@dataclass(frozen=True)
class OwnDraw:
    """A draw of `dev` and `test` from `data`, made or not.

    Attributes:
        names: which of the two the recipe wants of it.
        source: caption source they are evaluated with.
    """

    data: Dataset
    names: tuple[str, ...]
    source: str
    digest: str

    @property
    def digests(self) -> dict[str, str]:
        """What each set is known by, drawn or not."""
        return {name: f"{KIND}:{self.digest}:{name}" for name in self.names}

    def made(self, artifacts: ArtifactStore) -> bool:
        return artifacts.has(KIND, self.digest)

    def sets(self, artifacts: ArtifactStore) -> dict[str, Dataset]:
        """The drawn datasets; without a pair while nothing is drawn."""
        folder = artifacts.path(KIND, self.digest)
        if self.made(artifacts):
            return {name: open_dataset(str(folder / name)) for name in self.names}
        facts = {DRAWN_FROM: self.data.digest}
        return {n: Dataset(f"{self.data.name}_{n}", str(folder / n), (), facts=facts) for n in self.names}


def own_draw(recipe: Recipe, data: Dataset) -> OwnDraw | None:
    """The draw that the recipe's `evaluate` asks for; None if it asks for none.

    Raises:
        InvalidRecipe: a benchmark or the hashing step cannot be right.
    """
    section = recipe.evaluate
    names = tuple(name for name in ("dev", "test") if section is not None and getattr(section, name) == OWN)
    if section is None or not names:
        return None
    hashed, spec = hashing(recipe)
    source = evaluated_with(recipe)
    said: list[Any] = [
        data.digest,
        source,
        op_digest(parse(spec, f"{recipe.name}: step {hashed}")),
        source_digest("pairwright.components.dataset.own_splits"),
    ]
    return OwnDraw(data, names, source, sha256_text(canonical(said)))


def evaluated_with(recipe: Recipe) -> str:
    """The caption source of the first benchmark that names one, as drawing needs a caption."""
    for key, spec in recipe.evaluate.benchmarks.items() if recipe.evaluate else ():
        settings = parse(spec, f"{recipe.name}: benchmark {key}", "benchmark").settings
        if source := getattr(settings, "source", None):
            return str(source)
    return DEFAULT_SOURCE
