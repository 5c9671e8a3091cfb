"""Self-critical tuning as a task: resumed bit for bit, what it trains, what it shows, and how a guard ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from paid import captions_of, retriever, settings, start, tuned, world

from pairwright.components.component import Reward
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.captioner.folder import load_captioner, taught_on
from pairwright.components.models.captioner.pictures import tuned_on
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.self_critical.looks import Looks
from pairwright.components.pretrain.self_critical.settings import SelfCriticalSettings
from pairwright.components.pretrain.self_critical.task import SelfCritical
from pairwright.components.registry import reward
from pairwright.components.settings import Settings
from pairwright.components.training.gradients import joint_batch, joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.trainer import Trainer

SHORT: dict[str, Any] = {"steps": 9, "batch_size": 24, "samples": 3, "checkpoint_every": 2, "late": 3, "source": "alt"}


class Longest(Settings):
    gain: float = 1.0


@reward("test_of_length")
class OfLength(Reward[Longest]):
    """Words a caption, times a gain: what an optimiser can only spoil."""

    def encode(self, batch: Any, captions: Any) -> dict[str, torch.Tensor]:
        return {"each": self.settings.gain * torch.tensor([[float(len(t.split())) for t in row] for row in captions])}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paid")
    retriever(root / "retriever")
    start(root, 0)
    return root


def found(place: Path, **changes: Any) -> list[dict[str, Any]]:
    return [{"uses": "self_retrieval", "with": {"model": place / "retriever", "features": "x.vector", **changes}}]


def trainer_of(place: Path, root: Path | None = None, rewards: Any = None, **changes: Any) -> Trainer:
    wish = settings(place / "start-0", rewards or found(place), **SHORT | changes)
    return Trainer(SelfCritical(wish), world(0).population(), checkpoints=root, run="a run")


class Killed(Exception):
    pass


def killed(trainer: Trainer, after: int) -> None:
    def report(metrics: Any) -> None:
        if metrics["step"] == after:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(report)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    moments = {
        f"{name}.{part}": value
        for name, parameter in trainer.model.named_parameters()
        for part, value in trainer.optimizer.state[parameter].items()
        if parameter.requires_grad
    }
    return weights | moments | {f"task.{name}": value for name, value in trainer.task.state_dict().items()}


@pytest.mark.parametrize("changes", [{"baseline": "mean", "kl": 0.1}, {"stop": {"length": 0.5}, "micro_batch": 10}])
def test_killed_in_the_middle_it_ends_with_the_same_bits(place: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Weights, moments, the running mean, guards, looks; where a guard stopped it before the kill, too."""
    whole = trainer_of(place, tmp_path / "whole", **changes)
    whole.train()
    for after in (3, 7):
        killed(trainer_of(place, tmp_path / "killed", **changes), after)
    again = trainer_of(place, tmp_path / "killed", **changes)
    again.train()
    one, other = state(whole), state(again)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    lines = [(tmp_path / way / "metrics.jsonl").read_text().splitlines() for way in ("whole", "killed")]
    rewards = [[json.loads(line).get("reward") for line in way] for way in lines]
    assert rewards[0] == rewards[1]
    assert (again.task.rule.reason == "length") == ("stop" in changes)


def test_only_the_captioner_is_trained_and_what_judges_is_as_it_was(place: Path) -> None:
    trainer = trainer_of(place)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert all(name.startswith("captioner.") for name in moved)
    fresh = load_dual_encoder(resolve_model(str(place / "retriever"))).state_dict()
    judge = trainer.task.rewards["self_retrieval"].encoder.state_dict()  # type: ignore[attr-defined]
    assert fresh.keys() == judge.keys()
    assert all(torch.equal(value, judge[name]) for name, value in fresh.items())


def test_micro_batches_change_no_gradient(place: Path) -> None:
    gradients = []
    for micro_batch in (0, 7):
        trainer = trainer_of(place)
        batch = next(iter(trainer._loader().stream(0, 1)))[1]
        joint_gradients(
            trainer.task,
            trainer.model,
            batch,
            joint_batch(batch),
            micro_batch,
            Precision("float32", torch.device("cpu")),
        )
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
    assert float(gradients[0].abs().max()) > 0
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


def test_a_reward_that_says_nothing_changes_nothing_and_weight_0_is_as_if_it_were_not_there(place: Path) -> None:
    nothing = trainer_of(place, rewards=[{"uses": "test_of_length", "with": {"gain": 0}}])
    before = {name: value.clone() for name, value in nothing.model.state_dict().items()}
    nothing.train()
    assert all(torch.equal(value, before[name]) for name, value in nothing.model.state_dict().items())
    plain = trainer_of(place, kl=0.0)
    beside = trainer_of(place, rewards=[*found(place), {"uses": "test_of_length", "weight": 0}])
    for one in (plain, beside):
        one.train()
    other = beside.model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in plain.model.state_dict().items())


