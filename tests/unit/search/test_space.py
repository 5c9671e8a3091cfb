"""What a search may choose among, in a recipe and on the command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import parse_recipe
from pairwright.components.search.space import SearchSection, dimension_of, with_values


@pytest.mark.parametrize(
    ("said", "name", "values"),
    [
        ("lr=1e-4..1e-2:log", "lr", {"low": 1e-4, "high": 1e-2, "log": True}),
        ("steps=100..400:100", "steps", {"low": 100, "high": 400, "step": 100}),
        ("dim=64,128", "dim", {"choices": [64, 128]}),
        ("objective=clip,siglip", "objective", {"choices": ["clip", "siglip"]}),
        ("weight_decay=0.0..0.3", "weight_decay", {"low": 0.0, "high": 0.3}),
        ("flag=true,false", "flag", {"choices": [True, False]}),
    ],
)
def test_values_are_written_as_the_help_says(said: str, name: str, values: dict[str, Any]) -> None:
    assert dimension_of(said) == (name, values)
    SearchSection.parse({"space": {name: values}}, "mine")


@pytest.mark.parametrize("said", ["lr", "=1..2", "lr=", "lr 1..2"])
def test_what_is_not_written_so_is_refused_with_an_example(said: str) -> None:
    with pytest.raises(InvalidRecipe, match=r"NAME=LOW\.\.HIGH"):
        dimension_of(said)


@pytest.mark.parametrize(
    "one",
    [
        {"low": 2, "high": 1},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 1, "high": 9, "log": True, "step": 2},
        {"low": 1, "high": 2, "choices": [1]},
        {"choices": []},
        {"low": 1},
        {"low": 1, "high": 3, "step": 5},
        {"low": "a", "high": "b"},
        {},
    ],
)
def test_a_range_that_is_none_is_refused(one: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecipe):
        SearchSection.parse({"space": {"lr": one}}, "mine: search")


def test_a_misspelt_key_names_the_nearest() -> None:
    with pytest.raises(InvalidRecipe, match='did you mean "high"'):
        SearchSection.parse({"space": {"lr": {"low": 1, "hihg": 2}}}, "mine: search")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers()), st.integers(), st.integers())
def test_values_are_set_in_a_copy_and_nothing_else_changes(settings: dict[str, Any], x: int, y: int) -> None:
    before = settings | {"deep": {"kept": 1}}
    after = with_values(before, {"a": x, "deep.new": y})
    assert after == settings | {"a": x, "deep": {"kept": 1, "new": y}}
    assert before == settings | {"deep": {"kept": 1}}


def test_a_dot_behind_a_plain_value_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match='"dim" is no mapping'):
        with_values({"dim": 64}, {"dim.wide": 1})


def test_a_search_is_no_part_of_what_a_recipe_makes() -> None:
    plain = parse_recipe("name: mine\n", "mine.yaml")
    searched = parse_recipe("name: mine\nsearch: {space: {dim: [8, 16]}, trials: 5}\n", "mine.yaml")
    assert searched.search is not None
    assert searched.search.space["dim"].choices == (8, 16)
    assert searched.digest == plain.digest
