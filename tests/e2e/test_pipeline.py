"""The whole pipeline on a project in miniature: what it makes, what it reuses, what it can answer."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from shapes import shapes_dataset
from tiny import pairwright, run_tiny, tiny_project

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.environment import Environment
from pairwright.flows.champion import champion_bento

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    recipe = tiny_project(tmp_path_factory.mktemp("tiny"))
    return recipe, run_tiny(recipe)


def folder_of(record) -> Path:
    return Path(record["results"]["selection_folder"])


def record_of(folder: Path) -> dict:
    return json.loads((folder / "selection.json").read_text())


def test_every_room_did_its_work(project):
    _, record = project
    stages = {stage["name"]: stage["status"] for stage in record["stages"]}
    for name in (
        "gate raw",
        "score",
        "hold out",
        "near",
        "keep",
        "gate curated",
        "recaption",
        "train curated 0",
        "train raw 0",
    ):
        assert stages[name] == "ran"
    for name in ("gate evaluation", "version", "register", "index", "package", "report"):
        assert stages[name] == "ran"
    assert record["results"]["release"]["promoted"]
    assert Path(record["results"]["report"]).stat().st_size > 10_000


def test_a_run_from_the_command_line_says_in_prefects_log_what_was_kept_and_not_on_the_terminal(project):
    recipe, record = project
    with closing(sqlite3.connect(recipe.parent / "workspace/prefect/prefect.db")) as database:
        said = [message for (message,) in database.execute("select message from log order by timestamp")]
    ledger = record["results"]["ledger"]
    assert said
    assert said[0].startswith(f"{ledger['kept']} of {ledger['pairs_in']} pairs kept; dropped: ")
    again = pairwright("run", str(recipe), "--workspace", "workspace", cwd=recipe.parent)
    assert said[0] not in again.stdout + again.stderr


def test_the_ledger_balances_and_every_pair_has_a_verdict(project):
    _, record = project
    ledger = record["results"]["ledger"]
    assert ledger["pairs_in"] == ledger["kept"] + sum(ledger["dropped"].values()) + sum(ledger["failed"].values())
    verdicts = pq.read_table(folder_of(record) / "verdicts.parquet")
    assert len(verdicts) == ledger["pairs_in"] == 96
    # A few shapes are drawn alike by chance; who is held out is counted, and in no arm.
    apart = {v["key"] for v in verdicts.to_pylist() if v["rule"] == "held_out"}
    assert len(apart) == ledger["dropped"]["held_out"] == record["results"]["held_out"]["held_out"] > 0
    assert record["results"]["held_out"]["against"] == "dev 48, test 48"
    pairs = {stage["name"]: stage["facts"].get("pairs") for stage in record["stages"]}
    assert pairs["train raw 0"] == 96 - len(apart)
    assert "held_out" in Path(record["results"]["report"]).read_text(encoding="utf-8")


def test_again_reuses_everything_and_starts_nothing(project):
    recipe, first = project
    served = recipe.parent / "workspace" / "bentoml" / "champion.json"
    before = served.read_text()
    served.unlink()  # as if the first run had been killed before it wrote what `serve` reads
    code = """
