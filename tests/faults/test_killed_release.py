"""`kill -9` between register, alias, Bento and the record that `serve` reads; then the same command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[1] / "releasing.py"
POINTS = (
    *("registered", "challenger", "move written down", "alias moved", "promoted", "decision recorded", "index made"),
    *("bento built", "bento recorded"),
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of a better model's release, killed at each point and run again, where a champion is served."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "kills"], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(POINTS), done.stderr[-3000:]
    return found


@pytest.mark.parametrize("point", POINTS)
def test_killed_there_and_run_again_the_champion_is_served(outcomes: dict[str, Any], point: str) -> None:
    outcome = outcomes[point]
    assert outcome["signal"] == signal.SIGKILL
    assert outcome["exit"] == 0
    assert outcome["release"]["promoted"]
    assert outcome["alias"] == outcome["release"]["version"] == 2
    assert outcome["served"] == outcome["starts"]["version"] == 2
    assert "behind" not in outcome["starts"]
    assert set(outcome["third"].values()) == {"reused"}, "a third run has nothing left to do"
