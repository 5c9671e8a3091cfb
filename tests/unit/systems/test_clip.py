"""CLIP as `recipes/clip.yaml` trains it: from pictures, by the gradient cache.

Two ranks equal one process: tests/unit/pretrain/test_dual_encoder_training.py. Averaged prompts:
tests/unit/evaluate/test_benchmarks.py.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from shapes import shapes_dataset

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.training.batch import Batch
from pairwright.components.training.contract import Seen
from pairwright.components.training.gradients import accumulated_gradients, joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.run import train

FLOAT32 = Precision("float32", torch.device("cpu"))


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 32, 1), root)


def built(**changes: Any) -> tuple[FitDualEncoder, Any]:
    """The task and its model, both towers trained from pictures."""
    task = FitDualEncoder(tiny_settings(trainable="all", **changes))
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    return task, task.model


def pictures(task: FitDualEncoder, count: int) -> Batch:
    noise = torch.Generator().manual_seed(3)
    return Batch(
        {
            "image": torch.randint(0, 256, (count, 32, 32, 3), generator=noise, dtype=torch.uint8),
            "text": task.encoder.tokens([f"the picture number {i}" for i in range(count)]),
            "groups": torch.arange(count),
        },
        torch.arange(count),
        [str(i) for i in range(count)],
    )


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference, as a share of the largest gradient."""
    assert one.keys() == other.keys()
    largest = max(float(value.abs().max()) for value in one.values())
    return max(float((value - other[name]).abs().max()) for name, value in one.items()) / largest


@pytest.mark.parametrize("micro", [1, 3, 5])
def test_cached_micro_batches_have_the_gradient_of_the_whole_batch_and_accumulation_has_not(micro: int) -> None:
    task, model = built()
    batch = pictures(task, 6)
    whole = joint_gradients(task, model, batch, batch, 0, FLOAT32)
    wanted = gradients(model)
    cached = joint_gradients(task, model, batch, batch, micro, FLOAT32)
    assert furthest(wanted, gradients(model)) < 1e-4
    assert cached["loss"].item() == pytest.approx(whole["loss"].item(), abs=1e-5)
    assert any(name.startswith("image_tower.") for name in wanted)
    naive = accumulated_gradients(task, batch, micro, FLOAT32)
    assert furthest(wanted, gradients(model)) > 0.05
    assert naive["loss"].item() < 0.8 * whole["loss"].item()  # fewer wrong answers to choose among


def test_the_loss_is_the_papers() -> None:
    task, _ = built(objective={"uses": "clip", "with": {"initial_scale": 20.0}})
    batch = pictures(task, 5)
    outputs = task.encode(batch)
    found = task.losses(outputs, batch)["loss"].item()
    image, text = (outputs[side].detach().double().numpy() for side in ("image", "text"))
    assert np.allclose(np.linalg.norm(image, axis=1), 1, atol=1e-6)
    logits = 20.0 * image @ text.T
    columns = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    rows = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found == pytest.approx(-(np.diag(rows).mean() + np.diag(columns).mean()) / 2, abs=1e-5)


def test_the_scale_is_at_most_100_in_the_loss_and_clamped_after_the_step() -> None:
    task, model = built()
    with torch.no_grad():
        model.log_scale.fill_(10.0)
    batch = pictures(task, 4)
    assert task.losses(task.encode(batch), batch)["logit_scale"].item() == pytest.approx(100.0)
    task.after_step(Seen(0, 1, 0, torch.arange(4), {}))
    assert model.log_scale.item() == pytest.approx(math.log(100.0))


def test_an_objective_of_weight_0_is_left_out_bit_for_bit(view: ColumnsView, tmp_path: Path) -> None:
    written = {}
    for name, objective in {"alone": "clip", "zero": {"clip": 1, "dbl": 0}, "both": {"clip": 1, "dbl": 0.1}}.items():
        train(tiny_config(view, tmp_path, name, steps=4, objective=objective), 0, 1, lambda m: None)
        written[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert written["alone"] == written["zero"]
    assert written["alone"] != written["both"]


def test_pictures_by_the_cache_resume_bit_for_bit(view: ColumnsView, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 3:
            raise Stopped

    changes = {"trainable": "all", "crop": True, "micro_batch": 5, "steps": 5, "checkpoint_every": 2}
    whole, stopped = (tiny_config(view, tmp_path, name, **changes) for name in ("whole", "stopped"))
    train(whole, 0, 1, lambda m: None)
    with pytest.raises(Stopped):
        train(stopped, 0, 1, stop)
    train(stopped, 0, 1, lambda m: None)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert first == second
