"""Challengers in turn through a real MLflow store: each is weighed against who is champion then, and that is served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("challengers")
    script = Path(__file__).parents[1] / "releasing.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "challengers"], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert all(found.values()), done.stderr[-3000:]
    return found


def test_the_third_is_weighed_against_the_second_that_won_not_against_the_first(acts: dict[str, Any]) -> None:
    poor, good, middling = acts["poor"], acts["good"], acts["middling"]
    assert poor["dev"] < middling["dev"] < good["dev"]
    assert (poor["version"], poor["promoted"]) == (1, True)
    assert (good["version"], good["promoted"]) == (2, True)
    assert f"{good['dev']:.4f} against {poor['dev']:.4f}" in good["reason"]
    assert (middling["version"], middling["promoted"]) == (3, False)
    assert f"{middling['dev']:.4f} against {good['dev']:.4f}" in middling["reason"]
    assert middling["alias"] == middling["served"] == 2


def test_the_champion_released_again_has_nothing_to_do(acts: dict[str, Any]) -> None:
    assert set(acts["good again"]["statuses"].values()) == {"reused"}
    assert acts["good again"]["served"] == 2


def test_what_a_person_rolled_back_no_rerun_brings_forward(acts: dict[str, Any]) -> None:
    assert acts["interrupted rollback"]["version"] == 1
    after = acts["good after the rollback"]
    assert (after["alias"], after["served"], after["statuses"]["register"]) == (1, 1, "reused")


def test_a_record_that_names_another_version_is_told_and_set_right(acts: dict[str, Any]) -> None:
    mistake = acts["served by mistake"]
    assert "the Bento pairwright:v2-gone is gone" in mistake["problem"]
    assert mistake["starts"] == mistake["served"] == 1
    assert acts["record lost"]["served"] == acts["record lost"]["alias"] == 1


def test_a_registry_that_was_lost_is_filled_again(acts: dict[str, Any]) -> None:
    lost = acts["registry lost"]
    assert (lost["version"], lost["alias"], lost["served"]) == (1, 1, 1)
    assert lost["statuses"]["register"] == "ran"


def test_a_rollback_that_was_killed_is_told_and_finished_not_made_twice(acts: dict[str, Any]) -> None:
    found = acts["interrupted rollback"]
    before = found["before"]
    assert before["alias"] != before["served"]
    assert f"version {before['alias']} is champion, but version {before['served']} is set" in before["problem"]
    assert "start `pairwright serve` anew" in before["problem"]
    assert found["version"] == found["alias"] == found["served"] == before["alias"]
