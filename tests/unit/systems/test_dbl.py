"""Deep Boosting Learning: the identities of its loss, its three anchors, and what resumes with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from safetensors.torch import load_file
from shapes import shapes_dataset

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.dbl import Dbl, DblSettings, triplet
from pairwright.components.training.batch import Batch
from pairwright.components.training.contract import Seen
from pairwright.components.training.parameters import freeze
from pairwright.components.training.run import train

BOTH = pytest.mark.parametrize("boost", ["absolute", "relative"])
MARGIN = 0.2


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 32, 1), root)


def cosines(size: int = 7) -> torch.Tensor:
    return 2 * torch.rand(size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1


def boosting(kind: str, t: torch.Tensor, a: torch.Tensor, share: float = 0.5) -> float:
    return float(Dbl(DblSettings(boost=kind, margin=MARGIN, share=share)).boost(t, a))


@BOTH
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_a_target_that_equals_its_anchor_is_2_b_m_short(boost: str, share: float) -> None:
    a = cosines()
    assert boosting(boost, a, a, share) == pytest.approx(2 * len(a) * MARGIN, abs=1e-12)


@BOTH
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_ahead_by_its_margins_it_is_done_and_a_hair_less_is_not(boost: str, share: float) -> None:
    a, own = cosines(), torch.eye(7, dtype=torch.float64)
    t = a + own * share * MARGIN - (1 - own) * (1 - share) * MARGIN
    assert boosting(boost, t, a, share) == pytest.approx(0, abs=1e-12)
    short = t - 0.01 * own  # each matched pair
    assert boosting(boost, short, a, share) == pytest.approx(2 * 7 * 0.01, abs=1e-12)


def test_only_the_hardest_other_counts_both_ways() -> None:
    t = torch.tensor([[0.9, 0.5, 0.8], [0.1, 0.6, 0.2], [0.3, 0.7, 0.4]], dtype=torch.float64)
    rows = 0.1 + 0.0 + 0.5  # m + t- - t+: 0.8 against 0.9, 0.2 against 0.6, 0.7 against 0.4
    columns = 0.0 + 0.3 + 0.6  # 0.3 against 0.9, 0.7 against 0.6, 0.8 against 0.4
    assert float(triplet(t, MARGIN)) == pytest.approx(rows + columns, abs=1e-12)


def built(anchor: str, **changes: Any) -> tuple[FitDualEncoder, Any, Batch]:
    """The task, its model, and a batch of eight pairs of features."""
    task = FitDualEncoder(tiny_settings(objective={"uses": "dbl", "with": {"anchor": anchor} | changes}))
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    noise = torch.Generator().manual_seed(4)
    fields = {side: torch.randn(8, 64, generator=noise) for side in ("image", "text")}
    return task, task.model, Batch(fields | {"groups": torch.arange(8)}, torch.arange(8), list("abcdefgh"))


def projection(model: Any) -> tuple[str, torch.nn.Parameter]:
    """The image projection's matrix in the target."""
    named = model["encoder"].named_parameters()
    return next((name, p) for name, p in named if "image_projection" in name and p.ndim == 2)


def moved(task: FitDualEncoder) -> None:
    """The target's weights, as if trained on."""
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in task.encoder.parameters():
            if weight.requires_grad and weight.ndim == 2:
                weight += 0.1 * torch.randn(weight.shape, generator=noise)


@BOTH
@pytest.mark.parametrize("anchor", ["ema", "frozen", "branch"])
def test_at_the_start_the_boost_is_2_m_of_a_pair(anchor: str, boost: str) -> None:
    task, _, batch = built(anchor, boost=boost, weight=0.7)
    named = task.losses(task.encode(batch), batch)
    assert named["boost"].item() == pytest.approx(2 * MARGIN, abs=1e-5)
    of_anchor = named.get("anchor", torch.zeros(()))
    wanted = (named["triplet"] + 0.7 * named["boost"] + of_anchor).item()
    assert named["loss"].item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("anchor", ["ema", "frozen"])
def test_an_anchor_that_follows_or_stays_gets_no_gradient(anchor: str) -> None:
    task, model, batch = built(anchor)
    moved(task)
    task.losses(task.encode(batch), batch)["loss"].backward()
    assert all(copy.grad is None and not copy.requires_grad for copy in model["dbl"].parameters())
    learnt = {name for name, p in model["encoder"].named_parameters() if p.grad is not None}
    assert any("image_projection" in name for name in learnt)
    assert any("text_projection" in name for name in learnt)


