"""Contract 2, walked: every stage of a plan, every input changed in turn. What changes is what reads it, and nothing
else: no other stage, and no stage for a comment, a docstring, a folder's place or a folder's name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from shapes import shapes_dataset
from taught import Taught
from tiny import tiny_recipe

from pairwright.components import digest, source_code
from pairwright.components.environment import Environment
from pairwright.components.models.resolve import hash_folder
from pairwright.components.recipe import Recipe
from pairwright.components.tracking.promotion import PromotionRule
from pairwright.flows.planning import digests
from pairwright.flows.running.run import Run
from pairwright.flows.stages.gates import SETTINGS, about_gate
from pairwright.flows.stages.training import planned_fit
from pairwright.flows.terminal.console import Console
from pairwright.flows.train import planned_benchmarks

pytestmark = [pytest.mark.platform, pytest.mark.slow]


def folder_of(root: Path, name: str, text: str) -> Path:
    """A model's folder; what is in it follows from `text` alone."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"format": "pairwright-dual-encoder", "vocab_size": 9}')
    (folder / "model.safetensors").write_text(text)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> SimpleNamespace:
    """Data sets and model folders: some the same bytes elsewhere, some other bytes."""
    root = tmp_path_factory.mktemp("digests")
    data = root / "data"
    made = {
        "raw": shapes_dataset(data, 12, 2, name="raw"),
        "grown": shapes_dataset(data / "more", 18, 3, name="raw"),
        "dev": shapes_dataset(data, 8, 1, name="dev", start=100),
        "other": shapes_dataset(data, 8, 1, name="other", start=300),
        "test": shapes_dataset(data, 8, 1, name="test", start=200),
    }
    shutil.copytree(data / "dev", data / "moved-dev")
    models = {name: folder_of(root, name, name) for name in ("teacher", "scribe", "trained", "champion", "second")}
    for name in ("teacher", "scribe", "trained"):
        models[f"moved {name}"] = Path(shutil.copytree(models[name], root / "elsewhere" / f"as-{name}"))
    return SimpleNamespace(root=root, data=data, models=models, **made)


def recipe_of(place: Any) -> dict[str, Any]:
    said = tiny_recipe(place.data)
    said["filter"]["fit"] = {"ngrams": {"uses": "ngram_model", "with": {"source": "alt"}}}
    local = {"uses": "local", "model": str(place.models["scribe"])}
    said["recaption"]["fused"] = {"uses": "fuse", "with": {"source": "alt", "text_model": local}}
    said["pretrain"]["with"]["objective"] = {
        "uses": "taught_in_digest_test",
        "with": {"teacher": str(place.models["teacher"])},
    }
    said["evaluate"] |= {
        "ablation": ["curated", "raw", "random"],
        "compression": {"order": "pdq.quality", "shares": [0.5], "seeds": [0], "steps": 3, "dim": 4, "batch_size": 4},
        "grid": {"formats": ["keywords"], "shares": [0, 0.5], "seeds": [0]},
    }
    said["gates"] = {name: {} for name in SETTINGS}
    return said


def first_world(place: Any) -> dict[str, Any]:
    """Every input of every stage."""
    return {
        "recipe": recipe_of(place),
        "dataset": place.raw,
        "workspace": place.root / "workspace",
        "environment": {"device": "cpu"},
        "model": place.models["trained"],
        "champion": hash_folder(place.models["champion"]),
        "data_version": "md5",
        "version": 2,
        "kept": [0, 2, 4],
        "readable": [0, 1, 2, 4, 5],
        "drawn": [1, 2, 5],
        "metrics": {"dev": "0.5", "test": "0.4"},
        "index": "vectors",
        "refused": None,
        "warnings": [],
    }


def rows(numbers: list[int], dataset: Any) -> pa.Table:
    shards = [dataset.shards[number % 2].digest for number in numbers]
    return pa.table({"shard": shards, "row": pa.array(numbers, pa.int32())})


def committed(run: Run, kind: str, name: str, text: str) -> Path:
    if not run.artifacts.has(kind, name):
        with run.artifacts.commit(kind, name) as partial:
            (partial / "made").write_text(text)
    return run.artifacts.path(kind, name)