def test_kl_holds_it_near_where_it_started(place: Path) -> None:
    far, near = (
        tuned(place / "start-0", [{"uses": "test_of_length"}], **SHORT | {"steps": 14, "kl": kl, "lr": 5e-3})
        for kl in (0.0, 3.0)
    )
    late = [float(one.task.rule.late["kl"]) for one in (far, near)]
    assert late[1] < 0.5 * late[0]


@pytest.mark.slow
def test_a_guard_stops_it_no_step_is_taken_after_that_and_it_says_so(place: Path, tmp_path: Path) -> None:
    """Paid by the word, it babbles: the reward rises while every guard falls, and one of them ends it."""
    hacked = [{"uses": "test_of_length"}]
    limits = {"repetition": 0.2, "length": 4.5}
    trainer = trainer_of(place, tmp_path / "run", hacked, steps=40, lr=5e-3, stop=limits, late=4)
    weights: dict[int, torch.Tensor] = {}

    def report(metrics: Any) -> None:
        weights[metrics["step"]] = trainer.model["captioner"].decoder.words.weight.detach().clone()  # type: ignore[index]

    trainer.train(report)
    stopped = trainer.task.rule.stopped
    assert stopped is not None
    assert 4 <= stopped < 40
    assert torch.equal(weights[stopped], weights[40])
    assert not torch.equal(weights[stopped - 1], weights[stopped])
    metrics = trainer.save(tmp_path / "model")
    assert metrics["stopped_at"] == stopped
    card = (tmp_path / "model" / "card.md").read_text()
    assert f"stopped after {stopped} steps: {trainer.task.rule.reason}" in card
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[stopped - 1]["reward"] > lines[0]["reward"]
    assert all("reward" not in line and line["stopped"] == 1 for line in lines[stopped:])


def test_it_writes_a_captioner_with_curves_of_the_reward_and_its_guards_and_captions_by_step(
    place: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(place, tmp_path / "run", looks=3)
    trainer.train()
    measured = trainer.save(tmp_path / "model")
    assert taught_on(tmp_path / "model") == taught_on(place / "start-0") is not None
    assert {"reward", "repetition", "distinct_2", "length", "kl", "fluency", "rouge_l"} <= measured.keys()
    said = captions_of(load_captioner(tmp_path / "model"), world(0).features[:40])
    assert said == captions_of(trainer.task.captioner, world(0).features[:40])
    judge = resolve_model(str(place / "retriever")).weights
    assert tuned_on(tmp_path / "model") == (judge,), "who rewarded it is known, so that it never judges it"
    listed = json.loads((tmp_path / "model" / "figures" / "figures.json").read_text())
    assert [one["file"] for one in listed] == ["guards.svg", "captions.svg"]
    curves, captions = ((tmp_path / "model" / "figures" / one["file"]).read_text() for one in listed)
    assert all(name in curves for name in ("reward", "repetition", "distinct_2", "kl", "fluency", "rouge_l"))
    assert all(f"step {step}" in captions for step in (3, 6, 9))
    assert ">start<" in captions
    last = trainer.task.looks.captions(trainer.task.start)[9]
    assert last == captions_of(trainer.task.captioner, world(0).features[trainer.task.looks.numbers])


def test_looks_come_after_equal_shares_of_the_training() -> None:
    looks = Looks(100, 5, 4, 3, lambda numbers: {})
    assert [step for step in range(1, 41) if looks.due(step, 40) is not None] == [10, 20, 30, 40]
    assert looks.numbers.tolist() == [0, 20, 40, 60, 80]
    assert Looks(3, 5, 0, 3, lambda numbers: {}).due(40, 40) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init": None}, "init: step:captioner"),
        ({"parallel": "sharded"}, "leave out parallel: sharded"),
        ({"rewards": [{"uses": "test_of_length", "weight": 0}]}, "needs one of weight above 0"),
        ({"rewards": ["test_of_length", "test_of_length"]}, "a name of its own"),
        ({"weighting": "paper"}, "is of the rewards clip_s and grammar"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(place: Path, changes: dict[str, Any], said: str) -> None:
    wish = {"init": resolve_model(str(place / "start-0")), "rewards": ["test_of_length"]}
    with pytest.raises(InvalidRecipe, match=said):
        SelfCriticalSettings.parse(wish | changes, "test")


def test_features_of_another_tower_are_refused_before_any_step(place: Path) -> None:
    wish = settings(place / "start-0", found(place), **SHORT)
    with pytest.raises(ModelError, match="features of its image tower"):
        Trainer(SelfCritical(wish), ArrayPopulation({"x.vector": world(0).features[:, :8]}, {"alt": world(0).captions}))
