"""PC2: who is told what by whom, the split of planted noise, what its entropy does, and resuming with its banks."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import TINY_IMAGE, TINY_TEXT, tiny_settings
from torch import Tensor

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
from pairwright.components.models.formats import load_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.dbl import triplet
from pairwright.components.pretrain.pc2 import (
    Bank,
    Pc2,
    Pc2Settings,
    _threshold,
    borrowed,
    entropy,
    hardest_hinge,
    mean_hinge,
    soft_margin,
)
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

CLASSES = 32
LEARN: dict[str, Any] = {"epochs": 12, "batch_size": 100, "lr": 3e-3, "warmup_steps": 5, "dim": 32}


def settings(**changes: Any) -> Pc2Settings:
    values = LEARN | {"image_tower": TINY_IMAGE, "text_tower": TINY_TEXT, "warmup_epochs": 4, "classes": CLASSES}
    return Pc2Settings.parse(values | changes, "test")


@cache
def planted(rows: int, seed: int, noise: float = 0.0) -> tuple[ArrayPopulation, np.ndarray]:
    """Pairs of two noisy linear views of 12 facts; a share `noise` of the captions moved on by one. Which are right."""
    same, draw = np.random.default_rng(7), np.random.default_rng(seed)
    facts = draw.normal(size=(rows, 12))
    image, text = (facts @ same.normal(size=(12, 64)) + 2 * draw.normal(size=(rows, 64)) for _ in range(2))
    moved = draw.choice(rows, int(noise * rows), replace=False)
    text[moved] = text[np.roll(moved, 1)]
    columns = {"image_features.vector": image, "text_features.vector": text}
    right = np.ones(rows, bool)
    right[moved] = False
    return ArrayPopulation({name: value.astype(np.float32) for name, value in columns.items()}), right


def auc(score: Any, right: np.ndarray) -> float:
    """P(a right pair scores above a wrong one), ties half."""
    good, bad = np.asarray(score)[right], np.asarray(score)[~right]
    return float(((good[:, None] > bad).mean() + (good[:, None] >= bad).mean()) / 2)


def recall(encoder: Any) -> float:
    """t2i R@1 on 300 pairs of their own, all right."""
    held, _ = planted(300, 1000)
    examples, rows = held.read(np.arange(300), 0, 0), np.arange(300)
    image = encoder.encode_image_features(torch.from_numpy(examples.column("image_features.vector")))
    text = encoder.encode_text_features(torch.from_numpy(examples.column("text_features.vector")))
    _, t2i = retrieval_ranks(image.numpy(), text.numpy(), Positives(rows, rows, rows))
    return float((t2i == 1).mean())


@cache
def fitted(seed: int = 0, **changes: Any) -> Pc2:
    task = Pc2(settings(seed=seed, **changes))
    fit_here(task, planted(800, seed, 0.4)[0])
    return task


# -- kernels ------------------------------------------------------------------------------------------


def scores(size: int = 6) -> Tensor:
    return 2 * torch.rand(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1


def test_the_soft_margin_is_0_at_0_and_m_at_1_and_rises() -> None:
    y = torch.linspace(0, 1, 101, dtype=torch.float64)
    margin = soft_margin(y, 0.2)
    assert float(margin[0]) == 0
    assert float(margin[-1]) == pytest.approx(0.2, abs=1e-12)
    assert bool((margin.diff() > 0).all())
    assert float(margin[50]) == pytest.approx(0.2 * (math.sqrt(10) - 1) / 9)


def test_with_every_pair_sure_the_loss_is_the_plain_triplet_to_the_bit() -> None:
    t = scores()
    plain = hardest_hinge(t, soft_margin(torch.ones(6, dtype=torch.float64), 0.2))
    assert torch.allclose(plain.sum(), triplet(t, 0.2), atol=1e-14)
    assert torch.equal(plain, hardest_hinge(t, torch.full((6,), 0.2, dtype=torch.float64)))


def test_a_margin_is_its_own_pairs_both_ways_and_means_are_over_the_batch() -> None:
    t = torch.tensor([[0.5, 0.4, 0.1], [0.0, 0.6, 0.3], [0.2, 0.5, 0.4]], dtype=torch.float64)
    margin = torch.tensor([0.0, 0.2, 0.1], dtype=torch.float64)
    # of row i and of column i, with margin i: 0.4 and 0.2 against 0.5; 0.3 and 0.5 against 0.6; 0.5 and 0.3 against 0.4
    assert hardest_hinge(t, margin).tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert float(mean_hinge(t, 0.2)[2]) == pytest.approx((0.0 + 0.3) / 3 + (0.0 + 0.1) / 3)


def test_pairs_that_share_a_borrowed_caption_are_no_negatives() -> None:
    t = torch.tensor([[0.5, 0.5], [0.4, 0.4]])  # one caption twice
    assert hardest_hinge(t, torch.full((2,), 0.2), torch.ones(2, 2, dtype=torch.bool)).tolist() == [0, 0]
    assert hardest_hinge(t, torch.full((2,), 0.2)).min() > 0


def test_a_noisy_picture_borrows_from_the_clean_one_that_is_predicted_most_alike() -> None:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.85, 0.15, 0.0], [0.0, 0.8, 0.2], [0.12, 0.88, 0.0]])
    lender, likeness = borrowed(p, torch.tensor([True, True, False, False, False]))
    assert lender.tolist() == [0, 1, 1]
    wanted = torch.nn.functional.cosine_similarity(p[[2, 3, 4]], p[[0, 1, 1]])
    assert torch.allclose(likeness, wanted)


def test_oscillation_is_the_divergence_from_the_last_epochs_prediction() -> None:
    bank, now = Bank(4, 3), torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    assert bank.oscillation_of(torch.tensor([2, 1]), now).tolist() == [0, 0]  # nothing is remembered
    bank.prediction[1] = torch.tensor([0.1, 0.1, 0.8])
    found = bank.oscillation_of(torch.tensor([2, 1]), now)
    assert float(found[0]) == 0
    assert float(found[1]) == pytest.approx(0.2 * math.log(2) * 2 + 0.6 * math.log(0.75), abs=1e-6)


def test_the_split_is_y_hat_by_its_formula() -> None:
    bank, draw = Bank(401, 2), np.random.default_rng(0)
    bank.loss[:400] = torch.from_numpy(np.r_[draw.normal(0.1, 0.03, 240), draw.normal(0.7, 0.1, 160)]).float()
    bank.oscillation[:400] = torch.from_numpy(np.r_[draw.normal(0.1, 0.03, 320), draw.normal(0.9, 0.1, 80)]).float()
    bank.split()
    assert bank.clean[:240].float().mean() > 0.98
    assert bank.clean[240:400].float().mean() < 0.02
    assert torch.allclose(bank.trust[:230], torch.ones(230), atol=0.02)  # p = y = 1
    steady = bank.trust[250:320]  # noisy, and steady in what it is predicted as: (1 - p) p_o
    assert float(steady.mean()) > 0.9
    assert float(bank.trust[330:400].mean()) < 0.1  # noisy and restless
    assert bool(bank.clean[400])  # never met: stays as it was


def test_where_no_pair_looks_noisy_a_hundredth_is_left_out_and_none_where_all_look_alike() -> None:
    p = np.linspace(0.8, 0.9, 300)
    assert (p <= _threshold(p)).sum() == 4
    assert _threshold(np.r_[0.2, p]) == 0.5
    assert (np.ones(300) > _threshold(np.ones(300))).all()
    bank = Bank(300, 2)
    bank.loss, bank.oscillation = torch.zeros(300), torch.zeros(300)
    bank.split()
    assert bank.clean.all()


# -- the task -------------------------------------------------------------------------------------------


def made(epoch: int, **changes: Any) -> tuple[Pc2, Batch]:
    task = Pc2(settings(**changes))
    task.population, task.device = planted(800, 0, 0.4)[0], torch.device("cpu")
    task.model = task.build()
    examples = task.population.read(np.arange(40), epoch, 0)
    return task, Batch(task.collate(examples), torch.arange(40), examples.keys, epoch)


def test_each_net_is_told_by_the_other_and_taught_by_its_own_losses() -> None:
    task, batch = made(9, borrow=0.0, classify=0.0, entropy_weight=0.0)
    task.bank["b"].clean[10:] = False  # net b says: only the first ten
    task.bank["b"].trust[:10] = 0.3
    outputs = task.encode(batch)
    named = task.losses(outputs, batch)
    t = outputs["a_image"][:10] @ outputs["a_text"][:10].T
    wanted = hardest_hinge(t, soft_margin(torch.full((10,), 0.3), 0.2)).mean()
    assert torch.equal(named["a_clean"], wanted)
    whole = outputs["b_image"] @ outputs["b_text"].T
    assert torch.equal(named["b_clean"], hardest_hinge(whole, torch.full((40,), 0.2)).mean())  # a calls all clean
    named["a_clean"].backward()
    got = {name.partition(".")[0] for name, p in task.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert got == {"a"}
    assert not any("_tower" in name for name, p in task.model.named_parameters() if p.grad is not None)


def test_weights_of_0_and_all_pairs_sure_are_two_plain_triplets_to_the_bit() -> None:
    task, batch = made(9, borrow=0.0, classify=0.0, entropy_weight=0.0)
    outputs = task.encode(batch)
    named = task.losses(outputs, batch)
    each = [hardest_hinge(outputs[f"{n}_image"] @ outputs[f"{n}_text"].T, torch.full((40,), 0.2)).mean() for n in "ab"]
    assert torch.equal(named["loss"], each[0] + each[1])


def test_the_captions_class_is_a_label_and_gets_no_gradient_of_it() -> None:
    task, batch = made(0)
    outputs = task.encode(batch)
    for value in outputs.values():
        value.retain_grad()
    task.losses(outputs, batch)["a_classify"].backward()
    assert outputs["a_image_class"].grad is not None
    assert outputs["a_text_class"].grad is None
    wanted = torch.nn.functional.cross_entropy(outputs["a_image_class"], outputs["a_text_class"].argmax(1))
    assert torch.allclose(task.losses(outputs, batch)["a_classify"], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_40_percent_moved_captions_it_tells_which_and_finds_more_than_the_plain_triplet(seed: int) -> None:
    task = fitted(seed)
    _, right = planted(800, seed, 0.4)
    for bank in task.bank.values():
        assert auc(bank.probability, right) > 0.9
        assert (bank.clean.numpy() == right).mean() > 0.85
    plain = FitDualEncoder(
        tiny_settings(**LEARN, seed=seed, objective={"uses": "dbl", "with": {"weight": 0.0, "anchor": "frozen"}})
    )
    plain.device = torch.device("cpu")
    plain.prepare()
    fit_here(plain, planted(800, seed, 0.4)[0])
    assert recall(task.model["a"]) > recall(plain.encoder) + 0.05


def predictions(task: Pc2) -> Tensor:
    return task.bank["a"].prediction


def mutual_information(p: Tensor) -> float:
    """H(mean) - mean H, in nats: how much a prediction tells of its picture."""
    return float(entropy(p.mean(0, keepdim=True))[0] - entropy(p).mean())


@pytest.mark.slow
def test_classes_collapse_without_the_entropy_and_spread_with_it() -> None:
    spread, collapsed = (entropy(predictions(fitted(0, **wish)).mean(0, keepdim=True))[0] for wish in ({}, OFF))
    assert float(spread) > 0.8 * math.log(CLASSES)
    assert float(collapsed) < 0.2 * math.log(CLASSES)


OFF = {"entropy_weight": 0.0}


@pytest.mark.slow
def test_each_pictures_own_entropy_makes_predictions_that_tell_nothing_and_the_means_does_not() -> None:
    """Uniform predictions pass the test above; what they tell of their pictures does not."""
    released, ours = predictions(fitted(0, entropy="sample")), predictions(fitted(0))
    assert float(entropy(released.mean(0, keepdim=True))[0]) > 0.8 * math.log(CLASSES)
    assert 0 < mutual_information(released) < 0.002
    assert mutual_information(ours) > 5 * mutual_information(released)


@pytest.mark.slow
def test_borrowed_captions_cost_recall_where_every_picture_is_its_own() -> None:
    """An honest limit: pictures of no clear classes are better left out than captioned by a neighbour."""
    assert recall(fitted(0, borrow=0.0).model["a"]) > recall(fitted(0).model["a"])


# -- going on -------------------------------------------------------------------------------------------

SHORT = {"epochs": 6, "warmup_epochs": 2, "batch_size": 80, "checkpoint_every": 7}  # 10 steps an epoch


class Killed(Exception):
    pass


def trainer(root: Path | None) -> Trainer:
    return Trainer(Pc2(settings(**SHORT)), planted(800, 0, 0.4)[0], checkpoints=root, run="a run")


def state(of: Trainer) -> dict[str, Tensor]:
    found = {name: value.clone() for name, value in of.model.state_dict().items()}
    return found | {f"task.{name}": value.clone() for name, value in of.task.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(5,), (19, 20, 21), (33, 36, 59)])
def test_killed_anywhere_it_ends_with_the_same_nets_and_banks(tmp_path: Path, kills: tuple[int, ...]) -> None:
    whole = trainer(None)
    whole.train()

    def killed(after: int) -> Any:
        def report(metrics: dict[str, Any]) -> None:
            if metrics["step"] == after:
                raise Killed

        return report

    for after in kills:
        with pytest.raises(Killed):
            trainer(tmp_path).train(killed(after))
    last = trainer(tmp_path)
    last.train()
    one, other = state(whole), state(last)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert 0.3 < float(last.task.bank["a"].clean.float().mean()) < 0.9  # a split is in it


def test_its_folder_is_a_dual_encoder(tmp_path: Path) -> None:
    short = trainer(tmp_path / "checkpoints")
    short.train()
    metrics = short.save(tmp_path / "model")
    assert 0.3 < metrics["clean_share"] < 0.9
    assert metrics["agreement"] > 0.8
    model = load_model(tmp_path / "model", "dual_encoder")
    assert recall(model) == recall(short.model["a"])
