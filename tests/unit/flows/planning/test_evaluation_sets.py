"""What a recipe evaluates on is told apart by what it shows and says, whatever it is called; the plan heeds it."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.groups import OVERLAP, held_out
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.dataset.shards.scan import ScanTask, run_local
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.environment import Environment
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.recipe import Recipe
from pairwright.flows.planning.evaluation_sets import KIND, RULE, caption_sources
from pairwright.flows.planning.plan import job_of
from pairwright.flows.running.run import Run, open_run

pytestmark = pytest.mark.platform


def scene(seed: int, side: int = 160) -> Image.Image:
    """A picture with a hash of its own: blobs of every size."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (24, 24), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).convert("RGB")


def stored(image: Image.Image, form: str = "PNG", **options: Any) -> tuple[str, bytes]:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return form.lower().replace("jpeg", "jpg"), stream.getvalue()


Pairs = dict[str, tuple[tuple[str, bytes], str | None]]


def dataset(root: Path, name: str, pairs: Pairs, per_shard: int = 100) -> Dataset:
    with ShardWriter(str(root / name), name, pairs_per_shard=per_shard) as writer:
        for key, ((suffix, data), text) in pairs.items():
            writer.add(key, [("image", "image", suffix, data)], [caption(text)] if text is not None else [])
    return writer.dataset


WHITE = stored(Image.new("RGB", (64, 64), "white"))
DEV: Pairs = {"000000000": (stored(scene(1)), "A lighthouse at dusk."), "000000001": (stored(scene(2)), "Key")}
TEST: Pairs = {
    "000000000": (stored(scene(3)), "Two ferries leaving a harbour"),
    "flat": (stored(Image.new("RGB", (64, 64), "white")), None),
}
TRAIN: Pairs = {
    "000000000": (stored(scene(10)), "an unrelated pair under an evaluation pair's key"),
    "000000001": (stored(scene(1).resize((90, 90)), "JPEG", quality=60), "the same picture, smaller and re-encoded"),
    "000000002": (stored(scene(11)), "a lighthouse  at DUSK"),
    "000000003": (stored(scene(12)), "a key ring"),
    "000000004": (stored(scene(3), "WEBP", quality=70), None),
    "000000005": (WHITE, "a blank page"),
    "000000006": (stored(scene(13)), None),
    "000000007": (("png", b"no picture at all"), "key"),
}
APART = {
    "000000001": ("picture", "dev/000000000"),
    "000000002": ("caption", "dev/000000000"),
    "000000004": ("picture", "test/000000000"),
    "000000005": ("picture", "test/flat"),
    "000000007": ("caption", "dev/000000001"),
}


def recipe_on(root: Path, **sections: Any) -> Recipe:
    said = {
        "name": "mine",
        "data": str(root / "train"),
        "filter": {"score": {"image": "image"}, "keep": {"readable": "image.readable"}},
        "evaluate": {"dev": str(root / "dev"), "test": str(root / "test"), "benchmarks": {"retrieval": "retrieval"}},
    }
    return Recipe.parse(said | sections, "mine.yaml")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, pairs in (("dev", DEV), ("test", TEST), ("train", TRAIN)):
        dataset(tmp_path, name, pairs, per_shard=4)
    return tmp_path


def opened(root: Path, recipe: Recipe | None = None, data: str = "train", flow: str = "pipeline") -> Any:
    environment = Environment.load(workspace=str(root / "workspace"))
    return open_run(recipe or recipe_on(root), environment, open_dataset(str(root / data)), flow=flow, quiet=True)


def overlap_of(run: Run) -> ColumnsView:
    """What the stage does, without Prefect around it."""
    from pairwright.flows.stages.held_out import hold_out, write_evaluation

    hashes = run.plan.steps["evaluation_hash"]
    run_local(ScanTask([job_of(hashes)], run.store.root), run.dataset.shards)
    write_evaluation(run)
    hold_out(run, list(run.dataset.shards), lambda done, total: None)
    return ColumnsView(run.dataset, run.store, run.plan.where({OVERLAP}))


def test_a_pair_is_held_out_for_its_picture_or_its_caption_and_never_for_its_key(place: Path) -> None:
    with opened(place) as run:
        view = overlap_of(run)
        keys = view.sidecar(["key"])["key"].to_pylist()
        found = {
            key: (by, of)
            for key, by, of in zip(keys, *(view.column(f"{OVERLAP}.{c}").to_pylist() for c in ("by", "of")))
            if by is not None
        }
        assert found == APART
        assert [key for key, apart in zip(keys, held_out(view)) if apart] == list(APART)


