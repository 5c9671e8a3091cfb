"""Every shipped recipe runs, on 240 pairs of the demo corpus and with training cut short, to its report.

One process runs them all, so that columns, Ray's session, Prefect's server, imports and towers' features are paid once.
`quickstart` has tests of its own (test_readme.py, test_pipeline.py).
"""

from __future__ import annotations

import functools
import json
import operator
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniature import first_pairs, in_miniature

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.recipe_layers import merged
from pairwright.flows.recipes import load_recipe, recipe_names

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = [name for name in recipe_names() if name != "quickstart"]


# What 240 pairs cannot carry as the recipe has it: path -> value.
SMALLER: dict[str, dict[str, Any]] = {
    "capsfusion": {  # a student of thirty steps does not know when to end, and three beams of that take long
        "recaption.fused.with.text_model.decoding": {"search": "greedy", "twice_running": True}
    },
    "benchmarks": {  # they do not teach every group that is judged, but every artist
        f"evaluate.benchmarks.{name}.with.label": "style" for name in ("probe", "neighbours")
    },
    # Each drawn caption of an untaught captioner is as long as may be, and passes two text towers.
    "clip_reward": {"filter.fit.tuned.with.batch_size": 8, "filter.fit.tuned.with.samples": 2},
    "discritune": {"filter.fit.tuned.with.batch_size": 16},
    "no_detail_left_behind": {"train.tuned.with.batch_size": 16},  # the largest of its bags
    "compress_and_align": {
        "filter.select.silver.with.circle": 6,  # in circles of 16: too few groups to cross-fit on
        "filter.fit.reward.with.folds": 3,
        "filter.fit.reward.with.curve": [1.0],
    },
    "mlbcap": {"filter.fit.captioner.with.batch_size": 4},  # of twelve figures some eight have a good caption
    "howtocaption": {"filter.fit.encoder.with.batch_size": 8},  # of sixteen clips
    "prefix_conditioning": {"pretrain.with.batch_size": 8},  # of one artist each
    "sail_vl": {"filter.select.stages.with.shares": [1.0, 0.8, 0.65]},  # of a tenth a pair is over 1% of its budget
    "sharegpt4v": {"filter.select.exchange.with.count": 10},  # of 20 scenes of a kind
    "sitta": {"recaption.said.with.prompts": 4},  # of 40 orders
}
# Cut as those of `train` are.
TASKS = (
    *("captioner", "cnm", "dual_encoder", "format_captioner", "grammar_head", "language_model", "self_critical"),
    "text_captioner",
)
MOST = {"steps": 6, "warmup_steps": 2, "batch_size": 32, "micro_batch": 8, "epochs": 1}


def cut_short(name: str) -> dict[str, Any]:
    """The recipe resolved, but one seed, one arm and few steps: what it does is left as it is."""
    said = merged(load_recipe(name).layers)
    for step in (said.get("pretrain"), *said.get("train", {}).values()):
        if step:
            step["with"] = {"steps": 6, "warmup_steps": 2, "batch_size": 32} | fewer(step.get("with", {}), MOST)
            step["seeds"] = [0]
    if said.get("evaluate"):
        if said.get("pretrain"):
            said["evaluate"]["ablation"] = ["curated"]
        if "compression" in said["evaluate"]:
            said["evaluate"]["compression"] |= {"shares": [0.5, 0.2], "seeds": [0, 1], "steps": 20}
        if "grid" in said["evaluate"]:
            few = said["evaluate"]["grid"]["formats"][:1]
            said["evaluate"]["grid"] |= {"formats": few, "shares": [0.0, 0.5, 1.0], "seeds": [0]}
    if "release" in said:
        said["release"]["seed"] = 0
    for step in said["filter"].get("fit", {}).values():
        most = MOST if step["uses"] in TASKS else {"steps": 30}
        most_of = {} if step["uses"] in ("ngram_model", "token_map") else {"steps": most["steps"]}
        step["with"] = most_of | fewer(step.get("with", {}), most)
    for path, value in SMALLER.get(name, {}).items():
        *outer, last = path.split(".")
        functools.reduce(operator.getitem, outer, said)[last] = value
    return said