def walk(world: dict[str, Any]) -> dict[str, str]:
    """The digest of every stage, computed as the stages do."""
    recipe = Recipe.parse(world["recipe"], "mine.yaml")
    environment = Environment(workspace=str(world["workspace"]), **world["environment"])
    run = Run(recipe, environment, world["dataset"], world["dataset"], Console(True), "id", "test")
    run.warnings = world["warnings"]
    run.made = set(run.plan.steps)
    assert recipe.pretrain is not None
    assert recipe.evaluate is not None
    assert recipe.evaluate.compression is not None
    steps = run.plan.steps
    found = {f"step {name}": step.digest for name, step in steps.items()}
    scored = [s for s in steps.values() if s.section == "filter" and s.kind == "scorer"]
    found["score"] = digests.score_digest(scored, run.dataset.shards)
    found["keep"] = run.results["selection"] = digests.keep_digest(run)
    folders = {s: committed(run, "metrics", f"{s}-{text}", text) for s, text in world["metrics"].items()}
    run.results["metrics"] = {arm: {"0": {s: str(p) for s, p in folders.items()}} for arm in recipe.evaluate.ablation}
    for name, settings in SETTINGS.items():
        parsed = settings.parse(recipe.gates[name], "gates")
        found[f"gate {name}"] = digests.gate_digest(name, parsed, about_gate(run, name))
    fit = planned_fit(run, recipe.pretrain, 0)
    for arm, numbers in (("curated", "kept"), ("raw", "readable"), ("random", "drawn")):
        found[f"train {arm}"] = digests.model_digest(run, fit, rows(world[numbers], world["dataset"]))
    weights, benchmarks = hash_folder(world["model"]), planned_benchmarks(run, recipe.evaluate)
    for split, dataset in run.splits.items():
        found[f"evaluate {split}"] = digests.metrics_digest(world["model"], dataset, benchmarks)
    kept = {0: rows(world["kept"], world["dataset"])}
    dev = run.splits["dev"]
    found["trial"] = digests.trial_digest(run, {0: fit}, kept, benchmarks, dev, "retrieval.t2i_r1")
    assert recipe.evaluate.grid is not None
    found["grid"] = digests.grid_digest(recipe.evaluate.grid, [found["trial"]])
    found["ablation"] = digests.ablation_digest(run.results["metrics"])
    inputs = digests.curve_inputs(run, recipe.evaluate.compression)
    found["point"] = digests.point_digest(inputs, 0, np.array([1, 2]))
    found["compression"] = digests.curve_digest(run, recipe.evaluate.compression)
    found["version"] = digests.version_digest(run)
    assert recipe.release is not None
    rule = PromotionRule.parse(recipe.release.promote, "release.promote")
    found["register"] = digests.decision_digest(
        run, world["model"], world["data_version"], rule, benchmarks, world["champion"], world["refused"]
    )
    found["register fit"] = digests.fit_registration_digest(run, weights, "pairwright-reward")
    found["index"] = digests.index_digest(run, weights, rows(world["kept"], world["dataset"]))
    index = committed(run, "indexes", world["index"], world["index"])
    found["package"] = digests.bento_digest(run, weights, index, world["version"])
    found["report"] = digests.report_digest(run)
    return found


