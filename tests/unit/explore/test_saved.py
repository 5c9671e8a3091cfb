"""Saved selections: committed whole, listed, reopened, compared, deleted; a kill leaves all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explored import explored

from pairwright.components.errors import DatasetError
from pairwright.components.explore.explorer import Explorer, open_explorer
from pairwright.components.explore.saved import NAME, SavedSelections
from pairwright.components.explore.search import Wanted
from pairwright.components.filter.rules.selection import load_selection


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    with open_explorer(explored(tmp_path_factory.mktemp("saved"))) as opened:
        yield opened


def save(explorer: Explorer, name: str, text: str, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return explorer.save(name, list(tags), Wanted(text, first="loose"), {"filter": text, "a": "loose"})


def listed(explorer: Explorer) -> dict[str, dict[str, Any]]:
    about = explorer.about()
    json.dumps(about, allow_nan=False)
    return {one["saved"]["name"]: one for one in about["selections"] if "saved" in one}


def test_what_was_found_is_saved_compared_reopened_and_deleted(explorer: Explorer) -> None:
    text = "text.words >= 5"
    found = {item["key"] for item in explorer.page(Wanted(text, first="loose"), 0, 400)["items"]}
    made = save(explorer, "long ones", text, ("to check", "words", "words"))
    assert "#to check" in made["label"]
    one = listed(explorer)["long ones"]
    assert one["saved"]["tags"] == ("to check", "words")
    assert one["saved"]["asked"] == {"filter": text, "a": "loose"}
    assert one["counts"]["kept"] == len(found)
    place = explorer.verdicts.places[one["name"]]
    assert set(load_selection(place.folder).kept["key"].to_pylist()) == found
    compared = explorer.page(Wanted(first="loose", second=one["name"]), 0, 1)["classes"]
    assert compared["both"] + compared["second"] == len(found)
    again = explorer.search.found(Wanted("verdict.status = 'kept'", first=one["name"]))
    assert len(again.numbers) == len(found)
    assert explorer.page(Wanted("verdict.rule = 'saved'", first=one["name"]), 0, 1)["found"] == 96 - len(found)
    with pytest.raises(DatasetError, match="is saved already"):
        save(explorer, "long ones", "true")
    explorer.delete("long ones")
    assert "long ones" not in listed(explorer)
    with pytest.raises(DatasetError, match="no selection"):
        explorer.delete("long ones")
    name = save(explorer, "long ones", "text.words < 2")["saved"]
    fresh = explorer.search.found(Wanted("verdict.status = 'kept'", first=name))
    assert len(fresh.numbers) == listed(explorer)["long ones"]["counts"]["kept"] != len(found), "no stale verdicts"
    explorer.delete("long ones")


def test_another_explorer_of_the_workspace_finds_it(explorer: Explorer) -> None:
    save(explorer, "kept for later", "near.drop")
    with open_explorer(explorer.exploration) as other:
        assert listed(other)["kept for later"]["counts"]["kept"] == 1
        other.delete("kept for later")
    assert listed(explorer) == {}


def test_what_a_kill_left_one_step_before_its_place_is_not_listed(explorer: Explorer) -> None:
    save(explorer, "whole", "near.drop")
    place = explorer.verdicts.places[listed(explorer)["whole"]["name"]]
    left = Path(place.folder).with_name(".partial-killed")
    shutil.copytree(place.folder, left)
    assert explorer.saved is not None
    found = explorer.saved.all()
    shutil.rmtree(left)
    explorer.delete("whole")
    assert [Path(one.place.folder).name for one in found] == ["whole"]


@pytest.mark.parametrize(
    "name", ["", " ", "..", "../x", "a/b", ".hidden", "a\\0b", "x" * 61, "end.", None, 7, ["a"], "\ud800"]
)
def test_a_name_that_is_no_folder_is_refused(explorer: Explorer, name: Any) -> None:
    with pytest.raises(DatasetError, match="a selection's name is"):
        explorer.save(name, [], Wanted(), {})
    with pytest.raises(DatasetError, match="a selection's name is"):
        explorer.delete(name)


@pytest.mark.parametrize("tags", [None, "tag", [1], ["x" * 41], ["a\nb"], [str(n) for n in range(13)]])
def test_tags_that_are_none_are_refused(explorer: Explorer, tags: Any) -> None:
    with pytest.raises(DatasetError, match="tag"):
        explorer.save("tagged", tags, Wanted(), {})
    assert listed(explorer) == {}


def test_names_are_words() -> None:
    assert all(NAME.fullmatch(name) for name in ("a", "red buses", "Größe 2.1", "v1.2-rc_3", "赤いバス"))


def test_a_workspace_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    made = explored(tmp_path, pairs=8, shards=2)
    (tmp_path / "workspace" / "explored").write_text("a file where the folder should be")
    with open_explorer(made) as opened, pytest.raises(Exception, match="explored"):
        save(opened, "nowhere", "true")


KILLED = """
import sys
sys.path.insert(0, "tests")
from pairwright.components.explore import saved
from pairwright.components.explore.explorer import open_explorer
from pairwright.components.explore.search import Wanted
from explored import explored
from pathlib import Path
with open_explorer(explored(Path(sys.argv[1]), pairs=8, shards=2)) as explorer:
    for number in range(10_000):
        explorer.save(f"n{number}", ["t"], Wanted("text.words > 1"), {"filter": "text.words > 1"})
        if number % 3 == 2:
            explorer.delete(f"n{number}")
        if number == 4:
            print("ready", flush=True)
"""


@pytest.mark.slow
def test_a_kill_leaves_whole_selections_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()  # a call it is in the middle of ends first
    whole = SavedSelections(str(tmp_path / "workspace"), "shapes").all()
    assert whole
    for one in whole:
        assert load_selection(one.place.folder).ledger.pairs_in == 8
    folders = {p.name for p in (tmp_path / "workspace" / "explored").iterdir() if not p.name.startswith(".")}
    assert folders == {Path(one.place.folder).name for one in whole}, "what is half-made has no name"
