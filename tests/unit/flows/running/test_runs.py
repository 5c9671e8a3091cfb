"""Which run a verb means: a sample is never the latest, and a record opens wherever its workspace was moved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pairwright.components.dataset.shards import storage
from pairwright.components.errors import DatasetError
from pairwright.flows.running.runs import chosen_run, is_sample, read_record, title, write_record


def recorded(workspace: Path, run: str, recipe: str = "mine", **more: Any) -> dict[str, Any]:
    record = {
        "id": run,
        "recipe": recipe,
        "started": "2026-11-28T17:03:00+00:00",
        "dataset": {"name": "raw", "digest": "d", "root": "/elsewhere/raw"},
        "results": {"selection_folder": f"{workspace}/selections/{run}"},
    } | more
    write_record(str(workspace), record)
    return record


def test_a_sample_is_never_the_latest_while_a_whole_run_is_there(tmp_path: Path) -> None:
    recorded(tmp_path, "1-mine")
    recorded(tmp_path, "2-mine", sample={"shards": 1, "of": 12})
    assert chosen_run(str(tmp_path))["id"] == "1-mine"
    assert chosen_run(str(tmp_path), "mine")["id"] == "1-mine"
    assert chosen_run(str(tmp_path), "latest")["id"] == "1-mine"
    assert chosen_run(str(tmp_path), "2-mine")["id"] == "2-mine", "it is used when it is named"
    assert "a SAMPLE of 1 of 12 shards" in title(chosen_run(str(tmp_path), "2-mine"))
    assert "SAMPLE" not in title(chosen_run(str(tmp_path)))


def test_a_sample_stands_in_where_looking_costs_nothing_and_is_refused_where_it_would_be_taken_away(
    tmp_path: Path,
) -> None:
    recorded(tmp_path, "1-mine", sample={"shards": 1, "of": 12})
    assert is_sample(chosen_run(str(tmp_path)))
    with pytest.raises(DatasetError, match=r"only samples were run.*--run 1-mine"):
        chosen_run(str(tmp_path), whole=True)
    assert chosen_run(str(tmp_path), "1-mine", whole=True)["id"] == "1-mine"


def test_a_run_that_ended_before_it_selected_is_not_the_latest(tmp_path: Path) -> None:
    recorded(tmp_path, "1-mine")
    recorded(tmp_path, "2-mine", results={})
    assert chosen_run(str(tmp_path))["id"] == "1-mine"
    with pytest.raises(DatasetError, match="run 2-mine ended before it had a selection"):
        chosen_run(str(tmp_path), "2-mine")


def test_a_run_is_found_by_its_recipe_and_a_wrong_name_is_told_the_nearest(tmp_path: Path) -> None:
    recorded(tmp_path, "1-loose", "loose")
    recorded(tmp_path, "2-strict", "strict")
    assert chosen_run(str(tmp_path), "loose")["id"] == "1-loose"
    with pytest.raises(DatasetError, match='did you mean "loose"'):
        chosen_run(str(tmp_path), "lose")
    with pytest.raises(DatasetError, match="nothing was run"):
        chosen_run(str(tmp_path / "empty"))


def test_a_record_names_no_place_and_opens_where_the_workspace_was_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    written = recorded(here, "1-mine", warnings=[f"{here}/gates/x: one", "of here"])
    assert str(here) not in (here / "runs/1-mine/run.json").read_text()
    assert read_record(str(here), "1-mine") == written
    shutil.move(here, there)
    moved = read_record(str(there), "1-mine")
    assert moved["results"]["selection_folder"] == f"{there}/selections/1-mine"
    assert moved["dataset"]["root"] == "/elsewhere/raw", "what lies outside stays where it is"
    assert moved["warnings"] == [f"{there}/gates/x: one", "of here"]


def test_a_record_of_the_release_before_opens_where_the_workspace_was_moved(tmp_path: Path) -> None:
    record = {"id": "1-mine", "results": {"selection_folder": "/old/place/selections/d", "metrics": ["/old/place/m"]}}
    storage.write_json(str(tmp_path / "runs/1-mine/run.json"), record)
    opened = read_record(str(tmp_path), "1-mine")["results"]
    assert opened == {"selection_folder": f"{tmp_path}/selections/d", "metrics": [f"{tmp_path}/m"]}
