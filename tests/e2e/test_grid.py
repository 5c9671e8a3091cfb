"""The caption grid as a run makes it: a model a cell and seed, once; another seed costs its own models alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import run_tiny, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(600)]


def project(root: Path, **grid: Any) -> Path:
    path = tiny_project(root, pairs=48, shards=1)
    said = yaml.safe_load(path.read_text())
    keywords = {"uses": "text_features", "with": {"tower": "builtin:tiny-text", "source": "keywords"}}
    said["filter"]["score"]["keyword_features"] = keywords
    said["pretrain"]["with"]["text_features"]["keywords"] = "keyword_features.vector"
    said["pretrain"]["with"]["steps"] = 6
    said["evaluate"] |= {"ablation": ["curated"], "grid": {"formats": ["keywords"], "shares": [0, 0.5, 1]} | grid}
    del said["release"]
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    return path


def test_a_second_run_trains_nothing_and_a_further_seed_only_its_own(tmp_path: Path) -> None:
    recipe = project(tmp_path, seeds=[0])
    first = run_tiny(recipe)
    rows = json.loads((Path(first["results"]["grid"]) / "grid.json").read_text())["rows"]
    assert [row["share"] for row in rows] == [0, 0.5, 1]
    assert 'id="grid"' in Path(first["results"]["report"]).read_text()
    again = run_tiny(recipe)
    assert {stage["status"] for stage in again["stages"]} == {"reused"}
    assert again["results"]["grid"] == first["results"]["grid"]

    said = yaml.safe_load(recipe.read_text())
    said["evaluate"]["grid"]["seeds"] = [0, 1]
    recipe.write_text(yaml.safe_dump(said, sort_keys=False))
    more = {stage["name"]: stage["status"] for stage in run_tiny(recipe)["stages"]}
    trained = {name: status for name, status in more.items() if name.startswith("train grid_")}
    assert len(trained) == 6
    assert {status for name, status in trained.items() if name.endswith(" 0")} == {"reused"}
    assert {status for name, status in trained.items() if name.endswith(" 1")} == {"ran"}
