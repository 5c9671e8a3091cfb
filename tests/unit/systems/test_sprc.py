"""SPRC: what its three terms are and whom they teach, and that picture and text together find more than either."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from composed import TINY, WIDTH, Planted, built, fitted
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import ColumnError
from pairwright.components.models.composed.qformer import QFormer
from pairwright.components.pretrain.composed.sprc import Sprc, SprcSettings, align, sprc_outputs
from pairwright.components.pretrain.composed.task import contrast
from pairwright.components.training.batch import Batch


def settings(**changes: Any) -> SprcSettings:
    wish: dict[str, Any] = {"grid": 2, "dim": 32, "width": 32, "queries": 4, "layers": 2, "heads": 2, "steps": 110}
    wish |= {"batch_size": 54, "lr": 4e-3, "warmup_steps": 5, "weight_decay": 0.01}
    return SprcSettings.parse(TINY | wish | changes, "test")


def population(world: Planted) -> ArrayPopulation:
    return world.population({"modification": world.modifications}, patches=True)


def batch_of(task: Sprc, rows: int = 12) -> Batch:
    examples = task.population.read(np.arange(rows), 0, 0)
    return Batch(task.collate(examples), torch.arange(rows), examples.keys)


def net_and_inputs(rows: int = 5) -> tuple[QFormer, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    shape = {"dim": 8, "width": 16, "layers": 2, "heads": 2, "queries": 3, "grid": 2, "most_words": 9}
    real = torch.arange(6)[None] < torch.tensor([6, 4, 3, 6, 5])[:rows, None]
    return QFormer(WIDTH, WIDTH, **shape), torch.randn(rows, 4, WIDTH), (torch.randn(rows, 6, WIDTH), real)


def test_another_picture_or_another_text_is_another_query_and_both_are_unit_vectors() -> None:
    net, image, text = net_and_inputs()
    query = net.query(image, text)
    assert torch.allclose(query.norm(dim=1), torch.ones(5))
    moved = net.query(image.roll(1, 0), text)
    reworded = net.query(image, (text[0].roll(1, 0), text[1].roll(1, 0)))
    assert ((query - moved).norm(dim=1) > 1e-3).all()
    assert ((query - reworded).norm(dim=1) > 1e-3).all()
    assert torch.allclose(net.target(image).norm(dim=2), torch.ones(5, 3))


def test_the_learnt_query_has_no_picture_in_it_and_padding_is_read_by_none() -> None:
    net, image, (vectors, real) = net_and_inputs()
    outputs = [sprc_outputs(net, seen, (vectors, real), seen) for seen in (image, image.roll(1, 0))]
    assert torch.equal(outputs[0]["learnt"], outputs[1]["learnt"])
    assert not torch.allclose(outputs[0]["query"], outputs[1]["query"], atol=1e-4)
    longer = torch.cat([vectors, 99 * torch.ones(5, 2, WIDTH)], dim=1), F.pad(real, (0, 2))
    for name in ("query", "learnt", "fused"):
        assert torch.allclose(outputs[0][name], sprc_outputs(net, image, longer, image)[name], atol=1e-5)


def test_the_learnt_branch_is_the_sentence_of_the_learnt_prompt() -> None:
    """Prompts have no place of their own: before [CLS] or after it, as the released code has them, is the same."""
    net, _, text = net_and_inputs()
    assert torch.allclose(net.sentence(net.prompt.expand(5, -1, -1), text), net.learnt(text), atol=1e-5)


def test_a_query_is_held_against_the_best_of_a_targets_queries_one_way() -> None:
    draw = torch.Generator().manual_seed(1)
    q = F.normalize(torch.randn(4, 8, generator=draw, dtype=torch.float64), dim=-1)
    t = F.normalize(torch.randn(4, 3, 8, generator=draw, dtype=torch.float64), dim=-1)
    each = []
    for i in range(4):
        best = torch.stack([max(q[i] @ t[j, k] for k in range(3)) for j in range(4)])
        each.append(torch.logsumexp(7 * best, 0) - 7 * best[i])
    assert torch.allclose(contrast(q, t, 7.0), torch.stack(each).mean())
    asked = torch.tensor([True, False, True, False])
    assert torch.allclose(contrast(q, t, 7.0, asked=asked), (each[0] + each[2]) / 2)
    halves = [contrast(q, t, 7.0, slice(0, 2)), contrast(q, t, 7.0, slice(2, 4))]
    assert torch.allclose(torch.stack(halves).mean(), contrast(q, t, 7.0))


def test_align_draws_every_row_to_one_vector_and_teaches_the_fusion_alone() -> None:
    task = built(Sprc(settings()), population(Planted(0)))
    batch = batch_of(task)
    outputs = task.encode(batch)
    fused = outputs["fused"]
    fused.retain_grad()
    task.losses(outputs, batch)["align"].backward()
    goal = task.model.prompt.detach().mean(1)
    assert goal.shape[0] == 1
    # The gradient of the mean square points from the one goal to each row, by the same factor.
    assert torch.allclose(fused.grad, 2 * (fused - goal).detach() / fused.numel(), atol=1e-7)
    reached = {
        name for name, p in task.model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0
    }
    assert not {"prompt", "cls", "text_out.weight", "image_out.weight", "log_scale"} & reached
    assert {"query_tokens", "words.1.weight", "patches.1.weight"} <= reached


def test_align_is_zero_at_its_goal_and_counts_only_rows_that_ask() -> None:
    prompt = torch.randn(1, 3, 6, requires_grad=True)
    at = prompt.detach().mean(1).expand(4, -1)
    assert float(align(at, prompt, torch.ones(4, dtype=torch.bool))) == 0
    off = at + torch.tensor([0.0, 5.0, 0.0, 1.0])[:, None]
    assert float(align(off, prompt, torch.tensor([True, False, True, True]))) == pytest.approx(1 / 3)


def test_rtc_teaches_the_learnt_prompt_and_itc_does_not() -> None:
    task = built(Sprc(settings()), population(Planted(0)))
    batch = batch_of(task)
    for term, taught in (("itc", False), ("rtc", True)):
        task.model.zero_grad()
        task.losses(task.encode(batch), batch)[term].backward()
        prompt = task.model.prompt.grad
        assert (prompt is not None and float(prompt.abs().sum()) > 0) == taught


def test_a_weight_of_0_leaves_a_term_out_bit_for_bit() -> None:
    task = built(Sprc(settings()), population(Planted(0)))
    bare = built(Sprc(settings(rtc=0.0, align=0.0)), population(Planted(0)))
    batch = batch_of(task)
    named, left = task.losses(task.encode(batch), batch), bare.losses(bare.encode(batch), batch)
    assert torch.equal(left["loss"], named["itc"])
    assert set(left) == {"itc", "loss", "logit_scale"}
    wanted = named["itc"] + 0.4 * named["rtc"] + 0.4 * named["align"]
    assert torch.allclose(named["loss"], wanted)
    assert float(task.model.scale.detach()) == pytest.approx(1 / 0.07)


def test_a_pair_without_a_reference_or_a_text_is_only_a_wrong_answer_and_may_be_asked_from() -> None:
    world = Planted(0)
    whole = population(world)
    texts = world.modifications
    texts[2] = ""
    keys = [f"k{n}" for n in range(whole.size)]
    references = [keys[n] for n in world.references]
    references[5] = "nowhere"
    lacking = ArrayPopulation(
        {"patch_features.vector": world.patches}, {"modification": texts}, keys=keys, labels={"reference": references}
    )
    task = built(Sprc(settings()), lacking)
    batch = batch_of(task)
    assert [n for n, asked in enumerate(batch["asked"].tolist()) if not asked] == [2, 5]
    row = batch["reference"][0].numpy()
    assert np.allclose(row, world.patches[world.references[0]], atol=1e-2)
    outputs = task.encode(batch)
    outputs["query"].retain_grad()
    task.losses(outputs, batch)["loss"].backward()
    assert outputs["query"].grad[[2, 5]].abs().sum() == 0
    assert outputs["query"].grad[0].abs().sum() > 0


def test_towers_stay_and_another_grid_is_one_line() -> None:
    task = built(Sprc(settings()), population(Planted(0)))
    assert not any(p.requires_grad for tower in (task.image_tower, task.text_tower) for p in tower.parameters())
    assert not any("tower" in name for name, _ in task.model.named_parameters())
    with pytest.raises(ColumnError, match="3 x 3 patches of 64 are not; give both the same grid"):
        built(Sprc(settings(grid=3)), population(Planted(0)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_find_more_than_the_text_or_the_picture(seed: int) -> None:
    task = fitted(Sprc(settings(seed=seed)), population(Planted(seed)))
    world = Planted(seed + 100)
    net, said = task.model, task.words(world.modifications)
    patches = torch.from_numpy(world.patches).unflatten(1, (4, -1))
    seen = patches[torch.from_numpy(world.references)]
    with torch.no_grad():
        targets = net.target(patches)
        both, text, image = (
            world.r1(queries, targets)
            for queries in (net.query(seen, said), net.text_query(said), net.image_query(seen))
        )
    assert both > max(text, image) + 0.3, (both, text, image)
