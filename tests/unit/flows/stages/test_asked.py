"""What became of a text model's prompts is told to the tracker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from populations import view_of

from pairwright.flows.curate import asked_models

pytestmark = pytest.mark.platform
ROWS = [
    ("a", None, "ok"),
    ("b", "budget", "budget"),
    ("c", "budget", "budget"),
    ("d", "invented_name:Rome", "invalid"),
    (None, None, None),
]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A run of which one step asked a text model, and another none."""
    names = ("text", "note", "status")
    asked = {f"fused.{name}": pa.array(values, pa.string()) for name, values in zip(names, zip(*ROWS), strict=True)}
    silent = {f"plain.{name}": pa.array(["x"] * 5 if name == "text" else [None] * 5, pa.string()) for name in names}
    view = view_of(tmp_path, asked | silent, shards=2)
    return SimpleNamespace(dataset=view.dataset, store=view.store, view=lambda: view, places=view.steps)


def test_the_tracker_is_told_of_steps_that_ask_and_of_no_other(run: Any) -> None:
    steps = [SimpleNamespace(kind="captioner", name=name, columns=place) for name, place in run.places.items()]
    facts = asked_models(run, steps)
    assert facts["fused.status.ok"] == 1
    assert facts["fused.status.budget"] == facts["fused.fallback.budget"] == 2
    assert facts["fused.fallback.invented_name"] == 1
    assert facts["fused.fallback_share"] == 0.75
    assert not any(name.startswith("plain") for name in facts)