import json, sys
from pairwright.flows.cli import leave
from pairwright.flows.start import run_from_command
record = run_from_command("tiny.yaml", data=None, limit=None, only=None, workspace="workspace", quiet=True)
heavy = [name for name in ("ray", "great_expectations", "mlflow", "bentoml") if name in sys.modules]
print(json.dumps([record, heavy]))
leave(0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=recipe.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    record, heavy = json.loads(done.stdout.splitlines()[-1])
    assert {stage["status"] for stage in record["stages"]} == {"reused"}
    assert heavy == []
    assert record["results"]["selection"] == first["results"]["selection"]
    assert record["results"]["report"] == first["results"]["report"]
    assert served.read_text() == before


KERNEL = """
import asyncio, sys
from pathlib import Path
async def run_cells(cells):  # as a notebook's do, inside a running event loop
    scope = {}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"docs/python.md, block {number}", "exec"), scope)
    assert set(scope["run"].stages["status"].to_pylist()) == {"reused"}
asyncio.run(run_cells(Path(sys.argv[1]).read_text().split("# --- cell\\n")))
"""


def test_the_page_on_python_runs_as_a_notebook(project, tmp_path):
    """Every block in order, in one process, on the run that is there; of the page, only the recipe's name differs."""
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert sum('pw.run("quickstart", limit=1)' in block for block in blocks) == 1
    cells = [block.replace('pw.run("quickstart", limit=1)', 'pw.run("tiny.yaml")') for block in blocks]
    (tmp_path / "cells.py").write_text("# --- cell\n".join(cells))
    command = [sys.executable, "-c", KERNEL, str(tmp_path / "cells.py")]
    done = subprocess.run(command, cwd=project[0].parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'did you mean "caption_text"?' in done.stdout
    assert "held_out" in done.stdout
    assert "curated" in done.stdout


def test_a_changed_threshold_decodes_nothing_and_makes_another_selection(project):
    recipe, first = project
    said = yaml.safe_load(recipe.read_text())
    said["filter"]["keep"]["sharp_enough"] = "pdq.quality >= quantile(pdq.quality, 0.5)"
    changed = recipe.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(said, sort_keys=False))
    done = pairwright(
        "run", "changed.yaml", "--only", "curate", "--json", "--workspace", "workspace", cwd=recipe.parent
    )
    record = json.loads(done.stdout)
    stages = {stage["name"]: stage["status"] for stage in record["stages"]}
    assert stages["score"] == stages["near"] == stages["recaption"] == "reused"
    assert stages["keep"] == "ran"
    assert record["results"]["ledger"]["kept"] < first["results"]["ledger"]["kept"]


def test_a_new_shard_costs_one_shard(project, tmp_path):
    recipe, _ = project
    old = open_dataset(str(recipe.parent / "data" / "raw"))
    new = shapes_dataset(tmp_path, 24, 1, name="new", start=5_000)
    Dataset("raw", str(tmp_path / "grown"), (*old.shards, *new.shards)).save()
    done = pairwright(
        "run", "tiny.yaml", "--data", str(tmp_path / "grown"), "--only", "curate", "--json", "--workspace", "workspace",
        cwd=recipe.parent,
    )  # fmt: skip
    stages = {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}
    assert stages["score"]["status"] == "ran"
    assert stages["score"]["facts"]["shards"] == 1
    assert stages["hold out"]["facts"]["shards"] == 1
    assert stages["recaption"]["facts"]["shards"] == 1


def test_why_gives_true_reasons(project):
    recipe, record = project
    verdicts = pq.read_table(folder_of(record) / "verdicts.parquet").to_pylist()
    dropped = [v for v in verdicts if v["status"] == "dropped"]
    assert dropped
    expressions = yaml.safe_load(recipe.read_text())["filter"]["keep"] | {"held_out": "NOT evaluation_overlap.drop"}
    for verdict in dropped[:10]:
        done = pairwright(
            "why",
            f"raw/{verdict['key']}",
            "--json",
            "--workspace",
            "workspace",
            "--run",
            record["id"],
            cwd=recipe.parent,
        )
        (answer,) = json.loads(done.stdout)
        assert answer["status"] == "dropped"
        assert answer["rule"] == verdict["rule"]
        assert answer["expression"] == expressions[verdict["rule"]]
        if verdict["rule"] == "sharp_enough":
            cut = record_of(folder_of(record))["thresholds"]["sharp_enough"]
            assert answer["columns"]["pdq.quality"] < min(cut.values())


def test_lineage_leads_from_the_model_to_the_data_recipe_and_gates(project):
    recipe, record = project
    done = pairwright("lineage", "champion", "--json", "--workspace", "workspace", cwd=recipe.parent)
    answer = json.loads(done.stdout)
    assert answer["data"]["dataset_digest"] == record["dataset"]["digest"]
    assert answer["data"]["data_version"] == record["results"]["data_version"]
    assert answer["recipe"]["digest"] == record["recipe_digest"]
    assert {gate["name"] for gate in answer["gates"]} == {"raw", "curated", "evaluation"}
    assert len(answer["code"]["lock_hash"]) == 64
    shown = pairwright("lineage", "champion", "--workspace", "workspace", cwd=recipe.parent).stdout
    assert answer["data"]["dataset_digest"] in shown
    assert "passed" in shown


def test_checkout_restores_the_data_byte_for_byte(project, tmp_path):
    recipe, _ = project
    pairwright("checkout", "champion", str(tmp_path / "out"), "--workspace", "workspace", cwd=recipe.parent)
    raw = open_dataset(str(recipe.parent / "data" / "raw"))
    for shard in raw.shards:
        restored = tmp_path / "out" / "dataset" / Path(shard.tar).name
        assert restored.read_bytes() == Path(shard.tar).read_bytes()
    assert open_dataset(str(tmp_path / "out" / "dataset")).digest == raw.digest
    assert (tmp_path / "out" / "selection" / "kept.parquet").is_file()


def test_export_is_what_was_kept(project, tmp_path):
    recipe, record = project
    pairwright("export", str(tmp_path / "out"), "--run", record["id"], "--workspace", "workspace", cwd=recipe.parent)
    assert open_dataset(str(tmp_path / "out")).rows == record["results"]["ledger"]["kept"]


def test_rollback_without_a_way_back_says_so(project):
    recipe, _ = project
    done = pairwright("rollback", "--workspace", "workspace", cwd=recipe.parent, check=False)
    assert done.returncode == 1
    assert "NoChampion" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_judged_on_another_corpus_is_registered_and_not_promoted(project, tmp_path):
    """Splits drawn from other data say nothing of this; the same pairs, named as one's own, do."""
    recipe, first = project
    said = yaml.safe_load(recipe.read_text())
    for split in ("dev", "test"):
        own = open_dataset(said["evaluate"][split])
        facts = {"composition": {"pairs": {split: {"stamps": own.rows}}}}
        foreign = Dataset(f"stamps_{split}", str(tmp_path / split), own.shards, "Stamps of others", facts=facts)
        foreign.save()
        said["evaluate"][split] = foreign.root
    (recipe.parent / "foreign.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
    nobody_yet = {"PAIRWRIGHT_REGISTERED_MODEL": "another"}
    record = run_tiny(recipe.with_name("foreign.yaml"), **nobody_yet)
    released = record["results"]["release"]
    assert (released["version"], released["champion"], released["promoted"]) == (1, None, False)
    assert released["reason"].startswith("not promoted: judged on stamps_dev (Stamps of others) and stamps_test")
    assert "name evaluate.dev and evaluate.test of this data in the recipe" in released["reason"]
    assert released["reason"] in record["warnings"]
    assert "bento" not in record["results"]
    assert "stamps_dev" in Path(record["results"]["report"]).read_text()
    assert record["results"]["metrics"] == first["results"]["metrics"]  # the same pairs: measured as before
    own = run_tiny(recipe, **nobody_yet)["results"]["release"]
    assert (own["champion"], own["promoted"]) == (own["version"], True)


def test_splits_drawn_from_the_data_itself_are_held_out_and_said_to_be_what_figures_stand_on(project):
    recipe, first = project
    record = run_tiny(recipe, "--dev", "own", "--test", "own", "--only", "train")
    stages = {stage["name"]: stage for stage in record["stages"]}
    assert stages["score"]["status"] == "reused"  # drawing reads the hashes that are there
    assert stages["draw splits"]["status"] == "ran"
    drawn = {name: stages["draw splits"]["facts"][name] for name in ("dev", "test")}
    ledger, held_out = record["results"]["ledger"], record["results"]["held_out"]
    assert ledger["dropped"]["held_out"] == held_out["held_out"] >= sum(drawn.values()) > 4
    assert held_out["against"] == f"dev {drawn['dev']}, test {drawn['test']}"
    assert stages["train raw 0"]["facts"]["pairs"] == ledger["pairs_in"] - held_out["held_out"]
    for name, said in record["results"]["stands_on"].items():
        assert said["pairs"] == drawn[name]
        assert "drawn by group from raw" in said["words"]
        assert said["words"] in Path(record["results"]["report"]).read_text(encoding="utf-8")
    assert "dev is dev" in first["results"]["stands_on"]["dev"]["words"]
    again = run_tiny(recipe, "--dev", "own", "--test", "own", "--only", "train")
    assert {stage["status"] for stage in again["stages"]} == {"reused"}


def test_align_then_tune_is_two_steps_and_a_change_of_the_second_trains_it_alone(project):
    recipe, _ = project
    settings = yaml.safe_load(recipe.read_text())["pretrain"]["with"]
    tune = {"uses": "dual_encoder", "init": "step:align", "data": "pdq.quality >= 50", "with": settings | {"lr": 1e-4}}
    align = {"uses": "dual_encoder", "evaluate": [], "with": settings}
    own = {"name": "tuned", "extends": "tiny.yaml", "pretrain": None, "release": None, "train": {"align": align}}

    def run(**changes) -> tuple[dict, dict]:
        own["train"]["tune"] = tune | {"with": tune["with"] | changes}
        recipe.with_name("tuned.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
        record = run_tiny(recipe.with_name("tuned.yaml"), "--only", "train")
        return record["results"], {stage["name"]: stage["status"] for stage in record["stages"]}

    results, stages = run()
    assert stages["train tune 0"] == stages["evaluate tune 0 dev"] == "ran"
    assert list(results["metrics"]) == ["tune"]  # the first was asked to be measured by nothing
    first, second = (Path(results["models"][name]["0"]) for name in ("align", "tune"))
    assert first != second
    assert "retrieval" in Path(results["report"]).read_text(encoding="utf-8")
    again, stages = run(steps=15)
    assert (stages["train align 0"], stages["train tune 0"]) == ("reused", "ran")
    assert again["models"]["align"]["0"] == str(first)


def test_a_sample_projects_the_time_of_the_whole(project):
    recipe, _ = project
    done = pairwright(
        "run", "tiny.yaml", "--limit", "1", "--only", "curate", "--json", "--workspace", "sample", cwd=recipe.parent
    )
    projection = json.loads(done.stdout)["results"]["projection"]
    assert projection["of_shards"] == 4
    assert projection["seconds"] > projection["sample_seconds"]


def test_a_gate_that_says_no_stops_the_chain_in_one_line(project):
    recipe, _ = project
    said = yaml.safe_load(recipe.read_text())
    said["gates"] = {"raw": {"min_pairs": 1000}}
    strict = recipe.with_name("strict.yaml")
    strict.write_text(yaml.safe_dump(said, sort_keys=False))
    done = pairwright("run", "strict.yaml", "--workspace", "workspace", cwd=recipe.parent, check=False)
    assert done.returncode == 1
    assert "GateFailed: gate raw" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_moved_workspace_answers_every_verb_and_reuses_everything(project, tmp_path):
    """The original is gone: what would still be read there fails."""
    recipe, first = project
    moved = str(tmp_path / "moved")
    shutil.move(recipe.parent / "workspace", moved)
    try:
        said = {
            verb: pairwright(*verb.split(), "--workspace", moved, cwd=recipe.parent).stdout
            for verb in ("lineage champion", f"export {tmp_path}/exported --run {first['id']}", "explain tiny.yaml",
                         f"checkout champion {tmp_path}/restored", "dropped --json", "run tiny.yaml --json")
        }  # fmt: skip
        assert str(recipe.parent / "workspace") not in "".join(said.values())
        assert {stage["status"] for stage in json.loads(said["run tiny.yaml --json"])["stages"]} == {"reused"}
        assert open_dataset(f"{tmp_path}/exported").rows == first["results"]["ledger"]["kept"]
        assert open_dataset(f"{tmp_path}/restored/dataset").digest == first["dataset"]["digest"]
        assert champion_bento(Environment.load(workspace=moved))["path"].startswith(moved)
    finally:
        shutil.move(moved, recipe.parent / "workspace")
