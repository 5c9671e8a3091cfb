"""What a worker is told: nothing is trained by code that was not planned."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairwright.components import registry, source_code
from pairwright.components.engine.launch import _failure
from pairwright.components.errors import InvalidRecipe
from pairwright.components.training.config import TrainConfig, _code_of

TASK = """
from pairwright.components.registry import task
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task

GAIN = {gain}


@task("edited_while_planned")
class Edited(Task[TrainerSettings]):
    pass
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "edited_while_planned.py"
    path.write_text(TASK.format(gain=1))
    yield path
    sys.modules.pop("edited_while_planned", None)
    registry._registered.pop(("fit", "edited_while_planned"), None)


def told(**more: Any) -> TrainConfig:
    common = {"task": "edited_while_planned", "module": "edited_while_planned", "dataset": "", "shards": []}
    return TrainConfig(store_root="", steps={}, checkpoints="", folder="", settings={}, **common, **more)


@pytest.mark.slow
def test_code_that_was_saved_after_planning_is_not_trained_under_the_digest_of_before(place: Path) -> None:
    importlib.import_module("edited_while_planned")
    planned = _code_of("edited_while_planned", [])
    assert told(code=planned).make_task().name == "edited_while_planned"
    assert told().make_task().name == "edited_while_planned"
    place.write_text(TASK.format(gain=2))
    for cached in vars(source_code).values():  # a worker is another process: it has read nothing yet
        getattr(cached, "cache_clear", lambda: None)()
    with pytest.raises(InvalidRecipe, match=r"was changed after this run had planned it.*run the same command again"):
        told(code=planned).make_task()


def test_a_failure_says_in_which_line_of_whose_file() -> None:
    try:
        raise TypeError("a float is no tensor")
    except TypeError:
        import traceback

        error = RuntimeError(traceback.format_exc())
    said = str(_failure(error))
    assert said.startswith("training failed: TypeError: a float is no tensor (")
    assert "test_config.py, line" in said
    assert said.endswith("in test_a_failure_says_in_which_line_of_whose_file)")
