"""Steps of `train:`: their order, their pairs, what they start from, and what is refused before long work starts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards.scan import ScanTask, run_local
from pairwright.components.environment import Environment
from pairwright.components.errors import InvalidRecipe
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.resolve import hash_folder
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.recipe import PROSE, Recipe
from pairwright.components.registry import fit
from pairwright.flows.planning.check import check_recipe
from pairwright.flows.planning.digests import model_digest
from pairwright.flows.planning.plan import job_of
from pairwright.flows.running.run import open_run
from pairwright.flows.stages.train_steps import pairs_of_step, planned_step, train_order
from pairwright.flows.train import seeds_of

pytestmark = pytest.mark.platform


@fit("speechless_in_steps_test")
class Speechless(FitDualEncoder):
    """Trains as a dual encoder does, and makes what no benchmark can ask anything."""

    speaks = ()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("steps")
    shapes_dataset(root / "data", 24, 2, name="raw")
    for number, name in enumerate(("dev", "test"), start=1):
        shapes_dataset(root / "data", 12, 1, name=name, start=10_000 * number, wording=number)
    return root


def said(place: Path, **steps: Any) -> dict[str, Any]:
    """The tiny recipe with these steps in place of `pretrain`, their settings those of its fit."""
    recipe = copy.deepcopy(tiny_recipe(place / "data"))
    settings = recipe.pop("pretrain")["with"]
    steps = steps or {"align": {}, "tune": {"init": "step:align", "data": "pdq.quality >= 50"}}
    recipe["train"] = {
        name: {"uses": "dual_encoder", **step, "with": settings | step.get("with", {})} for name, step in steps.items()
    }
    recipe["evaluate"]["ablation"] = ["curated"]
    recipe["release"]["arm"] = next(iter(steps))
    return recipe


def opened(place: Path, recipe: dict[str, Any], workspace: str = "ws") -> Any:
    environment = Environment.load(workspace=str(place / workspace))
    data = open_dataset(str(place / "data" / "raw"))
    return open_run(Recipe.parse(recipe, "mine.yaml"), environment, data, flow="pipeline", quiet=True)


def test_a_step_comes_after_those_it_starts_from_or_names(place: Path) -> None:
    recipe = said(place, tune={"init": "step:align"}, align={"needs": ["first"]}, first={})
    assert train_order(Recipe.parse(recipe, "x")) == ["first", "align", "tune"]
    taught = said(place, pupil={"with": {"objective": {"uses": "clip", "with": {"teacher": "step:master"}}}}, master={})
    assert train_order(Recipe.parse(taught, "x")) == ["master", "pupil"]
    with opened(place, said(place)) as run:
        assert check_recipe(run)
        assert seeds_of(run) == {"align": (0,), "tune": (0,)}


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ({"a": {"init": "step:b"}, "b": {"init": "step:a"}}, "train steps a, b need each other in a circle"),
        ({"curated": {}}, "train.curated: the name is taken"),
        ({"pdq": {}}, "train.pdq: the name is taken"),
        ({"a": {"init": "step:bb"}}, 'names no fit of the recipe'),
        ({"a": {"needs": ["b"]}}, 'train.a needs "b", no step of train'),
        ({"a": {"evaluate": ["retrievel"]}}, 'no benchmark is called "retrievel"; did you mean "retrieval"?'),
        ({"a": {"data": "pdq.qualty > 3"}}, 'did you mean "pdq.quality"?'),
        ({"a": {"with": {"stepz": 3}}}, 'train.a: unknown key "stepz"; did you mean "steps"?'),
        ({"a": {"uses": "ngram_model", "init": "models/x"}}, "ngram_model cannot start from another model's weights"),
        ({"a": {"with": {"image_features": "image_features.vektor"}}}, 'did you mean "image_features.vector"?'),
        ({"a": {"with": {"captions": {"title": 1.0}, "text_features": {"title": "text_features.vector"}}}},
         'no pair of raw has a caption "title"'),
        ({"a": {"evaluate": []}}, "release names arm a, seed 0, not trained here"),
        ({"a": {}, "b": {"uses": "speechless_in_steps_test"}},
         "benchmark retrieval asks for a dual_encoder, and what train.b.uses speechless_in_steps_test makes is nothing "
         "a benchmark can ask; say in train.b.evaluate which benchmarks measure it"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_before_anything_runs(place: Path, steps: dict[str, Any], line: str) -> None:
    with opened(place, said(place, **steps)) as run, pytest.raises(InvalidRecipe) as error:
        check_recipe(run)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not (place / "ws" / "columns").exists()


def test_a_step_that_no_benchmark_measures_may_speak_no_protocol(place: Path) -> None:
    steps = {"a": {}, "b": {"uses": "speechless_in_steps_test", "evaluate": []}}
    with opened(place, said(place, **steps)) as run:
        assert check_recipe(run)


def test_a_recipe_without_steps_has_the_digest_it_had_before_there_were_any(place: Path) -> None:
    recipe = Recipe.parse(tiny_recipe(place / "data"), "tiny.yaml")
    before = recipe.model_dump(mode="json", exclude={*PROSE, "train", "search"}, by_alias=True)
    assert recipe.digest == sha256_text(canonical([before, list(recipe.filter.keep)]))
    assert Recipe.parse(said(place), "x").digest != Recipe.parse(said(place, align={}), "x").digest


def test_a_step_learns_from_the_kept_pairs_that_meet_its_condition(place: Path, tmp_path: Path) -> None:
    with opened(place, said(place), "data-of-steps") as run:
        run_local(ScanTask([job_of(run.plan.steps["pdq"])], run.store.root), run.dataset.shards)
        run.made.add("pdq")
        quality = run.view().column("pdq.quality").to_pylist()
        rows = [(s.digest, row) for s in run.dataset.shards for row in range(s.rows)]
        middle = sorted(quality)[len(quality) // 2]
        kept = pa.table({"shard": [s for s, _ in rows[::2]], "row": pa.array([r for _, r in rows[::2]], pa.int32()),
                         "key": ["k"] * len(rows[::2])})  # fmt: skip
        pq.write_table(kept, tmp_path / "kept.parquet")

        def pairs(data: str) -> list[tuple[str, int]]:
            spec = run.recipe.train["tune"].model_copy(update={"data": data})
            found = pairs_of_step(run, "tune", spec, tmp_path)
            return list(zip(found["shard"].to_pylist(), found["row"].to_pylist(), strict=True))

        assert pairs("kept") == rows[::2]
        wanted = [pair for pair, value in zip(rows[::2], quality[::2], strict=True) if value >= middle]
        assert pairs(f"pdq.quality >= {middle}") == wanted
        assert 0 < len(wanted) < len(rows[::2])
        with pytest.raises(InvalidRecipe, match=r"train\.tune: no kept pair meets"):
            pairs("pdq.quality > 1000")


def test_a_step_is_known_by_the_content_of_what_it_starts_from_and_by_its_pairs(place: Path, tmp_path: Path) -> None:
    def folder(name: str, text: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(text)
        return tmp_path / name

    with opened(place, said(place)) as run:
        rows = pa.table({"shard": [run.dataset.shards[0].digest] * 3, "row": pa.array([0, 1, 2], pa.int32())})
        spec = run.recipe.train["tune"]

        def digest(weights: Path, rows: pa.Table = rows, seed: int = 0) -> str:
            return model_digest(run, planned_step(run, "tune", spec, seed, {"align": {0: weights}}), rows)

        one, moved, other = folder("one", "w"), folder("moved", "w"), folder("other", "v")
        assert digest(one) == digest(moved)
        assert len({digest(one), digest(other), digest(one, rows.slice(1)), digest(one, seed=1)}) == 4
        fit = planned_step(run, "tune", spec, 0, {"align": {3: one}})  # no model of its seed: the first there is
        assert fit.settings.init.weights == hash_folder(one)
