"""What a planned recipe can still have wrong, refused in one line before any long work starts.

    rules = check_recipe(run)      # the keep-rules, of a recipe that can run

Planning itself finds unknown components, settings, columns and models (flows/planning/planning.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pairwright.components.dataset.facts import DataFacts, facts_of
from pairwright.components.errors import InvalidRecipe, InvalidRule, nearest
from pairwright.components.filter.rules.expression import Bound
from pairwright.components.filter.rules.rules import Rule, check_rules
from pairwright.flows.planning.plan import PlannedStep
from pairwright.flows.running.run import Run
from pairwright.flows.stages.gates import check_gates
from pairwright.flows.stages.train_steps import planned_step
from pairwright.flows.stages.training import planned_fit
from pairwright.flows.train import check_metric, check_training, planned_benchmarks

ORIGINS = {"labels": "human", "silver_preferences": "silver"}  # component -> whose judgements its column holds


def check_recipe(run: Run) -> list[Rule]:
    """Refuse whatever cannot be right in the recipe, on this data; its keep-rules otherwise.

    Raises:
        InvalidRecipe: a step, setting, column, rule, gate, arm, split, caption source or label.
    """
    keep = run.plan.recipe.filter.keep
    rules = [Rule(name, expression) for name, expression in keep.items()]
    _rules_before_recaption(run, _checked_rules(run, rules))
    for name in run.recipe.filter.frozen:
        if name not in keep:
            raise InvalidRecipe(f'{run.recipe.name}: filter.frozen names "{name}", no keep-rule{nearest(name, keep)}')
    check_gates(run)
    check_training(run)
    _floors_measured(run)
    _splits_apart(run)
    _judgements_admitted(run)
    _data_fits(run)
    return rules


def _checked_rules(run: Run, rules: list[Rule]) -> list[Bound]:
    """The rules, bound; a mistake in a base's rule names the base's file."""
    columns = run.plan.column_types()
    try:
        return check_rules(rules, columns)
    except InvalidRule:
        for rule in rules:
            if written := run.recipe.written_in("filter", "keep", rule.name):
                try:
                    check_rules([rule], columns)
                except InvalidRule as error:
                    raise InvalidRule(f"{error}{written}") from None
        raise


def _rules_before_recaption(run: Run, bounds: list[Bound]) -> None:
    for bound in bounds:
        for column in bound.columns:
            step = run.plan.steps.get(column.partition(".")[0])
            if step is not None and step.section == "recaption":
                raise InvalidRecipe(
                    f'{run.recipe.name}: keep.{bound.rule.name} reads "{column}", which recaption makes only after the '
                    f"rules; move the step {step.name}, and what it reads, from recaption to filter.score"
                )


def _floors_measured(run: Run) -> None:
    """`gates.evaluation.floors` name `split.benchmark.metric` of splits and benchmarks there are."""
    for name in run.recipe.gates.get("evaluation", {}).get("floors", {}):
        split, _, metric = name.partition(".")
        if split not in run.splits:
            raise InvalidRecipe(
                f'{run.recipe.name}: gates.evaluation.floors names "{name}"; write SPLIT.BENCHMARK.METRIC'
                f"{nearest(split, run.splits)}"
            )
        check_metric(run, "gates.evaluation.floors", metric)


def _splits_apart(run: Run) -> None:
    """Nothing judges what it was trained on: an evaluation split among the training shards, or the other split."""
    shards = {"the training data": {shard.digest for shard in run.full_dataset.shards}}
    for name, dataset in run.splits.items():
        mine = {shard.digest for shard in dataset.shards}
        for other, theirs in shards.items():
            if mine & theirs:
                raise InvalidRecipe(
                    f"{run.recipe.name}: evaluate.{name} ({dataset.root}) has shards of {other}; "
                    "name a split that nothing else is made of"
                )
        shards[f"evaluate.{name}"] = mine


def _judgements_admitted(run: Run) -> None:
    """A reward that accepts only people's judgements needs a column of them, and so for silver ones."""
    for step in run.plan.fits():
        if step.component.name != "reward":
            continue
        wish = step.component.settings
        _enough_labels(run, step)
        makers = [run.plan.steps[column.partition(".")[0]].component.name for column in wish.preferences]
        origins = {ORIGINS.get(maker) for maker in makers}
        if None not in origins and not origins & set(wish.accept):
            raise InvalidRecipe(
                f"{run.recipe.name}: step {step.name} accepts {', '.join(wish.accept)} judgements, but "
                f"{', '.join(wish.preferences)} hold {', '.join(sorted(map(str, origins)))} ones; change `accept`, "
                "or give people's with --labels FOLDER"
            )


def _enough_labels(run: Run, step: PlannedStep) -> None:
    """People's labels alone must be of enough pictures to be halved into folds."""
    wish, pictures = step.component.settings, set()
    for column in wish.preferences:
        maker = run.plan.steps[column.partition(".")[0]].component
        if maker.name != "labels":
            return
        pictures |= maker.pictures()
    if len(pictures) < 2 * wish.folds:
        raise InvalidRecipe(
            f"{run.recipe.name}: step {step.name} is fitted in {wish.folds} folds and needs labels of {2 * wish.folds} "
            f"pictures, {len(pictures)} are labelled for fitting; label more, or ask for fewer folds"
        )


def _data_fits(run: Run) -> None:
    """Caption sources and labels that the recipe names must be in the data, and in the splits for benchmarks."""
    facts = facts_of(run.full_dataset)
    for step in run.plan.steps.values():
        where = f"{run.recipe.name}: step {step.name}"
        _checked(where, step.component, facts)
        if step.kind != "captioner":  # one may write captions where there are none
            _sources_there(run, where, step.component.caption_sources(), facts)
    if run.recipe.pretrain is not None:
        fit = planned_fit(run, run.recipe.pretrain, run.recipe.pretrain.seeds[0])
        _sources_there(run, f"{run.recipe.name}: pretrain", fit.caption_sources(), facts)
    for name, spec in run.recipe.train.items():
        step = planned_step(run, name, spec, spec.seeds[0])
        _sources_there(run, f"{run.recipe.name}: train.{name}", step.caption_sources(), facts)
    if run.recipe.evaluate is not None and run.splits:
        own = run.own_draw.names if run.own_draw else ()  # what is not drawn yet will have what the data has
        splits = {name: facts if name in own else facts_of(dataset) for name, dataset in run.splits.items()}
        for key, benchmark in planned_benchmarks(run, run.recipe.evaluate).items():
            for name, of_split in splits.items():
                where = f"{run.recipe.name}: benchmark {key} on {name}"
                _checked(where, benchmark, of_split)
                source = getattr(benchmark.settings, "source", None)
                _sources_there(run, where, [*benchmark.caption_sources(), *([source] if source else [])], of_split)


def _checked(where: str, component: Any, facts: DataFacts) -> None:
    try:
        component.check_data(facts)
    except InvalidRecipe as error:
        raise InvalidRecipe(f"{where}: {error}") from None


def _sources_there(run: Run, where: str, sources: Iterable[str], facts: DataFacts) -> None:
    for source in sources:
        if source not in run.plan.steps and (lacks := facts.lacks_source(source)):
            raise InvalidRecipe(f"{where}: {lacks}; name a source it has, or a captioner's step")
