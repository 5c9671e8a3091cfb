"""A training process killed at random moments, twenty times over five tasks, ends with the weights it would have had.

Processes are forked from one that has torch and the trainer imported, so that a kill costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learning import features_view, tiny_config
from shapes import shapes_dataset

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.training.history import read_history

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "torch._dynamo",
        "pairwright.components.training.run",
        "pairwright.components.pretrain.build",
        "pairwright.components.pretrain.captioners.captioner",
    ]
)
KILLS = 4
# What is trained, for how many steps, and how often it is checkpointed: every run lives some seconds.
TASKS: dict[str, dict[str, Any]] = {
    "features": {"steps": 200, "checkpoint_every": 5},
    "lora": {"trainable": "lora", "steps": 30, "checkpoint_every": 4},
    "pictures by the gradient cache, averaged": {
        "trainable": "all",
        "steps": 24,
        "checkpoint_every": 4,
        "micro_batch": 6,
        "average": 0.9,
        "crop": True,
    },
    "captioner": {"steps": 80, "checkpoint_every": 5},
    "a bank by example": {"steps": 300, "checkpoint_every": 4},
}


def train_config(config: dict[str, Any]) -> None:
    from pairwright.components.training.run import train

    train(config, 0, 1, lambda _: None)


def train_bank(root: str, folder: str, settings: dict[str, Any]) -> None:
    """The toy with dropout, running statistics and a bank; what it leaves is written as one file."""
    import torch
    from toys import Pairs, population

    from pairwright.components.training.settings import TrainerSettings
    from pairwright.components.training.trainer import Trainer

    torch.set_num_threads(1)
    task = Pairs(TrainerSettings.parse({"batch_size": 8, "micro_batch": 4, "average": 0.9} | settings, "test"))
    trainer = Trainer(task, population(), checkpoints=Path(root), run="bank")
    trainer.train()
    Path(folder).mkdir()
    left = {**trainer.model.state_dict(), "bank": task.bank, **trainer.average.state()}  # type: ignore[union-attr]
    Path(folder, "left").write_bytes(b"".join(value.numpy().tobytes() for value in left.values()))


def captioner_config(view: ColumnsView, root: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    from pairwright.components.pretrain.captioners.captioner import CaptionerTask

    small = {"width": 16, "heads": 2, "layers": 1, "least": 1, "batch_size": 16}
    made = CaptionerTask(CaptionerTask.settings_model().parse(small | settings, "test")).train_config(
        dataset=view.dataset,
        store_root=view.store.root,
        steps=view.steps,
        pairs=None,
        checkpoints=root / f"{name}.checkpoints",
        folder=root / name,
    )
    return made | {"threads": 1}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 48, 2), root)


def starter(view: ColumnsView, root: Path, task: str) -> Callable[[str], Any]:
    """`start(name)` begins the training of that name, or goes on with it, in a process."""
    settings = TASKS[task]

    def start(name: str) -> Any:
        if task == "a bank by example":
            target, given = train_bank, (str(root / f"{name}.checkpoints"), str(root / name), settings)
        elif task == "captioner":
            target, given = train_config, (captioner_config(view, root, name, settings),)
        else:
            target, given = train_config, (tiny_config(view, root, name, **settings),)
        process = FORKED.Process(target=target, args=given)
        process.start()
        return process

    return start


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_kill_9_at_random_moments_changes_no_bit(view: ColumnsView, tmp_path: Path, task: str) -> None:
    start, steps = starter(view, tmp_path, task), TASKS[task]["steps"]
    whole = start("whole")
    whole.join(240)
    assert whole.exitcode == 0

    chance = random.Random(4)
    history = tmp_path / "killed.checkpoints" / "metrics.jsonl"
    kills, seen = 0, 0
    for _ in range(KILLS):
        process = start("killed")
        target = seen + chance.randint(1, steps // 6)
        while process.is_alive() and seen < target:
            time.sleep(0.002)
            seen = len(read_history(history))
        time.sleep(chance.random() * 0.02)  # in the middle of a step, or of a checkpoint
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills == KILLS
    last = start("killed")
    last.join(240)
    assert last.exitcode == 0
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert len(files) >= 1
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes(), file
    assert not list((tmp_path / "killed.checkpoints").glob(".partial-*"))
