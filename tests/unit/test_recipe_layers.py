"""A recipe that extends another: what is its own, what it takes away, and which file a mistake stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import Recipe, read_recipe
from pairwright.components.recipe_layers import marked, merged, read_layers, removed
from pairwright.flows.recipes import FOLDER, load_recipe, recipe_names

BASE = {
    "name": "base",
    "description": "of the base",
    "paper": "A paper",
    "seed": 3,
    "filter": {
        "score": {"image": "image", "text": {"uses": "caption_text", "with": {"source": "alt", "shop": True}}},
        "keep": {"a": "image.width > 1", "b": "text.words > 1", "c": "image.readable"},
    },
    "pretrain": {"with": {"captions": {"alt": 1.0}, "orders": [1, 2, 3]}, "seeds": [0, 1]},
}


def written(folder: Path, **files: Any) -> Path:
    """Files by stem, each a mapping or YAML text; the last one's path."""
    for stem, said in {"base": BASE, **files}.items():
        path = folder / f"{stem}.yaml"
        path.write_text(said if isinstance(said, str) else yaml.safe_dump(said, sort_keys=False))
    return path


def own(folder: Path, **said: Any) -> Recipe:
    return read_recipe(written(folder, mine={"name": "mine", "extends": "base.yaml", **said}), FOLDER)


def test_mappings_are_merged_and_lists_and_scalars_replaced_whole(tmp_path: Path) -> None:
    said = {"with": {"captions": {"title": 0.5}, "orders": [9]}, "seeds": [7]}
    recipe = own(tmp_path, pretrain=said, filter={"budget": 0.2})
    assert recipe.pretrain.with_ == {"captions": {"alt": 1.0, "title": 0.5}, "orders": [9]}
    assert recipe.pretrain.seeds == (7,)
    assert (recipe.filter.budget, recipe.seed) == (0.2, 3)
    assert list(recipe.filter.score) == ["image", "text"]


def test_null_takes_away_a_rule_a_setting_and_a_section(tmp_path: Path) -> None:
    recipe = own(
        tmp_path, filter={"score": {"text": {"with": {"shop": None}}}, "keep": {"b": None}}, pretrain=None, seed=None
    )
    assert recipe.filter.score["text"].with_ == {"source": "alt"}
    assert list(recipe.filter.keep) == ["a", "c"]
    assert recipe.pretrain is None
    assert recipe.seed == 0
    assert removed(recipe.layers) == ["filter.score.text.with.shop", "filter.keep.b", "pretrain", "seed"]


def test_rules_keep_the_bases_order_an_overridden_one_its_place_and_new_ones_follow(tmp_path: Path) -> None:
    recipe = own(tmp_path, filter={"keep": {"z": "image.height > 1", "b": "text.words > 7"}})
    assert list(recipe.filter.keep.items()) == [
        ("a", "image.width > 1"),
        ("b", "text.words > 7"),
        ("c", "image.readable"),
        ("z", "image.height > 1"),
    ]


def test_a_rule_comes_first_where_the_others_are_taken_away_and_written_again(tmp_path: Path) -> None:
    written(tmp_path, between={"name": "between", "extends": "base.yaml", "filter": {"keep": {"a": None, "b": None}}})
    again = {"first": "image.readable", "a": "image.width > 1"}
    path = written(tmp_path, mine={"name": "mine", "extends": "between.yaml", "filter": {"keep": again}})
    assert list(read_recipe(path).filter.keep) == ["c", "first", "a"]


def test_a_step_that_uses_another_component_takes_nothing_of_the_bases(tmp_path: Path) -> None:
    recipe = own(tmp_path, filter={"score": {"text": {"uses": "language", "with": {"source": "title"}}}})
    assert recipe.filter.score["text"].with_ == {"source": "title"}
    assert own(tmp_path, filter={"score": {"text": "caption_text"}}).filter.score["text"].with_ == {}
    short = own(tmp_path, filter={"score": {"image": {"needs": ["text"]}}}).filter.score["image"]
    assert (short.uses, short.needs) == ("image", ("text",))


@pytest.mark.parametrize(
    ("base", "said", "comes_to"),
    [
        ({"uses": "clip"}, {"clip": 1, "grouping": 0.5}, {"clip": 1, "grouping": 0.5}),
        ({"clip": 1, "grouping": 0.5}, {"uses": "siglip"}, {"uses": "siglip"}),
        ({"uses": "clip"}, {"with": {"smoothing": 0.1}}, {"uses": "clip", "with": {"smoothing": 0.1}}),
        ({"clip": 1, "grouping": 0.5}, {"grouping": 0.2}, {"clip": 1, "grouping": 0.2}),
    ],
)
def test_objectives_named_with_weights_replace_a_single_one_and_the_reverse(
    tmp_path: Path, base: Any, said: Any, comes_to: Any
) -> None:
    stands_on = BASE | {"pretrain": {"with": {"objective": base}}}
    mine = {"name": "mine", "extends": "base.yaml", "pretrain": {"with": {"objective": said}}}
    recipe = read_recipe(written(tmp_path, base=stands_on, mine=mine), FOLDER)
    assert recipe.pretrain.with_["objective"] == comes_to


