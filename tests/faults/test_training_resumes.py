"""A training process killed at random moments ends with the weights it would have had."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from learning import features_view, tiny_config
from shapes import shapes_dataset

from pairwright.components.training.history import read_history

CODE = """import json, sys
from pairwright.components.training.run import train
train(json.load(open(sys.argv[1])), 0, 1, print)"""


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CODE, str(config)], stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["heads", "lora", "all"])
def test_kill_9_at_random_moments_changes_no_bit(tmp_path: Path, trainable: str) -> None:
    view = features_view(shapes_dataset(tmp_path, 48, 2), tmp_path)
    # Trained towers take longer a step, so every run lives some seconds.
    changes = {"steps": 400 if trainable == "heads" else 30, "checkpoint_every": 5, "trainable": trainable}
    for name in ("whole", "killed"):
        (tmp_path / f"{name}.json").write_text(json.dumps(tiny_config(view, tmp_path, name, **changes)))
    assert start(tmp_path / "whole.json").wait(240) == 0

    chance = random.Random(4)
    history = tmp_path / "killed.checkpoints" / "metrics.jsonl"
    kills, seen = 0, 0
    for _ in range(3):
        process = start(tmp_path / "killed.json")
        target = seen + chance.randint(3, changes["steps"] // 6)
        while process.poll() is None and seen < target:
            time.sleep(0.005)
            seen = len(read_history(history))
        time.sleep(chance.random() * 0.02)  # in the middle of a step, or of a checkpoint
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 3
    assert start(tmp_path / "killed.json").wait(240) == 0
    for file in ("model.safetensors", "config.json", "card.md", "metrics.jsonl"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes(), file
    assert not list((tmp_path / "killed.checkpoints").glob(".partial-*"))
