"""Evaluation sets of one's own data: drawn where none were given, by group, the same every time, and held out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.groups import OVERLAP
from pairwright.components.dataset.own_splits import what_it_tells
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.scan import ScanTask, run_local
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.splits import drawn_elsewhere, normalise
from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.rules import Rule, apply_rules
from pairwright.flows.planning.asked import Asked, ask
from pairwright.flows.planning.check import check_recipe
from pairwright.flows.planning.plan import job_of
from pairwright.flows.release import judged_elsewhere
from pairwright.flows.running.run import Run, open_run
from pairwright.flows.stages.held_out import hold_out, write_evaluation
from pairwright.flows.stages.own_splits import draw_splits, stands_on

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose dev and test record a draw from its own data, and `mine`, which is no part of that draw."""
    root = tmp_path_factory.mktemp("own")
    facts = {"composition": {"pairs": {"dev": {"shapes": 12}}}}
    for number, (name, pairs) in enumerate((("raw", 24), ("dev", 12), ("test", 12))):
        one = shapes_dataset(root / "data", pairs, 1, name=name, start=10_000 * number)
        Dataset(one.name, one.root, one.shards, facts=facts).save()
    shapes_dataset(root / "data", 120, 3, name="mine", start=50_000)
    (root / "tiny.yaml").write_text(yaml.safe_dump(tiny_recipe(root / "data"), sort_keys=False))
    return root


def asked(place: Path, data: str | None = "mine", **sets: Any) -> Asked:
    return ask(str(place / "tiny.yaml"), data=str(place / "data" / data) if data else None, **sets)


def opened(place: Path, one: Asked, workspace: str = "ws", **options: Any) -> Any:
    environment = Environment.load(workspace=str(place / workspace))
    return open_run(one.recipe, environment, one.dataset, flow="pipeline", quiet=True, notes=one.notes, **options)


def drawn(run: Run) -> dict[str, Dataset]:
    """What the stages do, without Prefect around them."""
    scans = [job_of(run.plan.steps[name]) for name in ("image", "caption_text", "exact_hash", "pdq")]
    run_local(ScanTask(scans, run.store.root), run.dataset.shards)
    draw_splits(run)
    run.forget_evaluation_sets()
    write_evaluation(run)
    hold_out(run, list(run.dataset.shards), lambda done, total: None)
    return run.splits


def test_other_data_is_evaluated_on_its_own_splits_and_the_recipes_own_data_on_the_recipes(place: Path) -> None:
    one = asked(place)
    assert (one.recipe.evaluate.dev, one.recipe.evaluate.test) == ("own", "own")
    assert "dev and test are drawn from mine" in one.notes[0]
    for same in (asked(place, None), asked(place, "raw")):
        assert same.recipe.evaluate.dev.endswith("data/dev")
        assert same.notes == ()


def test_sets_that_are_named_stand_and_the_word_own_draws(place: Path) -> None:
    dev = str(place / "data" / "dev")
    named = asked(place, dev=dev, test=dev).recipe.evaluate
    assert (named.dev, named.test) == (dev, dev)
    half = asked(place, test=dev).recipe.evaluate
    assert (half.dev, half.test) == ("own", dev)
    own = asked(place, None, dev="own", test="own").recipe.evaluate
    assert (own.dev, own.test) == ("own", "own")


def test_splits_named_by_hand_are_the_users_word_whatever_the_data(place: Path, tmp_path: Path) -> None:
    said = tiny_recipe(place / "data")
    for name in ("dev", "test"):
        said["evaluate"][name] = shapes_dataset(tmp_path, 12, 1, name=name, start=70_000).root
    (tmp_path / "hand.yaml").write_text(yaml.safe_dump(said))
    assert ask(str(tmp_path / "hand.yaml"), data=str(place / "data" / "mine")).recipe.evaluate.dev.endswith("dev")


def test_sets_for_a_recipe_that_evaluates_nothing_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="--dev is given, but the recipe evaluates nothing"):
        ask("noc", data=None, dev="own")


def test_a_benchmark_that_the_data_cannot_answer_is_left_out_and_said(place: Path, tmp_path: Path) -> None:
    plain = unlike(tmp_path, 12)
    one = ask(str(place / "tiny.yaml"), data=plain.root)
    assert list(one.recipe.evaluate.benchmarks) == ["retrieval"]
    assert any("benchmark zero_shot is left out" in note and "category" in note for note in one.notes)
    with opened(tmp_path, one) as run:
        check_recipe(run)
        assert run.warnings == list(one.notes)


def test_a_recipe_is_planned_before_its_splits_are_drawn_and_is_the_same_after(place: Path) -> None:
    with opened(place, asked(place), "planned") as run:
        check_recipe(run)  # as before any server starts
        before = {name: step.digest for name, step in run.plan.steps.items()}
        assert [one.rows for one in run.splits.values()] == [0, 0]
        drawn(run)
        assert [one.rows for one in run.splits.values()] == [12, 12]
    with opened(place, asked(place), "planned") as run:
        assert {name: step.digest for name, step in run.plan.steps.items()} == before
        assert [one.rows for one in run.splits.values()] == [12, 12]
        check_recipe(run)
    with opened(place, asked(place, "raw", dev="own", test="own"), "planned") as run:
        assert run.plan.steps[OVERLAP].digest != before[OVERLAP]


