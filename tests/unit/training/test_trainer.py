"""The trainer: resumed anywhere, with any loader, on any number of ranks; nothing trained that is frozen."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import Pairs, Words, population

from pairwright.components.errors import ModelError
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.trainer import Trainer

# 48 examples in batches of 8: six steps an epoch.
SETTINGS = {"steps": 20, "batch_size": 8, "lr": 0.01, "warmup_steps": 2, "checkpoint_every": 3, "micro_batch": 4}


def made(task: type = Pairs, root: Path | None = None, **changes: Any) -> Trainer:
    settings = TrainerSettings.parse(SETTINGS | {"average": 0.9} | changes, "test")
    trainer = Trainer(task(settings), population(), checkpoints=root, run="a run")
    trainer.model.train()
    return trainer


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything a training leaves: weights, statistics, averages, moments, the task's bank."""
    found = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found |= {f"average.{name}": value for name, value in trainer.average.state().items()} if trainer.average else {}
    found |= {f"task.{name}": value for name, value in trainer.task.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        found |= {f"optimizer.{name}.{part}": value for part, value in trainer.optimizer.state[parameter].items()}
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class Stopped(Exception):
    pass


def stopped(root: Path, after: int, task: type = Pairs, **changes: Any) -> list[int]:
    """Train until `after` steps are done, then die before the checkpoint of it; the steps that were taken."""
    steps: list[int] = []

    def report(metrics: dict[str, Any]) -> None:
        steps.append(metrics["step"])
        if metrics["step"] == after:
            raise Stopped

    trainer = made(task, root, **changes)
    if after == 0:
        return []  # killed before the first step
    with pytest.raises(Stopped):
        trainer.train(report)
    return steps


@pytest.fixture(scope="module")
def whole() -> dict[type, dict[str, torch.Tensor]]:
    found = {}
    for task in (Pairs, Words):
        trainer = made(task)
        trainer.train()
        found[task] = state(trainer)
    return found


@pytest.mark.parametrize("task", [Pairs, Words])
@pytest.mark.parametrize(
    "kills",
    [
        (0,),  # before the first step
        (1,),  # before the first checkpoint
        (4, 5),  # twice in one epoch
        (7, 8, 10),  # three times in one epoch
        (6, 12),  # at the boundaries of epochs, which are checkpoints as well
        (13, 19, 20),  # and at the very end
    ],
)
def test_killed_anywhere_and_any_number_of_times_it_ends_with_the_same_bits(tmp_path, whole, task, kills):
    for kill in kills:
        stopped(tmp_path, kill, task)
    trainer = made(task, tmp_path)
    trainer.train()
    assert trainer.done == 20
    assert equal(state(trainer), whole[task])


def test_a_resume_redoes_the_steps_since_the_newest_checkpoint_and_no_more(tmp_path):
    assert stopped(tmp_path, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert stopped(tmp_path, 11) == [7, 8, 9, 10, 11]
    lines = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 12))


@pytest.mark.parametrize("threads", [1, 4])
def test_any_number_of_loader_threads_trains_the_same_bits_after_a_resume_too(tmp_path, whole, threads):
    stopped(tmp_path, 8, threads=4)
    trainer = made(Pairs, tmp_path, threads=threads, ahead=2)
    trainer.train()
    assert equal(state(trainer), whole[Pairs])


def test_an_average_of_nothing_and_whole_batches_are_the_plain_training():
    plain, averaged = made(Words, average=0.0, micro_batch=0), made(Words, average=0.5, micro_batch=0)
    for trainer in (plain, averaged):
        trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), averaged.model.parameters(), strict=True))


def test_the_bank_holds_each_example_by_its_number_and_in_its_order():
    trainer = made(Pairs, epochs=1, steps=99)
    trainer.train()
    assert trainer.done == 6
    assert bool((trainer.task.bank != 0).all())  # an epoch meets every example once


def test_a_bank_may_hold_whole_rows_of_what_losses_gave():
    class Vectors(Pairs):
        def build(self) -> Any:
            self.vectors = torch.zeros(self.population.size, 4)
            return super().build()

        def losses(self, outputs: Any, batch: Any) -> dict[str, torch.Tensor]:
            self.last = outputs["a"].detach(), batch.numbers
            return super().losses(outputs, batch) | {"vector": outputs["a"]}

        def after_step(self, seen: Any) -> None:
            super().after_step(seen)
            self.vectors[seen.numbers] = seen.values["vector"]

    trainer = made(Vectors, epochs=1, steps=99)
    metrics: list[dict[str, Any]] = []
    trainer.train(metrics.append)
    assert bool(trainer.task.vectors.any(1).all())
    vectors, numbers = trainer.task.last
    assert torch.equal(trainer.task.vectors[numbers], vectors)
    assert "vector" not in metrics[-1]  # a metric is a number