def test_the_rule_comes_first_and_its_drops_stand_in_the_ledger_and_the_funnel(place: Path) -> None:
    from pairwright.components.filter.rules.rules import Rule, apply_rules

    with opened(place) as run:
        overlap_of(run)
        run_local(ScanTask([job_of(run.plan.steps["image"])], run.store.root), run.dataset.shards)
        view = ColumnsView(run.dataset, run.store, run.plan.where())
        rules = [Rule(name, text) for name, text in run.plan.recipe.filter.keep.items()]
        assert rules[0] == Rule(RULE, f"NOT {OVERLAP}.drop")
        selected = apply_rules(view, rules)
        selected.ledger.check()
        assert selected.ledger.dropped == {RULE: len(APART), "readable": 0}
        assert selected.funnel[0]["dropped"] == len(APART)
        details = {v["detail"] for v in selected.verdicts.to_pylist() if v["rule"] == RULE}
        assert "evaluation_overlap_of:dev/000000000" in details
        assert run.recipe.filter.keep.keys() == {"readable"}  # what was written stays as it was written


def test_a_new_shard_costs_one_shard_and_another_evaluation_set_costs_all(place: Path) -> None:
    with opened(place) as run:
        overlap_of(run)
        first = run.plan.steps[OVERLAP].columns
    old = open_dataset(str(place / "train"))
    new = dataset(place, "more", {"x": (stored(scene(20)), "new")})
    Dataset("grown", str(place / "grown"), (*old.shards, *new.shards)).save()
    with opened(place, data="grown") as run:
        step = run.plan.steps[OVERLAP].columns
        assert step == first
        assert [shard.digest for shard in run.store.missing(step, run.dataset.shards)] == [new.shards[0].digest]
    dataset(place, "dev", DEV | {"third": (stored(scene(30)), "a third")})
    with opened(place, data="grown") as run:
        assert run.plan.steps[OVERLAP].columns != first
        assert KIND in run.plan.steps[OVERLAP].component.settings.groups.path


def test_whatever_learns_from_the_population_reads_it_and_knows_it_by_its_digest(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shapes_dataset(data, 24, 2, name="raw")
    for number, name in enumerate(("dev", "test"), start=1):
        shapes_dataset(data, 12, 1, name=name, start=10_000 * number, wording=number)
    said = Recipe.parse(tiny_recipe(data), "tiny.yaml")
    environment = Environment.load(workspace=str(tmp_path / "ws"))
    with open_run(said, environment, open_dataset(str(data / "raw")), flow="pipeline", quiet=True) as run:
        before = run.plan.steps
        assert all(OVERLAP in before[name].reads for name in ("same", "near"))
        assert before[OVERLAP].component.settings.hash == "pdq.hash"  # the recipe's own hashes
    shapes_dataset(data, 13, 1, name="dev", start=10_000, wording=1)
    with open_run(said, environment, open_dataset(str(data / "raw")), flow="pipeline", quiet=True) as run:
        changed = {name for name, step in run.plan.steps.items() if step.digest != before[name].digest}
    assert changed == {OVERLAP, "same", "near"}


def test_captions_compared_are_those_evaluated_with_and_those_trained_on_but_not_what_steps_make() -> None:
    said = copy.deepcopy(tiny_recipe(Path("data")))
    said["recaption"] = {"fused": "fuse"}
    said["pretrain"]["with"]["captions"] = {"alt": 0.5, "fused": 0.25, "description": 0.25}
    said["evaluate"]["benchmarks"]["by_title"] = {"uses": "retrieval", "with": {"source": "title"}}
    assert caption_sources(Recipe.parse(said, "x")) == ["alt", "description", "title"]
    said["pretrain"]["with"] |= {
        "captions": {"alt": 1},
        "trainable": "all",
        "objective": {"uses": "one_to_k", "with": {"texts": ["alt", "translation@de", "fused"]}},
    }
    assert caption_sources(Recipe.parse(said, "x")) == ["alt", "title", "translation@de"]


def test_without_its_evaluation_sets_only_curation_goes_on_and_says_so(place: Path) -> None:
    recipe = recipe_on(place, evaluate={"dev": str(place / "gone"), "test": str(place / "test")})
    with opened(place, recipe) as run, pytest.raises(DatasetError, match="gone is not a dataset"):
        run.plan.fits()
    with opened(place, recipe, flow="curate") as run:
        assert OVERLAP not in run.plan.steps
        assert "nothing is held out for evaluation" in run.warnings[0]


@pytest.mark.parametrize("section", ["score", "keep"])
def test_a_step_or_rule_of_that_name_is_refused(place: Path, section: str) -> None:
    said = recipe_on(place).filter.model_dump()
    said[section] = {OVERLAP: "image"} if section == "score" else {RULE: "true"}
    with opened(place, recipe_on(place, filter=said)) as run, pytest.raises(InvalidRecipe, match="rename yours"):
        run.plan.fits()


def test_nothing_is_held_out_where_nothing_is_evaluated(place: Path) -> None:
    with opened(place, recipe_on(place, evaluate=None)) as run:
        assert OVERLAP not in run.plan.steps
        view = ColumnsView(run.dataset, ColumnStore(run.store.root), {})
        assert held_out(view).tolist() == [False] * len(TRAIN)
        assert pa.array(held_out(view)).true_count == 0
