"""Ranks that hold shares (`parallel: sharded`): the same training as one process and as replicated ranks."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stacked import Cheat, Lent, Peeking, StackedPairs, StackedWords, holes
from toys import population

from pairwright.components.errors import InvalidRecipe, PairwrightError
from pairwright.components.training.ranks.shares import own
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.trainer import Trainer

pytestmark = pytest.mark.slow
# 48 examples in batches of 8: six steps an epoch. A norm that clips most steps.
SETTINGS = {"steps": 10, "batch_size": 8, "lr": 0.01, "warmup_steps": 2, "checkpoint_every": 2, "clip_norm": 0.5}
TASKS: dict[str, Any] = {
    "joint": (StackedPairs, {"average": 0.9}),
    "cached": (StackedPairs, {"average": 0.9, "micro_batch": 3}),
    "recomputed": (StackedPairs, {"recompute": True}),
    "accumulated": (StackedWords, {"average": 0.9, "micro_batch": 2}),
    "holes, joint": (StackedPairs, {"micro_batch": 2}),
    "holes, accumulated": (StackedWords, {"micro_batch": 2}),
}
STOPS = (3, 5, 7)  # where the chain of one process, sharded, replicated and sharded ranks is cut


class Stopped(Exception):
    pass


def made(name: str, root: Path | None, rank: int = 0, world: int = 1, **changes: Any) -> Trainer:
    cls, own_settings = TASKS[name]
    settings = TrainerSettings.parse(SETTINGS | own_settings | changes, "test")
    examples = holes() if name.startswith("holes") else population()
    return Trainer(cls(settings), examples, checkpoints=root, run="a run", rank=rank, world_size=world)


def trained(trainer: Trainer, stop: int = 0, draws: bool = False) -> list[dict[str, Any]]:
    """Train to the end, or until a step; the metrics. Without dropout, if nothing is to be drawn."""
    trainer.model.train(draws)
    lines: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any]) -> None:
        lines.append(metrics)
        if metrics["step"] == stop:
            raise Stopped

    try:
        trainer.train(report)
    except Stopped:
        assert stop
    return lines


def left(root: Path) -> dict[str, torch.Tensor]:
    """The last checkpoint: weights, moments, averages, what moves; random streams are each run's own."""
    tensors = load_file(root / f"step_{SETTINGS['steps']:08d}" / "tensors.safetensors")
    return {name: value for name, value in tensors.items() if not name.startswith("random.")}


def same(one: Path, other: Path, atol: float = 0.0) -> bool:
    a, b = left(one), left(other)
    assert a.keys() == b.keys()
    return all(torch.allclose(value.float(), b[name].float(), rtol=0, atol=atol) for name, value in a.items())


def _held(trainer: Trainer) -> list[dict[str, int]]:
    """Of each parameter: its rows and numbers, and what this rank has of it, of its moments and of its average."""
    assert trainer.average is not None
    averages = trainer.average.state()
    found = []
    for name, parameter in trainer.model.named_parameters():
        state = trainer.optimizer.state.get(parameter, {})
        moments = [own(state[part]).numel() for part in ("exp_avg", "exp_avg_sq") if part in state]
        of = {"rows": len(parameter) if parameter.ndim else 1, "size": parameter.numel()}
        memory = own(parameter).untyped_storage().nbytes() // parameter.element_size()
        average = own(averages[f"of.{name}"]).numel() if f"of.{name}" in averages else 0
        found.append(of | {"memory": memory, "moment": max(moments, default=0), "average": average})
    return found


def _refused(cls: type, rank: int) -> str:
    settings = TrainerSettings.parse(SETTINGS | {"parallel": "sharded"}, "test")
    try:
        Trainer(cls(settings), population(), rank=rank, world_size=2).train()
    except PairwrightError as error:
        return str(error)
    return ""


