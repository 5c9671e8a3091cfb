"""docs/tasks.md: the task on the page trains, is digested and resumes as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from pairwright.components import registry, source_code
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.digest import op_digest
from pairwright.components.training.trainer import Trainer

PAGE = Path(__file__).parents[3] / "docs" / "tasks.md"


@pytest.fixture
def caption_length(monkeypatch, tmp_path):
    """The class of the page's first block, imported from a file as a user's would be."""
    source = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in source.splitlines() if line.strip()]) <= 60
    (tmp_path / "page_task.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.delitem(sys.modules, "page_task", raising=False)
    module = __import__("page_task")
    assert isinstance(module, types.ModuleType)
    yield module.CaptionLength
    sys.modules.pop("page_task", None)
    source_code._spec.cache_clear()


def population() -> ArrayPopulation:
    words = np.arange(1, 41) % 9 + 1
    features = np.stack([np.log1p(words), np.ones(40)], axis=1).astype(np.float32)
    return ArrayPopulation({"f": features}, texts={"alt": [" ".join(["word"] * n) for n in words]})


def settings(task, **changes):
    return task.settings_model().parse(
        {"features": "f", "steps": 60, "batch_size": 8, "lr": 0.05, "checkpoint_every": 7} | changes, "test"
    )


class Stopped(Exception):
    pass


def test_the_task_of_the_page_learns_resumes_and_is_digested(caption_length, tmp_path):
    losses: list[float] = []
    whole = Trainer(caption_length(settings(caption_length)), population(), checkpoints=tmp_path / "whole")
    whole.train(lambda m: losses.append(m["loss"]))
    assert np.mean(losses[-8:]) < 0.2 * np.mean(losses[:8])

    def stop(metrics):
        if metrics["step"] in (3, 16, 17):
            raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            Trainer(caption_length(settings(caption_length)), population(), checkpoints=tmp_path / "cut").train(stop)
    again = Trainer(caption_length(settings(caption_length)), population(), checkpoints=tmp_path / "cut")
    assert 0 <= again.done < 60
    again.train()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    made = op_digest(caption_length(settings(caption_length)))
    assert made == op_digest(caption_length(settings(caption_length, checkpoint_every=50)))
    assert made != op_digest(caption_length(settings(caption_length, lr=0.01)))
