"""Lazy evaluation, planned: a pair that a keep-rule has dropped never reaches a model.

    filter:
      lazy: true

The rules are followed in their order. Before the first rule that needs a model's columns, the rules
so far are applied, and the model sees only the pairs that passed them; the next model sees fewer
still; models and recaptioning that no rule waits for see the kept pairs alone. Since a rule's
aggregates are computed over the pairs that passed every earlier rule, the same rows are kept for the
same reasons as without `lazy` (tests/unit/flows/planning/test_lazy.py).

Never lazy is what a global step reads, by whatever detour, because a selection or a fit answers for
the whole population; nor what an arm of the ablation trains on that dropped pairs are part of. A lazy
step has another digest than an eager one: it includes the rules before it and all they read. Where one
of those rules holds an aggregate that is not frozen, or reads a global step, new shards change that
digest and every shard is scored again; put such rules last, or freeze them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.spared import COMPONENT
from pairwright.components.digest import op_digest
from pairwright.components.filter.rules.expression import PAIR, Bound, Rule
from pairwright.components.filter.rules.rules import check_rules
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.source_code import source_digest
from pairwright.flows.planning.plan import GLOBAL_KINDS, LazyPass, Plan, PlannedStep, words

KEPT_PAIRS_ARM = "curated"  # the one arm that trains on kept pairs alone
DETOUR = ", by way of others"


def lazy_plan(plan: Plan, precision: str) -> Plan:
    """The plan with its lazy steps: what they wait for, their digests, and why other models are not lazy.

    Raises:
        InvalidRule: a keep-rule that is no expression over known columns.
    """
    bounds = check_rules([Rule(n, e) for n, e in plan.recipe.filter.keep.items()], plan.column_types())
    needed = _needed_of_dropped(plan)
    after = _waits(plan, bounds, _candidates(plan, needed))
    lazy = replace(plan, steps={n: replace(s, after=after.get(n, 0)) for n, s in plan.steps.items()})
    passes: list[LazyPass] = []
    for key in sorted({_key(lazy.steps[name]) for name in after}):
        one = _lazy_pass(lazy, bounds, [s for s in lazy.steps.values() if s.after and _key(s) == key])
        passes.append(one)
        for name in one.steps:
            step = lazy.steps[name]
            own = op_digest(step.component, inputs={n: lazy.steps[n].digest for n in step.reads}, precision=precision)
            pixels = one.min_pixels if step.component.pixels else 0
            lazy.steps[name] = replace(step, digest=sha256_text(canonical([own, one.spared.digest, pixels])))
    models = [n for n, s in plan.steps.items() if s.component.runs_model and s.kind not in GLOBAL_KINDS]
    reasons = {name: needed.get(name, "no rule comes before it") for name in models if name not in after}
    return replace(lazy, lazy=tuple(passes), not_spared=reasons)


def _key(step: PlannedStep) -> tuple[bool, int, int]:
    """Steps of one key run in one pass; keys in their order are passes in theirs."""
    return step.section == "recaption", step.after, step.level


def _needed_of_dropped(plan: Plan) -> dict[str, str]:
    """Step -> who needs its values for every pair, dropped ones too."""
    todo = [(n, f"{s.kind} {s.name} reads it") for s in plan.steps.values() if s.kind in GLOBAL_KINDS for n in s.reads]
    evaluate, pretrain = plan.recipe.evaluate, plan.recipe.pretrain
    arms = [arm for arm in (evaluate.ablation if evaluate else ()) if arm != KEPT_PAIRS_ARM]
    for name, spec in plan.recipe.train.items():
        if spec.data == "raw":
            todo += [(n, f"{name} trains on dropped pairs, too") for n in _named(spec.with_, plan)]
        elif spec.data != "kept":  # a condition is asked of every pair
            todo += [(n, f"{name} is trained on pairs chosen by it") for n in plan.steps if f"{n}." in spec.data]
    if pretrain is not None and arms:
        todo += [(n, f"arm {arms[0]} trains on dropped pairs, too") for n in _named(pretrain.with_, plan)]
    if evaluate is not None and evaluate.compression is not None:
        curve = evaluate.compression.model_dump(mode="json")
        todo += [(n, "the compression curve goes over dropped pairs, too") for n in _named(curve, plan)]
    needed: dict[str, str] = {}
    while todo:
        name, reason = todo.pop()
        if name not in needed:
            needed[name] = reason
            todo += [(other, reason.removesuffix(DETOUR) + DETOUR) for other in plan.steps[name].reads]
    return needed


def _named(said: object, plan: Plan) -> list[str]:
    """Steps that these settings name anywhere."""
    return sorted({word.partition(".")[0] for word in words(said)} & plan.steps.keys())


def _candidates(plan: Plan, needed: Iterable[str]) -> set[str]:
    """Steps that may be lazy: models, what reads a lazy step, and all recaptioning."""
    found: set[str] = set()
    for name, step in plan.steps.items():  # each comes after what it reads
        dear = step.component.runs_model or step.section == "recaption" or found & set(step.reads)
        if dear and name not in needed and step.kind not in GLOBAL_KINDS:
            found.add(name)
    return found


def _waits(plan: Plan, bounds: list[Bound], candidates: set[str]) -> dict[str, int]:
    """Lazy step -> how many rules come before it; a step that none precedes is left out."""
    after: dict[str, int] = {}
    in_filter = {name for name in candidates if plan.steps[name].section == "filter"}
    for position, bound in enumerate(bounds):
        after |= dict.fromkeys(_upstream(plan, _steps_of(bound)) & in_filter - after.keys(), position)
    after |= dict.fromkeys(candidates - after.keys(), len(bounds))
    return {name: rules for name, rules in after.items() if rules}


def _steps_of(bound: Bound) -> set[str]:
    return {column.partition(".")[0] for column in bound.columns} - {PAIR}


def _upstream(plan: Plan, names: Iterable[str]) -> set[str]:
    """These steps and all they read, directly or not."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(plan.steps[name].reads)
    return found


def _lazy_pass(plan: Plan, bounds: list[Bound], steps: list[PlannedStep]) -> LazyPass:
    section, level, after = steps[0].section, steps[0].level, steps[0].after
    before, frozen = bounds[:after], plan.recipe.filter.frozen
    reads = sorted(set().union(*(_steps_of(bound) for bound in before)))
    per_shard = [s for s in plan.steps.values() if s.kind not in GLOBAL_KINDS]
    known = any(s.component.pixels for s in per_shard if s.section == "filter" and s.after < after)
    together = [s.component.pixels for s in per_shard if (s.section, s.level) == (section, level)]
    population = any(bound.aggregates for bound in before) and not frozen
    said = {
        "rules": [[bound.rule.name, bound.rule.expression] for bound in before],
        "frozen": [frozen.get(bound.rule.name) for bound in before],
        "steps": {name: plan.steps[name].digest for name in reads},
        "dataset": plan.dataset.digest if population else None,
        "pictures_known": known,
        "source": source_digest("pairwright.components.filter.rules.spare"),
    }
    return LazyPass(
        section,
        tuple(step.name for step in steps),
        tuple(bound.rule for bound in before),
        tuple(reads),
        StepColumns(COMPONENT, sha256_text(canonical(said))),
        known,
        max(together),
    )
