"""Training: resumed runs, two ranks, what is trained and what is not."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from safetensors.torch import load_file
from shapes import shapes_dataset

from pairwright.components.component import FitInputs
from pairwright.components.dataset.examples import block
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe, ModelError, NotFinite, WorkspaceError
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.training.checkpoint import newest_checkpoint
from pairwright.components.training.history import read_history
from pairwright.components.training.run import train


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 48, 2), root)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


class Stopped(Exception):
    pass


def stop_after(step: int) -> Any:
    def report(metrics: dict[str, Any]) -> None:
        if metrics["step"] == step:
            raise Stopped

    return report


def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(view: ColumnsView, tmp_path: Path) -> None:
    whole, stopped = tiny_config(view, tmp_path, "whole"), tiny_config(view, tmp_path, "stopped")
    train(whole, 0, 1, lambda m: None)
    for step in (3, 7, 10):  # before the first checkpoint, and in the middle of later epochs
        with pytest.raises(Stopped):
            train(stopped, 0, 1, stop_after(step))
    train(stopped, 0, 1, lambda m: None)
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "stopped/metrics.jsonl").read_bytes()
    assert [line["step"] for line in read_history(tmp_path / "stopped/metrics.jsonl")] == list(range(1, 13))


def test_resuming_starts_at_the_newest_whole_checkpoint(view: ColumnsView, tmp_path: Path) -> None:
    config = tiny_config(view, tmp_path)
    train(config, 0, 1, lambda m: None)
    done = weights(tmp_path / "run")
    root = Path(config["checkpoints"])
    assert sorted(p.name for p in root.glob("step_*")) == ["step_00000008", "step_00000012"]
    newest = root / "step_00000012" / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])  # cut short behind our back
    (root / "step_00000099").mkdir()  # a folder without a state
    (root / ".partial-x").mkdir()
    found = newest_checkpoint(root)
    assert found is not None
    assert found.step == 8
    steps: list[int] = []
    train(config, 0, 1, lambda m: steps.append(m["step"]))
    assert steps == [9, 10, 11, 12]
    assert weights(tmp_path / "run") == done


def test_a_finished_run_trains_nothing_again(view: ColumnsView, tmp_path: Path) -> None:
    config = tiny_config(view, tmp_path)
    first = train(config, 0, 1, lambda m: None)
    done = weights(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    steps: list[int] = []
    last = train(config, 0, 1, lambda m: steps.append(m["step"]))
    assert steps == []
    assert last["loss"] == first["loss"]
    assert weights(tmp_path / "run") == done


def test_checkpoints_of_another_run_are_refused(view: ColumnsView, tmp_path: Path) -> None:
    train(tiny_config(view, tmp_path), 0, 1, lambda m: None)
    with pytest.raises(WorkspaceError, match="another run"):
        train(tiny_config(view, tmp_path, lr=1e-2), 0, 1, lambda m: None)


def test_checkpoints_of_another_precision_are_refused(view: ColumnsView, tmp_path: Path) -> None:
    config = tiny_config(view, tmp_path)
    with pytest.raises(Stopped):
        train(config | {"precision": "float32"}, 0, 1, stop_after(7))
    with pytest.raises(WorkspaceError, match="computes in bfloat16"):
        train(config | {"precision": "bfloat16"}, 0, 1, lambda m: None)
    steps: list[int] = []
    train(config | {"precision": "auto"}, 0, 1, lambda m: steps.append(m["step"]))  # float32 on a CPU
    assert steps[0] == 5


def test_training_learns_the_shapes(view: ColumnsView, tmp_path: Path) -> None:
    losses: list[float] = []
    train(tiny_config(view, tmp_path, steps=60, lr=1e-2), 0, 1, lambda m: losses.append(m["loss"]))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_logit_scale_never_passes_100(view: ColumnsView, tmp_path: Path) -> None:
    scales: list[float] = []
    config = tiny_config(view, tmp_path, steps=30, lr=0.5, objective={"uses": "clip", "with": {"initial_scale": 99.0}})
    train(config, 0, 1, lambda m: scales.append(m["logit_scale"]))
    assert max(scales) <= 100.0001


def test_locked_towers_stay_bit_identical_and_trained_ones_move(view: ColumnsView, tmp_path: Path) -> None:
    train(tiny_config(view, tmp_path, "heads"), 0, 1, lambda m: None)
    train(tiny_config(view, tmp_path, "all", trainable="all", steps=3), 0, 1, lambda m: None)
    from pairwright.components.models.towers.tiny import TinyImage

    start = TinyImage().state_dict()
    locked = load_file(tmp_path / "heads/image_tower.safetensors")
    everything = load_file(tmp_path / "all/model.safetensors")
    everything = {name.removeprefix("image_tower."): value for name, value in everything.items()}
    assert all(torch.equal(locked[name], value) for name, value in start.items())
    assert not any(torch.equal(everything[name], value) for name, value in start.items())


def test_locked_image_tuning_trains_the_text_tower_on_columns_of_picture_features(
    view: ColumnsView, tmp_path: Path
) -> None:
    train(tiny_config(view, tmp_path, "text", trainable="text", steps=3), 0, 1, lambda m: None)
    from pairwright.components.models.towers.tiny import TinyImage, TinyText

    locked = load_file(tmp_path / "text/image_tower.safetensors")
    assert all(torch.equal(locked[name], value) for name, value in TinyImage().state_dict().items())
    everything = load_file(tmp_path / "text/model.safetensors")
    start = {f"text_tower.{name}": value for name, value in TinyText().state_dict().items()}
    assert start.keys() <= everything.keys()
    assert not any(torch.equal(everything[name], value) for name, value in start.items())
    task = FitDualEncoder(tiny_settings(trainable="text"))
    task.device = torch.device("cpu")
    task.prepare()
    assert task.reads().columns == ("image_features.vector",)
    assert not task.reads().media
    with pytest.raises(InvalidRecipe, match="of two towers"):
        tiny_settings(trainable="text", tower="./somewhere")


def test_a_run_on_pictures_resumes_bit_for_bit(view: ColumnsView, tmp_path: Path) -> None:
    changes = {"trainable": "all", "steps": 6, "checkpoint_every": 2, "captions": {"alt": 0.5, "keywords": 0.5}}
    changes["text_features"] = {}
    whole, stopped = (tiny_config(view, tmp_path, name, **changes) for name in ("whole", "stopped"))
    train(whole, 0, 1, lambda m: None)
    with pytest.raises(Stopped):
        train(stopped, 0, 1, stop_after(3))
    train(stopped, 0, 1, lambda m: None)
    assert weights(tmp_path / "whole") == weights(tmp_path / "stopped")


def test_a_caption_weight_of_zero_equals_leaving_the_source_out(view: ColumnsView, tmp_path: Path) -> None:
    columns = {"alt": "text_features.vector", "keywords": "keyword_features.vector"}
    train(tiny_config(view, tmp_path, "without"), 0, 1, lambda m: None)
    mixed = {"text_features": columns, "captions": {"alt": 1.0, "keywords": 0.0}}
    train(tiny_config(view, tmp_path, "zero", **mixed), 0, 1, lambda m: None)
    mixed["captions"] = {"alt": 0.5, "keywords": 0.5}
    train(tiny_config(view, tmp_path, "half", **mixed), 0, 1, lambda m: None)
    assert weights(tmp_path / "without") == weights(tmp_path / "zero")
    assert weights(tmp_path / "without") != weights(tmp_path / "half")


def test_only_kept_pairs_are_trained_on(view: ColumnsView, tmp_path: Path) -> None:
    shard = view.dataset.shards[1]
    kept = pa.table({"shard": [shard.digest] * 20, "row": pa.array(range(20), pa.int32()), "key": ["k"] * 20})
    folder = tmp_path / "kept"
    FitDualEncoder(tiny_settings()).fit(FitInputs(view, kept), folder)
    assert "20 pairs" in (folder / "card.md").read_text()
    reversed_order = kept.take(pa.array(range(19, -1, -1)))
    FitDualEncoder(tiny_settings()).fit(FitInputs(view, reversed_order), tmp_path / "again")
    assert weights(folder) == weights(tmp_path / "again")  # the order of the list means nothing


def test_too_few_pairs_and_odd_batches_are_one_line(view: ColumnsView, tmp_path: Path) -> None:
    pq.write_table(pa.table({"shard": [view.dataset.shards[0].digest], "row": [0]}), tmp_path / "one.parquet")
    with pytest.raises(InvalidRecipe, match="too few"):
        train(tiny_config(view, tmp_path, pairs=tmp_path / "one.parquet"), 0, 1, lambda m: None)
    with pytest.raises(InvalidRecipe, match="text_features"):
        tiny_settings(captions={"alt": 1, "fused": 1})


def _rank(config: dict[str, Any], rank: int, port: int, out: str) -> None:
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    losses: list[float] = []
    train(config, rank, 2, lambda m: losses.append(m["loss"]))
    if rank == 0:
        Path(out).write_text(json.dumps(losses))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "clip"},
        {"objective": "siglip"},
        {"objective": "dbl"},
        {"objective": "clip", "trainable": "lora", "parallel": "sharded"},  # its adapters are merged when it is whole
    ],
)
def test_two_ranks_equal_one_process(view: ColumnsView, tmp_path: Path, changes: dict[str, Any]) -> None:
    one = tiny_config(view, tmp_path, "one", steps=6, **changes)
    two = tiny_config(view, tmp_path, "two", steps=6, **changes)
    losses: list[float] = []
    train(one, 0, 1, lambda m: losses.append(m["loss"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    out = str(tmp_path / "losses.json")
    ranks = [spawn.Process(target=_rank, args=(two, rank, port, out)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0
    assert np.allclose(losses, json.loads(Path(out).read_text()), atol=1e-5)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in a.items():
        assert (value - b[name]).abs().max() < 1e-4, name  # AdamW magnifies a rounding of the gradient


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int], where: str) -> None:
    """From now on the loss, or the gradient alone, of these steps (from 1) is NaN."""
    whole, count = FitDualEncoder.losses, iter(range(1, 1000))

    def spoilt(self: Any, outputs: Any, batch: Any) -> dict[str, torch.Tensor]:
        named = whole(self, outputs, batch)
        if next(count) in steps:
            # sqrt'(0) * 0 is NaN while the value is 0
            zero = (self.encoder.log_scale * 0).abs().sqrt()
            named["loss"] = named["loss"] * float("nan") if where == "loss" else named["loss"] + zero
        return named

    monkeypatch.setattr(FitDualEncoder, "losses", spoilt)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    view: ColumnsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    spoil(monkeypatch, {1, 5, 6, 12}, where)  # the first, two running, and the last
    seen: list[dict[str, Any]] = []
    last = train(tiny_config(view, tmp_path, checkpoint_every=1), 0, 1, seen.append)
    assert [m["step"] for m in seen if "loss" not in m] == [1, 5, 6, 12]
    assert [m["skipped"] for m in seen if "loss" not in m] == [1, 2, 3, 4]
    assert last["step"] == 11
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "run/model.safetensors").values())
    assert "4 were not finite and were skipped" in (tmp_path / "run/card.md").read_text()


def test_skipped_steps_are_counted_over_a_resume(
    view: ColumnsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(view, tmp_path, checkpoint_every=1)
    with monkeypatch.context() as patch:
        spoil(patch, {3, 4}, "gradient")
        with pytest.raises(Stopped):
            train(config, 0, 1, stop_after(5))  # killed before its checkpoint
    spoil(monkeypatch, {1}, "loss")  # the fifth again
    with pytest.raises(ModelError, match=r"^3 steps in a row were not finite .*the last batch was \S+, .* and 8 more"):
        train(config, 0, 1, lambda m: None)
    assert not (tmp_path / "run").exists()


def test_features_that_are_not_finite_are_not_trained_on(
    view: ColumnsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = block.to_numpy

    def spoilt(column: Any) -> np.ndarray:
        values = whole(column).copy()
        values[2, 0] = 1e6  # infinite as float16
        return values

    monkeypatch.setattr(block, "to_numpy", spoilt)
    with pytest.raises(NotFinite, match=r"image_features\.vector"):
        train(tiny_config(view, tmp_path), 0, 1, lambda m: None)
