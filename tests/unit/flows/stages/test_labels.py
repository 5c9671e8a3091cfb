"""People's labels take silver's place in a recipe: the chosen ones teach, the blind ones judge."""

from __future__ import annotations

from typing import Any

import pytest

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import Recipe
from pairwright.flows.recipes import load_recipe
from pairwright.flows.stages.labels import with_labels

pytestmark = pytest.mark.platform


def test_compress_and_align_learns_from_labels_and_no_longer_from_silver() -> None:
    recipe = load_recipe("compress_and_align", "labels/mine")
    found = with_labels(recipe).filter
    assert found.select["labels"].with_ == {"folder": "labels/mine", "share": "chosen"}
    assert found.select["labels_blind"].with_ == {"folder": "labels/mine", "share": "random"}
    said = found.fit["reward"].with_
    assert said["preferences"] == ["labels.judgements"]
    assert said["held_out"] == ["labels_blind.judgements"]
    assert said["accept"] == ["human"]
    assert "silver" not in found.select  # it needs the demo's own labels, and nothing reads it
    before = recipe.filter
    assert {n: s for n, s in found.select.items() if not n.startswith("labels")} == {
        n: s for n, s in before.select.items() if n != "silver"
    }
    assert (found.score, found.keep) == (before.score, before.keep)


def test_without_labels_the_recipe_is_as_it_was_written() -> None:
    recipe = load_recipe("compress_and_align")
    assert with_labels(recipe) is recipe


def test_the_recipe_s_own_switch_is_the_option_and_the_option_goes_before() -> None:
    switched = load_recipe("compress_and_align").model_copy(update={"labels": "labels/theirs"})
    assert with_labels(switched).filter.select["labels"].with_["folder"] == "labels/theirs"
    assert Recipe.parse({"name": "x", "labels": "labels/theirs"}, "x").labels == "labels/theirs"


def test_silver_that_something_else_reads_stays() -> None:
    recipe = load_recipe("compress_and_align", "labels/mine")
    keep = recipe.filter.keep | {"trusted": "silver.judgements IS NOT NULL"}
    found = with_labels(recipe.model_copy(update={"filter": recipe.filter.model_copy(update={"keep": keep})}))
    assert "silver" in found.filter.select


def test_a_recipe_with_steps_labels_of_its_own_gets_the_folder_and_keeps_its_wiring() -> None:
    said: dict[str, Any] = {
        "name": "mine",
        "labels": "labels/new",
        "filter": {
            "select": {
                "mine": {
                    "uses": "labels",
                    "with": {"folder": "labels/old", "share": "chosen", "kinds": ["preference"]},
                },
                "clusters": "clusters",
            }
        },
    }
    found = with_labels(Recipe.parse(said, "mine")).filter.select
    assert found["mine"].with_ == {"folder": "labels/new", "share": "chosen", "kinds": ["preference"]}
    assert set(found) == {"mine", "clusters"}


def test_labels_that_nothing_learns_from_or_whose_names_are_taken_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="nothing in it learns from them; use compress_and_align"):
        with_labels(load_recipe("quickstart", "labels/mine"))
    recipe = load_recipe("compress_and_align", "labels/mine")
    taken = recipe.filter.select | {"labels_blind": recipe.filter.select["clusters"]}
    with pytest.raises(InvalidRecipe, match='step "labels_blind" is theirs; rename yours'):
        with_labels(recipe.model_copy(update={"filter": recipe.filter.model_copy(update={"select": taken})}))


def test_the_commands_and_every_flow_take_labels() -> None:
    import pairwright.flows.pipeline as chains
    from pairwright.flows.commands.explain import command as explain
    from pairwright.flows.commands.run import command as run

    for command in (run, explain):
        assert "labels" in {option.name for option in command.params}
    for flow in (chains.pipeline, chains.curate, chains.train, chains.release, chains.retrain):
        assert "labels" in flow.parameters.properties
