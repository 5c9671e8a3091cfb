"""The shell completes recipes, components, datasets and runs, as bash asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairwright.components.dataset.shards import storage

WORDS = {
    "run qui": "quickstart",
    "score data/r": "data/raw",
    "score data/raw caption_f": "caption_fluency",
    "explain near_d": "near_duplicates",
    "why --run 2026": "20261128-mine",
    "export --run mi": "mine",
}


@pytest.mark.parametrize("typed", WORDS)
def test_the_shell_completes_names(typed: str, tmp_path: Path) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/dataset.json").write_text("{}")
    storage.write_json(
        str(tmp_path / "workspace/runs/20261128-mine/run.json"), {"id": "20261128-mine", "recipe": "mine"}
    )
    asked = {
        "_PAIRWRIGHT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"pairwright {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from pairwright.flows.cli import pairwright; pairwright(prog_name='pairwright')"],
        cwd=tmp_path,
        env={**os.environ, **asked, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"plain,{WORDS[typed]}" in done.stdout.splitlines(), done.stderr