def test_what_is_frozen_stays_to_the_bit_and_a_task_that_moves_it_is_told_of():
    trainer = made(Pairs, freeze=(r"^a\.",))
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(before[name], parameter) == name.startswith("a."), name

    class Cheat(Pairs):
        def after_step(self, seen: Any) -> None:
            with torch.no_grad():
                self.model["a"][0].weight += 1e-3

    with pytest.raises(ModelError, match="changed frozen parameters"):
        made(Cheat, freeze=(r"^a\.",)).train()


def test_rates_by_pattern_reach_their_parameters_alone():
    still, moved = made(Words, rates={"net.bias": 0.0}), made(Words)
    before = {name: p.clone() for name, p in still.model.named_parameters()}
    still.train()
    moved.train()
    assert torch.equal(still.model["net"].bias, before["net.bias"])
    assert not torch.equal(still.model["net"].weight, before["net.weight"])
    assert not torch.equal(moved.model["net"].bias, before["net.bias"])


def _rank(rank: int, world: int, port: int, task: str, root: str, stop: int) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        settings = TrainerSettings.parse(SETTINGS | {"average": 0.9}, "test")
        cls = {"pairs": Pairs, "words": Words}[task]
        trainer = Trainer(cls(settings), population(), checkpoints=Path(root), run="a run", rank=rank, world_size=world)
        trainer.model.eval()  # statistics and dropout of two halves are not those of the whole

        def report(metrics: dict[str, Any]) -> None:
            if metrics["step"] == stop:
                raise Stopped

        try:
            trainer.train(report)
        except Stopped:
            os._exit(0)
        if rank == 0:
            torch.save(state(trainer), f"{root}/state.pt")
    finally:
        dist.destroy_process_group()


def two_ranks(task: str, root: Path, stop: int = -1) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=_rank, args=(rank, 2, port, task, str(root), stop)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        assert process.exitcode == 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pairs", "words"])
def test_two_ranks_equal_one_and_either_goes_on_where_the_other_was_killed(tmp_path, task):
    """Same keys at any number of ranks: with nothing drawn, the same weights but for the order of sums."""
    cls = {"pairs": Pairs, "words": Words}[task]
    one = made(cls)
    one.model.eval()
    one.train()
    tmp_path.joinpath("two").mkdir()
    two_ranks(task, tmp_path / "two", stop=8)  # killed on two ranks
    alone = made(cls, tmp_path / "two")  # goes on alone
    assert alone.done == 6
    alone.model.eval()
    alone.train()
    for name, value in state(one).items():
        assert torch.allclose(value.float(), state(alone)[name].float(), atol=1e-4), name
    tmp_path.joinpath("both").mkdir()
    two_ranks(task, tmp_path / "both")
    both = torch.load(tmp_path / "both" / "state.pt", weights_only=True)
    assert both.keys() == state(one).keys()
    for name, value in state(one).items():
        assert torch.allclose(value.float(), both[name].float(), atol=1e-4), name


def test_a_population_too_small_or_a_batch_that_does_not_divide_is_one_line():
    from pairwright.components.errors import InvalidRecipe

    settings = TrainerSettings.parse({"batch_size": 7}, "test")
    with pytest.raises(InvalidRecipe, match="does not divide by 2"):
        Trainer(Pairs(settings), population(), world_size=2)
    with pytest.raises(InvalidRecipe, match="too few"):
        Trainer(Pairs(settings), population(1))


def test_half_precisions_train_and_resume(tmp_path):
    for name in ("bfloat16", "float16"):
        found = []
        settings = TrainerSettings.parse(SETTINGS, "test")
        for root, stop in ((None, None), (tmp_path / name, 8)):
            said: dict[str, Any] = {"checkpoints": root, "run": name, "precision": name}
            if stop:
                with pytest.raises(Stopped):
                    Trainer(Pairs(settings), population(), **said).train(stop_at(stop))
            trainer = Trainer(Pairs(settings), population(), **said)
            losses: list[float] = []
            trainer.train(lambda m, losses=losses: losses.append(m.get("loss", np.nan)))
            found.append([p.detach().clone() for p in trainer.model.parameters()])
            assert np.isfinite(losses).any()
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)), name


def stop_at(step: int) -> Any:
    def report(metrics: dict[str, Any]) -> None:
        if metrics["step"] == step:
            raise Stopped

    return report
