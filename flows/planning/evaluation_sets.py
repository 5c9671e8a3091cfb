"""What a recipe evaluates on, and the recipe with those pairs held out of all that learns.

    sets = evaluation_sets(recipe, dataset, find_dataset)      # dev, test, what benchmarks name
    recipe = with_hold_out(recipe, sets, workspace)

A recipe with `evaluate` gets a step `evaluation_overlap` and, before all others, a rule `held_out`. So what is
held out stands in the ledger and the funnel, no arm trains on it, and no selection, threshold or fit learns
from it. flows/stages/held_out.py runs the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.groups import OVERLAP
from pairwright.components.digest import op_digest
from pairwright.components.errors import InvalidRecipe
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.recipe import Recipe, StepSpec
from pairwright.components.source_code import source_digest
from pairwright.flows.planning.planning import parse

RULE = "held_out"
OWN = "own"  # written for `dev` or `test`: drawn from the data itself
HASHES = "evaluation_hash"  # the PDQ step of a recipe that has none
KIND = "evaluations"  # of artifacts: the hashes and captions of what is evaluated on
DEFAULT_SOURCE = "alt"


def evaluation_sets(
    recipe: Recipe, data: Dataset, find: Callable[[str], Dataset], own: Mapping[str, Dataset] | None = None
) -> dict[str, Dataset]:
    """Every dataset the recipe measures on, by what the recipe calls it; the training data itself is none.

    Args:
        own: those drawn from the data, in place of the word `own`.

    Raises:
        InvalidRecipe: a benchmark that cannot be right.
        DatasetError: one of them is not there.
    """
    section = recipe.evaluate
    if section is None:
        return {}
    named = {"dev": section.dev, "test": section.test}
    for key, spec in section.benchmarks.items():
        for number, path in enumerate(parse(spec, f"{recipe.name}: benchmark {key}", "benchmark").datasets()):
            named[f"{key}{number or ''}"] = path
    own = own or {}
    found = {name: own[name] if name in own else find(path) for name, path in named.items()}
    return {name: one for name, one in found.items() if name in ("dev", "test") or one.digest != data.digest}


def with_hold_out(
    recipe: Recipe, sets: Mapping[str, Dataset], workspace: str, own: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe with the step and the rule that hold its evaluation sets out; the recipe itself without any.

    Args:
        own: digests of the draws that sets come from; they may not have been drawn yet.

    Raises:
        InvalidRecipe: it has a step or a rule of that name already.
    """
    if not sets:
        return recipe
    specs, section = recipe.named_steps, recipe.filter
    if OVERLAP in specs or RULE in section.keep:
        name = f'step "{OVERLAP}"' if OVERLAP in specs else f'rule "{RULE}"'
        raise InvalidRecipe(f"{recipe.name}: {name} is the one that holds evaluation pairs out; rename yours")
    score = dict(section.score)
    hashed, hashes = hashing(recipe)
    if hashed not in specs:
        score[hashed] = hashes
    sources = caption_sources(recipe)
    digest = sha256_text(
        canonical(
            [
                {name: one.digest for name, one in sets.items()} | dict(own or {}),
                sources,
                op_digest(parse(hashes, f"{recipe.name}: step {hashed}")),
                source_digest("pairwright.components.filter.scorers.evaluation_overlap"),
            ]
        )
    )
    groups = {"reference": ", ".join(sets), "path": str(Path(workspace) / KIND / digest), "weights": digest}
    said = {"groups": groups, "hash": f"{hashed}.hash", "quality": f"{hashed}.quality"}
    score[OVERLAP] = StepSpec(uses=OVERLAP, **{"with": said})
    keep = {RULE: f"NOT {OVERLAP}.drop", **section.keep}
    return recipe.model_copy(update={"filter": section.model_copy(update={"score": score, "keep": keep})})


def hashing(recipe: Recipe) -> tuple[str, StepSpec]:
    """The step whose PDQ hashes evaluation pairs are known by: the recipe's own, or one that is added."""
    specs = recipe.named_steps
    name = next((name for name, spec in specs.items() if spec.uses == "pdq"), HASHES)
    return name, specs.get(name, StepSpec(uses="pdq"))


def caption_sources(recipe: Recipe) -> list[str]:
    """Caption sources of the datasets that are evaluated with or trained on; what a step makes is not one."""
    found = {DEFAULT_SOURCE}
    for key, spec in recipe.evaluate.benchmarks.items() if recipe.evaluate else ():
        asked = parse(spec, f"{recipe.name}: benchmark {key}", "benchmark")
        found |= set(asked.caption_sources()) or {getattr(asked.settings, "source", DEFAULT_SOURCE)}
    for spec in [*([recipe.pretrain] if recipe.pretrain else []), *recipe.train.values()]:
        found |= {name for name in spec.with_.get("captions") or () if isinstance(name, str)}
        with suppress(InvalidRecipe):  # whoever plans the training says where it is wrong
            said = StepSpec(uses=spec.uses, **{"with": spec.with_})
            found |= set(parse(said, recipe.name, "fit").caption_sources())
    return sorted(found - recipe.named_steps.keys())