def test_a_branch_learns_from_its_own_triplet_and_never_from_the_boost() -> None:
    task, model, batch = built("branch")
    moved(task)
    copies, (_, target) = list(model["dbl"].parameters()), projection(model)
    named = task.losses(task.encode(batch), batch)
    named["boost"].backward(retain_graph=True)
    assert all(copy.grad is None for copy in copies)
    assert float(target.grad.abs().sum()) > 0
    target.grad = None
    named["anchor"].backward()
    assert target.grad is None
    assert any(copy.grad is not None and float(copy.grad.abs().sum()) > 0 for copy in copies)


def test_the_average_follows_by_its_formula_and_its_decay_rises_to_1_as_a_cosine() -> None:
    task, model, _ = built("ema", decay=0.9)
    anchor, (name, target) = model["dbl"], projection(model)
    at = next(i for i, one in enumerate(anchor.names) if one.endswith(name))
    wanted = anchor.copies[at].detach().double()
    for step in range(20):
        moved(task)
        task.after_step(Seen(step, 20, 0, torch.arange(8), {}))
        decay = 1 - (1 - 0.9) * (math.cos(math.pi * step / 20) + 1) / 2
        wanted = decay * wanted + (1 - decay) * target.detach().double()
    assert torch.allclose(anchor.copies[at].double(), wanted, atol=1e-5)
    assert not torch.allclose(anchor.copies[at], target)
    before = anchor.copies[at].clone()
    task.after_step(Seen(20, 20, 0, torch.arange(8), {}))
    assert torch.equal(before, anchor.copies[at])  # at the end it stands


def test_a_frozen_anchor_stays() -> None:
    task, model, _ = built("frozen")
    before = [copy.clone() for copy in model["dbl"].copies]
    moved(task)
    task.after_step(Seen(0, 9, 0, torch.arange(8), {}))
    assert all(torch.equal(a, b) for a, b in zip(before, model["dbl"].copies, strict=True))


def test_what_the_recipe_freezes_is_followed_where_it_stands() -> None:
    task, model, _ = built("ema", decay=0.0)
    freeze(model, ("text_projection",))
    moved(task)
    task.after_step(Seen(0, 9, 0, torch.arange(8), {}))
    target = dict(model["dbl"]._both[0].named_parameters())
    assert all(
        torch.allclose(copy, target[name]) for name, copy in zip(model["dbl"].names, model["dbl"].copies, strict=True)
    )


def dbl(anchor: str) -> dict[str, Any]:
    return {"objective": {"uses": "dbl", "with": {"anchor": anchor, "decay": 0.5}}, "steps": 6, "checkpoint_every": 2}


@pytest.mark.parametrize("anchor", ["frozen", "ema", "branch"])
def test_it_resumes_bit_for_bit_with_its_anchor(view: ColumnsView, tmp_path: Path, anchor: str) -> None:
    class Stopped(Exception):
        pass

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 5:
            raise Stopped

    whole, stopped = (tiny_config(view, tmp_path, name, **dbl(anchor)) for name in ("whole", "stopped"))
    train(whole, 0, 1, lambda m: None)
    with pytest.raises(Stopped):
        train(stopped, 0, 1, stop)
    train(stopped, 0, 1, lambda m: None)
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "stopped" / file).read_bytes()
    last = [
        load_file(tmp_path / f"{run}.checkpoints/step_00000006/tensors.safetensors") for run in ("whole", "stopped")
    ]
    kind = "model" if anchor == "branch" else "moving"
    copies = [name for name in last[0] if name.startswith(f"{kind}.dbl.copies.")]
    assert copies
    assert all(torch.equal(last[0][name], last[1][name]) for name in copies)


def test_a_frozen_anchor_is_what_training_started_from_also_where_that_is_another_model(
    view: ColumnsView, tmp_path: Path
) -> None:
    train(tiny_config(view, tmp_path, "first", steps=6), 0, 1, lambda m: None)
    init = resolve_model(str(tmp_path / "first"))
    boosts: list[float] = []
    config = tiny_config(view, tmp_path, "second", init=init.model_dump(mode="json"), **dbl("frozen"))
    train(config, 0, 1, lambda m: boosts.append(m["boost"]))
    assert boosts[0] == pytest.approx(2 * MARGIN, abs=1e-5)
    kept = load_file(tmp_path / "second.checkpoints/step_00000006/tensors.safetensors")
    first = load_file(tmp_path / "first/model.safetensors")
    copies = [value for name, value in kept.items() if name.startswith("moving.dbl.copies.")]
    assert len(copies) >= 2
    assert all(any(torch.equal(copy, value) for value in first.values()) for copy in copies)