def said(path: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    """Set one value of the recipe; `value` may be a function of the place."""

    def change(world: dict[str, Any], place: Any) -> None:
        *above, last = path.split(".")
        target = world["recipe"]
        for name in above:
            if isinstance(target.get(name), str):
                target[name] = {"uses": target[name], "with": {}}
            target = target.setdefault(name, {})
        target[last] = value(place) if callable(value) else value

    return change


def put(name: str, value: Any) -> Callable[[dict[str, Any], Any], None]:
    def change(world: dict[str, Any], place: Any) -> None:
        world[name] = value(place) if callable(value) else value

    return change


def model(name: str) -> Callable[[Any], str]:
    return lambda place: str(place.models[name])


def data(name: str) -> Callable[[Any], str]:
    return lambda place: str(place.data / name)


def environment(**changes: Any) -> Callable[[dict[str, Any], Any], None]:
    def change(world: dict[str, Any], place: Any) -> None:
        world["environment"] |= changes

    return change


SELECTION = ("keep", "gate curated", "version")
TRAIN = ("train curated", "train raw", "train random", "trial", "grid")
CURVE = ("compression", "point")
METRICS = ("evaluate dev", "evaluate test")
SELECTED = {*SELECTION, "report"}
# What is evaluated on is held out of all that learns, before anything does.
HELD_OUT = SELECTED | {"score", "step evaluation_overlap", "step same", "step near", "step ngrams"}
FUSED = {"step fused", "version", "report"}
TRAINED = {*TRAIN, "report"}
FEATURES = {"step image_features", "step text_features"}
TOWERS = {*FEATURES, "score", *SELECTED, *TRAIN, *CURVE, *METRICS, "index", "register"}  # what towers make
TEXT_MODEL = "recaption.fused.with.text_model"
OBJECTIVE = "pretrain.with.objective.with"
# What is changed, and every stage that must heed it. The report shows the recipe as it is written, so it heeds prose.
CHANGES = {
    "a scorer's setting": (
        said("filter.score.caption_text.with.source", "keywords"),
        SELECTED | {"score", "step caption_text", "step near", "step same"},
    ),
    "a scorer nobody reads": (
        said("filter.score.language.with.source", "keywords"),
        SELECTED | {"score", "step language"},
    ),
    "a rule": (said("filter.keep.described", "caption_text.words >= 2"), SELECTED),
    "a frozen threshold": (
        said("filter.frozen", {"sharp_enough": {"quantile(pdq.quality, 0.05)": 3.0}}),
        SELECTED,
    ),
    "a fit's setting": (said("filter.fit.ngrams.with.order", 5), SELECTED | {"step ngrams"}),
    "a text model's weights": (
        said(TEXT_MODEL + ".model", model("second")),
        FUSED,
    ),
    "a text model's settings": (
        said(TEXT_MODEL + ".max_new_tokens", 9),
        FUSED,
    ),
    "an objective's weight": (said(OBJECTIVE + ".weight", 2.0), TRAINED),
    "an objective's model": (
        said(OBJECTIVE + ".teacher", model("second")),
        TRAINED,
    ),
    "another objective": (said("pretrain.with.objective", "clip"), TRAINED),
    "a learning rate": (said("pretrain.with.lr", 0.5), TRAINED),
    "a tower": (said("pretrain.with.image_tower", "builtin:efficientnet-lite0"), TRAINED),
    "precision": (environment(precision="bfloat16"), {*TRAIN}),
    "a shard": (
        put("dataset", lambda p: p.grown),
        {*SELECTION, *TRAIN, *CURVE, "gate raw", "index", "report", "score", "step near", "step ngrams", "step same"},
    ),
    "the kept pairs": (put("kept", [0, 2]), {"index", "train curated", "trial", "grid"}),
    "the readable pairs": (put("readable", [0, 1, 2]), {"train raw"}),
    "the draw": (put("drawn", [0, 1, 5]), {"train random"}),
    "the model": (
        put("model", lambda p: p.models["second"]),
        {*METRICS, "index", "package", "register", "register fit"},
    ),
    "the champion": (put("champion", lambda p: hash_folder(p.models["second"])), {"register"}),
    "no champion": (put("champion", None), {"register"}),
    "the data's version": (put("data_version", "another md5"), {"register"}),
    "the registered version": (put("version", 3), {"package"}),
    "dev": (
        said("evaluate.dev", data("other")),
        HELD_OUT | {*CURVE, "evaluate dev", "index", "register", "trial", "grid"},
    ),
    "test": (said("evaluate.test", data("other")), HELD_OUT | {*CURVE, "evaluate test"}),
    "a benchmark's setting": (
        said("evaluate.benchmarks.retrieval.with.seed", 1),
        {*METRICS, "register", "report", "trial", "grid"},
    ),
    "a benchmark more": (
        said("evaluate.benchmarks.more", "retrieval"),
        {*METRICS, "register", "report", "trial", "grid"},
    ),
    "metrics on dev": (put("metrics", {"dev": "0.6", "test": "0.4"}), {"ablation", "gate evaluation", "report"}),
    "metrics on test": (put("metrics", {"dev": "0.5", "test": "0.6"}), {"ablation", "gate evaluation", "report"}),
    "the promotion's rule": (said("release.promote.min_gain", 0.01), {"register", "report"}),
    "why none may be promoted": (put("refused", "judged elsewhere"), {"register"}),
    "the raw gate": (said("gates.raw.min_pairs", 2), {"gate raw", "report"}),
    "the curated gate": (said("gates.curated.sample", 5), {"gate curated", "report"}),
    "the evaluation gate": (said("gates.evaluation.severity", {"x": "warning"}), {"gate evaluation", "report"}),
    "the curve's order": (said("evaluate.compression.order", "caption_text.words"), {"compression", "report"}),
    "the curve's margin": (said("evaluate.compression.margin", 0.1), {"compression", "report"}),
    "the curve's heads": (said("evaluate.compression.dim", 8), {*CURVE, "report"}),
    "the grid's shares": (said("evaluate.grid.shares", [0, 1]), {"grid", "report"}),
    "the index": (put("index", "other vectors"), {"package"}),
    "the registry": (environment(tracking_uri="http://mlflow:5000"), {"package", "register", "register fit"}),
    "the registered name": (environment(registered_model="mine"), {"package", "register"}),
    "the DVC remote": (environment(dvc_remote="s3://bucket/dvc"), {"version"}),
    "a warning": (put("warnings", ["gate raw: few pairs"]), {"report"}),
    "prose": (said("description", "other words"), {"report"}),
    "a moved workspace": (put("workspace", lambda p: p.root / "moved" / "ws"), set()),
    "a moved text model": (
        said(TEXT_MODEL + ".model", model("moved scribe")),
        {"report"},
    ),
    "a moved teacher": (
        said(OBJECTIVE + ".teacher", model("moved teacher")),
        {"report"},
    ),
    "a moved and renamed model": (put("model", lambda p: p.models["moved trained"]), set()),
    "a moved split": (said("evaluate.dev", data("moved-dev")), {"report"}),
    "how often is checkpointed": (said("pretrain.with.checkpoint_every", 7), {"report"}),
    "threads": (said("pretrain.with.threads", 7), {"report"}),
    "workers": (environment(workers=3, train_workers=2), set()),
}


# Code that changes, and every stage that runs it; what each is run by is found, not listed, in the project.
EDITS = {
    "pairwright.components.filter.selections.duplicates.near_duplicates": {"step near", *SELECTION, "report"},
    "pairwright.components.filter.rules.selection": SELECTED,
    "pairwright.components.models.text_backends.local": FUSED,
    "pairwright.components.models.text_backends.openai": set(),
    "pairwright.components.models.onnx.graph": {*TOWERS, "package"},
    "pairwright.components.models.towers.untrained": {*TRAIN, *CURVE},
    "pairwright.components.pretrain.objectives.siglip": set(),
    "pairwright.components.training.trainer": {*TRAIN, *CURVE},  # the curve fits heads by it, as cross-fits do
    "pairwright.components.evaluate.benchmarks.retrieval": {*METRICS, *CURVE, "register", "trial", "grid"},
    "pairwright.components.evaluate.ablation": {"ablation"},
    "pairwright.components.evaluate.caption_grid": {"grid"},
    "pairwright.components.evaluate.compression": {*CURVE},
    "pairwright.components.validation.gates": {"gate raw", "gate curated", "gate evaluation"},
    "pairwright.components.tracking.promotion": {"register"},
    "pairwright.components.versioning.curated": {"version"},
    "pairwright.components.report.gallery": {"report"},
    "pairwright.flows.grid": {"grid"},
    "pairwright.flows.stages.compress": {"compression"},
    "pairwright.serving.packaging": {"package"},
    "pairwright.serving.service": {"package"},
}


@pytest.fixture(scope="module")
def before(place) -> dict[str, str]:
    return walk(first_world(place))


def differing(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_input_changes_every_stage_that_heeds_it_and_no_other(place, before, name):
    change, expected = CHANGES[name]
    world = first_world(place)
    change(world, place)
    assert differing(before, walk(world)) == expected


@pytest.fixture
def edit(monkeypatch):
    """Appends to the source of modules, as the digests read it."""
    read = source_code._source_of

    def append(text: str, edited: Callable[[str], bool]) -> None:
        monkeypatch.setattr(source_code, "_source_of", lambda name: read(name) + (text if edited(name) else ""))
        source_code.source_digest.cache_clear()

    yield append
    monkeypatch.undo()
    source_code.source_digest.cache_clear()


@pytest.mark.parametrize("module", EDITS)
def test_changed_code_changes_every_stage_that_runs_it_and_no_other(place, before, edit, module):
    edit("\nEDITED = 1\n", lambda name: name == module)
    assert differing(before, walk(first_world(place))) == EDITS[module]


def test_the_code_of_an_objective_that_the_recipe_names_is_the_trainings_own(place, before, edit):
    edit("\nEDITED = 1\n", lambda name: name == Taught.__module__)
    assert differing(before, walk(first_world(place))) == {*TRAIN}


def test_what_runs_a_tower_is_part_of_all_that_towers_make(place, before, monkeypatch):
    version = digest._version
    monkeypatch.setattr(digest, "_version", lambda name: "another" if name == "onnxruntime" else version(name))
    assert differing(before, walk(first_world(place))) == TOWERS


def test_a_comment_in_every_module_changes_nothing(place, before, edit):
    edit("\n# a comment\n", lambda name: True)
    assert differing(before, walk(first_world(place))) == set()


def test_every_input_of_every_digest_is_walked():
    """A stage's digest that is added, or that this walk forgot, is found here."""
    import inspect

    made = {name for name, f in inspect.getmembers(digests, inspect.isfunction) if name.endswith("_digest")}
    own = {name for name in made if getattr(digests, name).__module__ == digests.__name__}
    walked = inspect.getsource(walk)
    assert own - {"function_digest", "rows_digest"} == {name for name in own if f"digests.{name}(" in walked}