def fewer(said: dict[str, Any], most: dict[str, int]) -> dict[str, Any]:
    """Settings whose numbers named in `most` are at most that."""
    return {key: min(value, most[key]) if value and key in most else value for key, value in said.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One workspace for all, so that what recipes share is computed once.

    `data/raw`, the emoji corpus and the scenes composed of it in miniature, the demo corpus's splits whole.
    """
    folder = tmp_path_factory.mktemp("recipes")
    from pairwright.components.versioning import pull_data

    corpus = Path(pull_data(REPOSITORY))
    (folder / "data").mkdir()
    for split in ("dev", "test"):
        (folder / "data" / split).symlink_to(corpus / split)
    in_miniature(open_dataset(str(corpus / "raw")), folder / "data" / "raw")
    for split in ("emoji", "emoji-dev", "emoji-test"):
        first_pairs(open_dataset(str(corpus / split)), folder / "data" / split)
    ingest_all("figures", f"{folder}/data/emoji", f"{folder}/build/figures", count=12)
    ingest_all("scenes", f"{folder}/data/emoji", f"{folder}/build", count=120, evaluation_count=60)
    ingest_all("clips", f"{folder}/data/emoji", f"{folder}/build", count=16, evaluation_count=2, side=64, actions=2)
    ingest_all("sounds", None, f"{folder}/build", count=96, evaluation_count=8)
    shutil.copy(REPOSITORY / "data.dvc", folder)  # as beside a clone's data, where the demo shop is made by itself
    return folder


RUNNER = """
import json, sys
from pairwright.components.engine.cluster import Session
from pairwright.flows.cli import leave
from pairwright.flows.start import run_from_command

answers = sys.stdout
sys.stdout = sys.stderr
Session().ensure()  # a run's own session finds this one and leaves it running
for line in sys.stdin:
    try:
        said = run_from_command(line.strip(), data=None, limit=None, only=None, workspace="workspace", quiet=True)
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said | {"asked": line.strip()}), file=answers, flush=True)
leave(0)
"""


@pytest.fixture(scope="module")
def runner(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the recipe each line names and answers with a line, its record."""
    with (place / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            cwd=place,
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        yield process
        process.stdin.close()
        process.wait(timeout=120)


def record_of(name: str, said: dict[str, Any], runner: subprocess.Popen[str], place: Path) -> dict[str, Any]:
    """What a run of a recipe so resolved came to."""
    (place / f"{name}.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    runner.stdin.write(f"{name}.yaml\n")
    runner.stdin.flush()
    record = answer_to(f"{name}.yaml", runner, place)
    assert "error" not in record, record["error"]
    return record


def answer_to(asked: str, runner: subprocess.Popen[str], place: Path) -> dict[str, Any]:
    """The record of the recipe asked for; one that a test gave up waiting for is passed over."""
    while True:
        answer = runner.stdout.readline()
        assert answer, (place / "stderr").read_text()[-3000:]
        record: dict[str, Any] = json.loads(answer)
        if record["asked"] == asked:
            return record


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_runs_to_its_report(name, place, runner):
    record = record_of(name, cut_short(name), runner, place)
    assert record["results"]["ledger"]["kept"] > 0
    page = Path(record["results"]["report"]).read_text(encoding="utf-8")
    assert name in page
    if name == "one_to_k_ccrk":
        assert "languages.t2i_mrv" in page
        assert "languages.ja_i2t_recall" in page
    if name == "benchmarks":
        figures = ("bags.group_score", "robust.blur_cost", "robust.style_disagreement", "probe.accuracy", "Prompts: ")
        assert all(figure in page for figure in figures)
        assert "Pictures: whole, squashed to 224x224" in page
    if name == "revisit_captions":
        assert 'id="grid"' in page
        assert 'class="chart heat"' in page
        assert record["results"]["grid"]
    if name == "compress_and_align":
        assert 'id="compression"' in page
        assert 'id="figures"' in page  # what the reward measured of itself
        assert record["results"]["compression"]


def test_a_grids_second_run_trains_nothing_and_a_further_seed_only_its_own(place, runner):
    said = cut_short("revisit_captions")
    first = record_of("revisit_captions", said, runner, place)
    rows = json.loads((Path(first["results"]["grid"]) / "grid.json").read_text())["rows"]
    assert [row["share"] for row in rows] == [0, 0.5, 1]
    again = record_of("revisit_captions", said, runner, place)
    assert {stage["status"] for stage in again["stages"]} == {"reused"}
    assert again["results"]["grid"] == first["results"]["grid"]

    said["evaluate"]["grid"]["seeds"] = [0, 1]
    more = {stage["name"]: stage["status"] for stage in record_of("revisit_captions", said, runner, place)["stages"]}
    trained = {name: status for name, status in more.items() if name.startswith("train grid_")}
    assert len(trained) == 6
    assert {status for name, status in trained.items() if name.endswith(" 0")} == {"reused"}
    assert {status for name, status in trained.items() if name.endswith(" 1")} == {"ran"}


def test_every_recipe_says_which_paper_it_follows_and_what_is_left():
    for name in RECIPES:
        recipe = load_recipe(name)
        assert recipe.paper or name in ("plain", "benchmarks"), name
        assert recipe.name == name
        assert bool(recipe.left) or recipe.status == "works", name