def test_prose_is_not_inherited(tmp_path: Path) -> None:
    recipe = own(tmp_path)
    assert (recipe.name, recipe.description, recipe.paper) == ("mine", "", "")
    with pytest.raises(InvalidRecipe, match='mine\\.yaml: "name" is required'):
        read_recipe(written(tmp_path, mine={"extends": "base.yaml"}))


def test_a_chain_is_followed_and_its_digest_is_of_what_it_comes_to(tmp_path: Path) -> None:
    ruled = BASE["filter"] | {"keep": BASE["filter"]["keep"] | {"d": "true"}}
    alone = Recipe.parse(BASE | {"seed": 4, "filter": ruled, "pretrain": None}, "alone")
    written(tmp_path, middle={"name": "middle", "extends": "base.yaml", "seed": 4, "filter": {"keep": {"d": "true"}}})
    recipe = read_recipe(written(tmp_path, mine={"name": "mine", "extends": "middle.yaml", "pretrain": None}))
    assert recipe.digest == alone.digest
    assert [Path(layer.where).name for layer in recipe.layers] == ["base.yaml", "middle.yaml", "mine.yaml"]


def test_a_shipped_recipe_is_extended_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, mine={"name": "mine", "extends": "quickstart", "seed": 9})
    assert load_recipe(str(path)).filter == load_recipe("quickstart").filter


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"extends": "quikstart"}, 'mine.yaml: extends "quikstart", but no recipe is called so; did you mean'),
        ({"extends": "gone.yaml"}, "gone.yaml cannot be read"),
        ({"extends": ["base.yaml"]}, "name one recipe"),
        ({"extends": "mine.yaml"}, "extends goes in a circle"),
        ({"extends": "round.yaml"}, "round.yaml -> "),
        ({"fliter": {}}, 'mine.yaml: unknown key "fliter"; did you mean "filter"?'),
        ({"filter": {"keep": {"bb": None}}}, '"filter.keep.bb" is null, which takes away what the base has'),
        ({"extends": "wrong.yaml"}, 'wrong.yaml: unknown key "filter.scores"'),
        ({"extends": "wrong.yaml", "filter": {"scor": {}}}, 'unknown key "filter.scor'),
        ({"filter": {"score": {"x": {"with": {}}}}}, 'mine.yaml: "filter.score.x.uses" is required'),
    ],
)
def test_a_mistake_names_the_file_it_stands_in_in_one_line(tmp_path: Path, said: dict[str, Any], line: str) -> None:
    written(
        tmp_path,
        wrong={"name": "wrong", "filter": {"scores": {}}},
        round={"name": "round", "extends": "mine.yaml"},
    )
    with pytest.raises(InvalidRecipe) as error:
        own(tmp_path, **said)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, mine="name: mine\nfilter:\n  keep:\n    a: 'true'\n    a: 'false'\n")
    with pytest.raises(InvalidRecipe, match='line 5 is not YAML: "a" stands there twice'):
        read_recipe(path)


def test_what_is_its_own_is_marked(tmp_path: Path) -> None:
    lines = list(marked(own(tmp_path, seed=4, filter={"keep": {"b": "text.words > 7"}}).layers))
    marks = {line.strip(): mine for mine, line in lines}
    assert marks["seed: 4"]
    assert marks["filter:"]
    assert not marks["pretrain:"]
    assert yaml.safe_load("\n".join(line for _, line in lines))["filter"]["keep"]["b"] == "text.words > 7"


# -- the shipped ones -----------------------------------------------------------------------------


class Written(yaml.SafeLoader):
    """YAML as it is written: what an anchor merges in (`<<`) is left out."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        node.value = [(key, value) for key, value in node.value if key.tag != "tag:yaml.org,2002:merge"]


def repeated(own: Any, base: Any, path: str = "") -> list[str]:
    """Dotted names of values that stand in the base as they are; what uses another component takes nothing of it."""
    if isinstance(own, dict) and isinstance(base, dict) and own.get("uses", base.get("uses")) != base.get("uses"):
        return []
    if isinstance(own, dict) and own and isinstance(base, dict):
        return [
            name for key in own if key in base for name in repeated(own[key], base[key], f"{path}.{key}".strip("."))
        ]
    return [path] if own == base else []


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_resolves_and_repeats_nothing_of_what_it_extends(name: str) -> None:
    layers = load_recipe(name).layers
    for number in range(1, len(layers)):
        own = yaml.load(layers[number].text, Written)
        assert [path for path in repeated(own, merged(layers[:number])) if path not in ("status", "name")] == []


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in ("quickstart", "plain")])
def test_a_papers_recipe_says_only_what_is_its_own(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(read_layers(text, str(FOLDER / f"{name}.yaml"), FOLDER)) > 1
    assert len(text.splitlines()) < (60 if name in ("compress_and_align", "tldr") else 100)
