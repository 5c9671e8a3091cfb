"""A recipe's mistakes are found in a second, in one line, before anything runs; its digests heed what counts."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import yaml
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.errors import InvalidRecipe, PairwrightError
from pairwright.components.models.resolve import resolve_model
from pairwright.components.recipe import Recipe
from pairwright.flows.planning.planning import plan_recipe
from pairwright.flows.recipes import load_recipe, recipe_names

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A dataset, in a folder where the recipes find their `data/dev` and `data/test`, too."""
    root = tmp_path_factory.mktemp("plan")
    for number, name in enumerate(("dev", "test"), start=1):
        shapes_dataset(root / "data", 12, 1, name=name, start=10_000 * number, wording=number)
    with contextlib.chdir(root):
        yield shapes_dataset(root, 12, 2, name="raw")


def planned(said: dict, dataset):
    return plan_recipe(Recipe.parse(said, "mine.yaml"), dataset, resolve_model)


def changed(path: str, value, said=None) -> dict:
    """The tiny recipe with one value set; `path` is dotted, a `-key` at its end removes."""
    said = copy.deepcopy(said or tiny_recipe(Path("data")))
    *parents, last = path.split(".")
    inner = said
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return said


WRONG = [
    (changed("filter.score.image", "imige"), 'no component is called "imige"; did you mean "image"?'),
    (changed("filter.score.pdq", {"uses": "pdq", "with": {"sise": 3}}), 'step pdq: unknown key "sise"'),
    (
        changed("filter.select.near", {"uses": "near_duplicates", "with": {"radius": 900}}),
        '"radius" is 900: Input should be less than or equal to 63',
    ),
    (
        changed("filter.select.near", {"uses": "near_duplicates", "with": {"hash": "pdq.hsh"}}),
        'reads "pdq.hsh", which no earlier step makes; did you mean "pdq.hash"?',
    ),
    (changed("filter.keep.described", "caption_text.wrds >= 1"), 'did you mean "caption_text.words"?'),
    (changed("filter.keep.described", "caption_text.words >"), "keep.described"),
    (changed("filter.keep.described", "SELECT 1"), "keep.described"),
    (changed("filter.keep.described", "true; DROP TABLE x"), "keep.described"),
    (changed("filter.keep.described", "read_text('/etc/passwd') = 'x'"), "keep.described"),
    (changed("gates", {"rwa": {}}), 'no gate is called "rwa"; did you mean "raw"?'),
    (changed("gates", {"raw": {"min_pair": 1}}), 'did you mean "min_pairs"?'),
    (changed("evaluate.ablation", ["curated", "rax"]), 'did you mean "raw"?'),
    (changed("evaluate.benchmarks", {"r": "retrieval2"}), 'did you mean "retrieval"?'),
    (changed("pretrain.with.lr", -1.0), "greater than 0"),
    (changed("pretrain.with.image_features", "image_features.vektor"), 'did you mean "image_features.vector"?'),
    (changed("release.promote", {"metrik": "x"}), 'did you mean "metric"?'),
    (changed("release.seed", 7), "seed 7, not trained here"),
    (changed("pretrain.with.image_tower", "builtin:nothing"), "no builtin model is called"),
]


@pytest.mark.parametrize(("said", "expected"), WRONG, ids=[expected for _, expected in WRONG])
def test_a_mistake_is_one_line_before_anything_runs(said, expected, raw, tmp_path):
    from pairwright.components.environment import Environment
    from pairwright.flows.start import preflight

    with pytest.raises(PairwrightError) as error:
        preflight(Recipe.parse(said, "mine.yaml"), raw, Environment.load(workspace=str(tmp_path / "ws")))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ws" / "columns").exists()


@pytest.mark.slow
def test_every_shipped_recipe_plans(raw):
    for name in recipe_names():
        plan = plan_recipe(load_recipe(name), raw, resolve_model)
        assert plan.steps


def test_a_setting_changes_the_digest_of_its_step_and_of_what_reads_it_and_of_no_other(raw):
    one = planned(tiny_recipe(Path("data")), raw).steps
    said = changed("filter.score.caption_text", {"uses": "caption_text", "with": {"source": "keywords"}})
    other = planned(said, raw).steps
    assert {n for n in one if one[n].digest != other[n].digest} == {"caption_text", "same", "near"}


def test_a_global_step_heeds_the_population_and_a_scorer_does_not(raw, tmp_path):
    grown = shapes_dataset(tmp_path, 24, 4, name="raw")
    one, other = (planned(tiny_recipe(Path("data")), dataset).steps for dataset in (raw, grown))
    assert one["pdq"].digest == other["pdq"].digest
    assert one["near"].digest != other["near"].digest


def test_two_uses_of_one_scorer_never_collide(raw):
    said = tiny_recipe(Path("data"))
    said["filter"]["score"]["keywords_text"] = {"uses": "caption_text", "with": {"source": "keywords"}}
    steps = planned(said, raw).steps
    assert steps["keywords_text"].columns != steps["caption_text"].columns


def test_steps_in_the_general_form_make_the_same_plan(raw):
    sugar = tiny_recipe(Path("data"))
    general = copy.deepcopy(sugar)
    listed = [*general["filter"].pop("score").items(), *general["filter"].pop("select").items()]
    general["steps"] = [{"name": n, **({"uses": s} if isinstance(s, str) else s)} for n, s in reversed(listed)]
    one, other = planned(sugar, raw).steps, planned(yaml.safe_load(yaml.safe_dump(general)), raw).steps
    assert {n: s.digest for n, s in one.items()} == {n: s.digest for n, s in other.items()}


def test_a_caption_source_that_is_a_step_comes_first(raw):
    said = tiny_recipe(Path("data"))
    said["recaption"] = {
        "fused_features": {"uses": "text_features", "with": {"tower": "builtin:tiny-text", "source": "fused"}},
        "fused": "fuse",
    }
    steps = list(planned(said, raw).steps)
    assert steps.index("fused") < steps.index("fused_features")


def test_a_recipe_of_another_kind_of_component_is_refused(raw):
    with pytest.raises(InvalidRecipe, match="is a benchmark and makes no columns"):
        planned(changed("filter.score.image", "retrieval"), raw)