def _rank(rank: int, port: int, root: Path) -> None:
    """Everything that two ranks do, in one group, since starting one takes longer than all of it."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=100))
    said: dict[str, Any] = {}
    sharded = {"rank": rank, "world": 2, "parallel": "sharded"}
    for name in TASKS:
        said[f"{name}: losses"] = trained(made(name, root / name, **sharded))
    trainer = made("cached", root / "chain", **sharded)
    said["chain: went on at"] = [trainer.done]
    trained(trainer, STOPS[1])
    trained(made("cached", root / "chain", rank, 2), STOPS[2])
    trained(made("cached", root / "chain", **sharded), 9)

    trained(made("cached", root / "whole", **sharded), draws=True)
    for stop in (*STOPS, 0):
        trained(made("cached", root / "killed", **sharded), stop, draws=True)

    trainer = made("cached", None, **sharded)
    trained(trainer, 4)
    said["held"] = _held(trainer)
    gathered = trainer.ranks._whole.values()  # type: ignore[attr-defined]
    said["gathered"] = sum(one.untyped_storage().nbytes() for one in gathered)
    said["frozen"] = trainer.frozen
    trainer = made("cached", root / "saved.checkpoints", **sharded)
    trained(trainer)
    if rank == 0:
        said["saved"] = dict(trainer.save(root / "saved"))
        said["classes"] = sorted({type(module).__name__ for module in trainer.model.modules()})
    dist.barrier()
    for cls in (Lent, Peeking, Cheat):
        said[f"refused: {cls.__name__}"] = _refused(cls, rank)
    (root / f"rank{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    root = tmp_path_factory.mktemp("sharded")
    trained(made("cached", root / "chain"), STOPS[0])  # one process begins
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=_rank, args=(rank, port, root)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
        assert process.exitcode == 0
    trained(made("cached", root / "chain"))  # and one process ends it
    return root, [json.loads((root / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", TASKS)
def test_two_ranks_of_shares_equal_one_process(ran: Any, tmp_path: Path, name: str) -> None:
    """Losses, gradient norms, weights, moments and averages; clipped by the joint norm; layers that only one rank's
    rows need, and ranks of different numbers of micro-batches, among them."""
    root, (first, second) = ran
    alone = trained(made(name, tmp_path))
    assert any(line["grad_norm"] > SETTINGS["clip_norm"] for line in alone)
    for part in ("loss", "grad_norm"):
        wanted = [line[part] for line in alone]
        assert [line[part] for line in first[f"{name}: losses"]] == pytest.approx(wanted, abs=1e-4)
        assert [line[part] for line in second[f"{name}: losses"]] == pytest.approx(wanted, abs=1e-4)
    assert same(root / name, tmp_path, 1e-3)
    never = [key for key in left(root / name) if key.startswith("optimizer.unused")]
    assert not never, "AdamW leaves alone what had no gradient on any rank"


def test_each_rank_has_memory_for_its_share_and_no_more(ran: Any) -> None:
    _, said = ran
    for one, other in zip(said[0]["held"], said[1]["held"], strict=True):
        if one["rows"] > 1:
            most = -(-one["rows"] // 2) * one["size"] // one["rows"]  # FSDP2 pads to equal rows
            assert max(one["memory"], other["memory"]) <= most
            for part in ("moment", "average"):
                assert one[part] + other[part] in (0, one["size"])
                assert max(one[part], other[part]) <= most
    assert {rank["gathered"] for rank in said} == {0}, "what was gathered for a step is let go"
    whole = sum(one["size"] for one in said[0]["held"])
    assert max(sum(one["memory"] for one in rank["held"]) for rank in said) < 0.6 * whole


def test_a_checkpoint_goes_on_sharded_alone_and_replicated(ran: Any, tmp_path: Path) -> None:
    root, said = ran
    assert said[0]["chain: went on at"] == [2]
    trained(made("cached", tmp_path))
    assert same(root / "chain", tmp_path, 1e-3)
    steps = [json.loads(line) for line in (root / "chain" / "metrics.jsonl").read_text().splitlines()]
    alone = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [line["step"] for line in alone] == list(range(1, 11))
    assert [line["loss"] for line in steps] == pytest.approx([line["loss"] for line in alone], abs=1e-4)


def test_killed_three_times_it_ends_with_the_same_bits_dropout_and_all(ran: Any) -> None:
    root, _ = ran
    assert same(root / "whole", root / "killed")
    assert not same(root / "whole", root / "cached")  # that one drew nothing


def test_what_is_saved_is_a_plain_model_of_whole_averaged_weights(ran: Any) -> None:
    root, (said, _) = ran
    saved, last = torch.load(root / "saved" / "weights.pt", weights_only=True), left(root / "saved.checkpoints")
    fresh = StackedPairs(TrainerSettings()).build()
    fresh.load_state_dict(saved)
    for name, value in saved.items():
        if f"average.of.{name}" in last:
            assert torch.equal(value, last[f"average.of.{name}"]), name
    assert said["saved"]["a"][0] == pytest.approx(fresh.eval()["a"](torch.ones(2, 8))[0].tolist(), abs=1e-6)
    assert said["classes"] == sorted({type(module).__name__ for module in fresh.modules()})


def test_frozen_weights_are_proven_by_the_hash_of_the_whole_and_a_cheat_is_told_of(ran: Any) -> None:
    _, said = ran
    alone = made("cached", None)
    assert {rank["frozen"] for rank in said} == {alone.frozen}
    assert all("changed frozen parameters" in rank["refused: Cheat"] for rank in said)


def test_what_shares_cannot_do_is_refused_in_one_line(ran: Any) -> None:
    _, said = ran
    for rank in said:
        assert "functional_call" in rank["refused: Lent"]
        assert "train it replicated" in rank["refused: Lent"]
        assert "train it replicated" in rank["refused: Peeking"]
    with pytest.raises(InvalidRecipe, match="leave out one of compile and parallel"):
        TrainerSettings.parse({"compile": True, "parallel": "sharded"}, "test")


def test_how_ranks_hold_weights_decides_nothing_and_one_process_holds_them_all(tmp_path: Path) -> None:
    trained(made("joint", tmp_path / "one"))
    trained(made("joint", tmp_path / "sharded", parallel="sharded"))
    assert same(tmp_path / "one", tmp_path / "sharded")