def test_a_draw_is_the_same_in_another_workspace(place: Path) -> None:
    found = []
    for workspace in ("one", "other"):
        with opened(place, asked(place), workspace) as run:
            found.append({name: one.digest for name, one in drawn(run).items()})
    assert found[0] == found[1]
    assert found[0]["dev"] != found[0]["test"]


def test_no_pair_left_to_train_on_shares_a_group_with_a_drawn_one_and_all_are_in_the_ledger(place: Path) -> None:
    with opened(place, asked(place)) as run:
        splits = drawn(run)
        view = ColumnsView(
            run.dataset, run.store, run.plan.where({"image", "caption_text", "exact_hash", "pdq", OVERLAP})
        )
        apart = np.asarray(view.column(f"{OVERLAP}.drop"))
        texts = [normalise(caption_of(one, "alt")) for one in view.sidecar(["captions"])["captions"].to_pylist()]
        evaluated = {
            name: {
                normalise(caption_of(c, "alt"))
                for _, t in one.iter_sidecars(["captions"])
                for c in t["captions"].to_pylist()
            }
            for name, one in splits.items()
        }
        assert not evaluated["dev"] & evaluated["test"]
        assert not {text for text, out in zip(texts, apart, strict=True) if not out} & (
            evaluated["dev"] | evaluated["test"]
        )
        rules = [
            Rule(name, text) for name, text in run.plan.recipe.filter.keep.items() if name in ("held_out", "described")
        ]
        ledger: Ledger = apply_rules(view, rules).ledger
        ledger.check()
        assert ledger.dropped["held_out"] == int(apart.sum()) >= 24


def test_a_drawn_pair_is_byte_for_byte_the_pair_it_was(place: Path) -> None:
    with opened(place, asked(place)) as run:
        dev = drawn(run)["dev"]
        mine = {row["key"]: (shard, row) for shard, table in run.dataset.iter_sidecars() for row in table.to_pylist()}
        for shard, table in open_dataset(dev.root).iter_sidecars():
            for row in table.to_pylist():
                other, was = mine[row["key"]]
                assert shard.read_member(row["media"][0]) == other.read_member(was["media"][0])
                assert (row["captions"], row["labels"]) == (was["captions"], was["labels"])
                assert row["group"]


def test_figures_say_on_which_data_they_stand_and_what_they_can_show(place: Path) -> None:
    with opened(place, asked(place)) as run:
        drawn(run)
        stands_on(run)
        said = run.results["stands_on"]["dev"]
        assert said["words"].startswith("dev is mine_dev (drawn by group from mine, held out of training), 12 pairs in")
        assert "too small" in said["words"]
        assert any("dev (mine_dev)" in warning and "too small" in warning for warning in run.warnings)
        assert judged_elsewhere(run) is None  # of this data: it may be promoted by them
        assert drawn_elsewhere(run.splits["dev"], open_dataset(str(place / "data" / "raw")))


def test_a_splits_power_is_what_simulation_says() -> None:
    told, small = what_it_tells(250, 200)
    assert not small
    assert "±0.07" in told
    assert "0.14" in told
    random, seen = np.random.default_rng(0), 2.8 * math.sqrt(0.5 / 200)
    # Two models that disagree on half the pairs, one of them better by `seen`: how often a 95% interval leaves out 0.
    steps = random.choice([1, -1, 0], p=[0.25 + seen / 2, 0.25 - seen / 2, 0.5], size=(4_000, 200))
    errors = steps.std(axis=1, ddof=1) / math.sqrt(200)
    assert 0.77 < (np.abs(steps.mean(axis=1)) > 1.96 * errors).mean() < 0.84
    assert what_it_tells(4, 3) == ("4 pairs in 3 groups: too small to tell two models apart by", True)


def unlike(root: Path, pairs: int, text: str = "number {}") -> Dataset:
    """Pairs with an alt-text and no label."""
    from shapes import encoded

    with ShardWriter(str(root / "plain"), "plain") as writer:
        for number in range(pairs):
            writer.add(str(number), [("image", "image", "jpg", encoded(number))], [caption(text.format(number))])
    return writer.dataset


@pytest.mark.parametrize(("pairs", "text"), [(6, "number {}"), (40, "always the same")])
def test_too_few_pairs_or_all_alike_are_refused_in_one_line(place: Path, tmp_path: Path, pairs: int, text: str) -> None:
    one = ask(str(place / "tiny.yaml"), data=unlike(tmp_path, pairs, text).root)
    with opened(tmp_path, one) as run, pytest.raises(DatasetError, match="give sets of your own with --dev and --test"):
        drawn(run)


def test_explain_says_that_splits_are_drawn(place: Path) -> None:
    from pairwright.flows.commands.explain import command

    said = [str(place / "tiny.yaml"), "--data", str(place / "data" / "mine"), "--workspace", str(place / "none")]
    done = CliRunner().invoke(command, said)
    assert done.exit_code == 0, done.output
    assert "dev and test are drawn from mine" in done.output
