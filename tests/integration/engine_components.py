"""Components and a training loop for the engine's tests; workers import this module by its name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairwright.components.component import Captions, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings


class WitnessSettings(Settings):
    notes: str  # folder: one file a batch begun, named by its worker and its first key
    pause: float = 0.0  # seconds a batch
    deadly: str = ""  # the worker that meets this key kills itself


@scorer("engine_witness")
class Witness(Scorer[WitnessSettings]):
    columns = {"mean": pa.float32(), "node": pa.string(), "threads": pa.int32()}
    requires = Pixels(32)

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        import cv2
        import ray

        name = f"{pairs.keys[0]}-{os.getpid()}-{time.monotonic_ns()}"
        (Path(self.settings.notes) / name).touch()
        time.sleep(self.settings.pause)
        if self.settings.deadly in pairs.keys:
            os.kill(os.getpid(), signal.SIGKILL)
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "none"
        return {
            "mean": [float(image.mean()) for image in pairs.images if image is not None],
            "node": [node] * len(pairs),
            "threads": [cv2.getNumThreads()] * len(pairs),
        }


@scorer("engine_fussy")
class Fussy(Scorer[Settings]):
    columns = {"length": pa.int32()}
    requires = Captions()

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        texts = [text or "" for text in pairs.captions("alt")]
        if any("yellow" in text for text in texts):
            raise ValueError("no yellow")
        return {"length": [len(text) for text in texts]}


def train(config: dict[str, Any], rank: int, world_size: int, report: Callable[[dict[str, Any]], None]) -> Any:
    """Counts steps, one file a step as its checkpoint; kills itself once if told to."""
    import torch
    import torch.distributed as distributed

    folder = Path(config["checkpoint_dir"])
    first = len(list(folder.glob("step-*")))
    for step in range(first, config["steps"]):
        total = torch.ones(1)
        distributed.all_reduce(total)
        if rank == 0:
            (folder / f"step-{step:03d}").write_text(f"{os.getpid()} {int(total)}")
        report({"step": step, "world": int(total)})
        died = folder / "died"
        if rank == 0 and step == config.get("die_at") and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"steps": config["steps"], "resumed_at": first, "world": world_size}


def train_badly(config: dict[str, Any], rank: int, world_size: int, report: Callable[[dict[str, Any]], None]) -> None:
    from pairwright.components.errors import ModelError

    raise ModelError("the folder is empty; name a model folder")


def train_never(config: dict[str, Any], rank: int, world_size: int, report: Callable[[dict[str, Any]], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
