"""The training loop under Ray Train: two workers equal one process, and a killed worker costs no bit."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from learning import features_view, tiny_config
from safetensors.torch import load_file
from shapes import shapes_dataset
from sockets import listening, outside_loopback

pytestmark = [pytest.mark.slow, pytest.mark.platform]


def training_workers() -> list[int]:
    """Processes of Ray Train's workers that descend from this one."""
    import psutil

    titles = ((p.pid, " ".join(p.cmdline())) for p in psutil.Process().children(recursive=True))
    return [pid for pid, title in titles if "RayTrainWorker" in title]


def test_two_ray_workers_equal_one_process_survive_a_kill_and_train_on(tmp_path: Path) -> None:
    from pairwright.components.engine.cluster import Session
    from pairwright.components.engine.launch import TrainingGroup
    from pairwright.components.training.run import train

    view = features_view(shapes_dataset(tmp_path, 48, 2), tmp_path)
    changes: dict[str, Any] = {"steps": 60, "checkpoint_every": 5}
    one, two = (tiny_config(view, tmp_path, name, **changes) for name in ("one", "two"))
    three = tiny_config(view, tmp_path, "three", parallel="sharded", **changes)
    alone = train(one, 0, 1, lambda m: None)

    killed: list[int] = []
    steps: list[int] = []
    lock = threading.Lock()

    beyond: dict[str, set[str]] = {}

    def on_report(metrics: dict[str, Any]) -> None:
        if metrics["step"] in (10, 50):
            beyond.update(outside_loopback(listening()))
        with lock:
            steps.append(metrics["step"])
            if metrics["step"] >= 20 and not killed:
                found = training_workers()
                if found:
                    killed.append(len(steps))
                    os.kill(found[0], signal.SIGKILL)

    session = Session(None, 2)
    try:
        with closing(TrainingGroup(session, storage_path=str(tmp_path / "ray"), workers=2)) as group:
            result = group.train("pairwright.components.training.run:train", two, on_report=on_report)
            again = group.train("pairwright.components.training.run:train", three)
    finally:
        session.close()
    assert not beyond, "Ray, its workers and torch's process group listen on loopback alone"
    assert killed, "the test must have killed a worker"
    assert min(steps[killed[0] :]) > 15, "only steps since the last checkpoint were done again"
    assert result["step"] == 60
    assert abs(result["loss"] - alone["loss"]) < 1e-3
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert max(float((value - b[name]).abs().max()) for name, value in a.items()) < 2e-3
    assert [line["step"] for line in _history(tmp_path / "two")] == list(range(1, 61))
    assert again["step"] == 60
    third = load_file(tmp_path / "three" / "model.safetensors")
    far = {name: float((value - b[name]).abs().max()) for name, value in third.items()}
    assert max(far.values()) < 2e-3, "the second model of a group, whose ranks hold shares"


def _history(folder: Path) -> list[dict[str, Any]]:
    from pairwright.components.training.history import read_history

    return read_history(folder / "metrics.jsonl")
