"""DiscriTune: the reward by hand, what it does not depend on, a baseline that calms the gradient, pictures found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paid import NAMES, captions_of, retriever, settings, start, tuned, world
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import hash_folder, resolve_model
from pairwright.components.pretrain.caption_rewards.pool import Pool
from pairwright.components.pretrain.caption_rewards.self_retrieval import log_found
from pairwright.components.pretrain.self_critical.policy import advantages, policy_loss
from pairwright.components.pretrain.self_critical.task import SelfCritical
from pairwright.components.training.batch import Batch
from pairwright.components.training.trainer import Trainer

SEEDS = (0, 1, 2)
AMONG = 100


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paid")
    retriever(root / "retriever")
    return root


def paid_by(place: Path, **changes: Any) -> list[dict[str, Any]]:
    return [{"uses": "self_retrieval", "with": {"model": place / "retriever", "features": "x.vector", **changes}}]


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def everyone(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool)


def test_the_reward_is_the_log_softmax_of_the_pictures_own_cosine() -> None:
    picture, said = unit(5, 8), unit(5, 3, 8, seed=1)
    found = log_found({"picture": picture, "said": said}, 10.0, everyone(5), torch.arange(5))
    by_hand = torch.stack([(10.0 * said[i] @ picture.T).log_softmax(1)[:, i] for i in range(5)])
    assert torch.allclose(found, by_hand, atol=1e-5)


def test_it_is_at_most_0_and_0_only_where_the_caption_finds_its_picture_for_certain() -> None:
    picture = torch.eye(4)
    own, lost = picture[:, None], picture.roll(1, 0)[:, None]
    certain = log_found({"picture": picture, "said": own}, 100.0, everyone(4), torch.arange(4))
    assert certain.tolist() == [[0.0]] * 4
    for said, scale in ((own, 5.0), (lost, 5.0), (unit(4, 2, 4), 5.0)):
        assert bool((log_found({"picture": picture, "said": said}, scale, everyone(4), torch.arange(4)) < 0).all())


def test_the_order_of_candidates_does_not_matter_nor_does_what_is_said_of_others() -> None:
    picture, said, order = unit(6, 8), unit(6, 2, 8, seed=1), torch.tensor([3, 0, 5, 1, 4, 2])
    found = log_found({"picture": picture, "said": said}, 10.0, everyone(6), torch.arange(6))
    again = log_found({"picture": picture[order], "said": said[order]}, 10.0, everyone(6), order)
    assert torch.allclose(again, found[order], atol=1e-6)
    other = said.clone()
    other[1:] = unit(5, 2, 8, seed=9)
    assert torch.equal(log_found({"picture": picture, "said": other}, 10.0, everyone(6), torch.arange(6))[0], found[0])


def test_mined_neighbours_are_the_nearest_others_no_copies_each_once_and_make_it_harder() -> None:
    picture, said = unit(4, 8), unit(4, 1, 8, seed=1)
    vectors = torch.cat([picture, picture[:1], unit(20, 8, seed=2)])  # number 4 is a copy of 0
    found = Pool(torch.arange(25), vectors, same=0.98).nearest(picture, torch.arange(4), 3)
    cosines = picture @ vectors.T
    for row in range(4):
        able = [j for j in range(25) if j != row and cosines[row, j] <= 0.98]
        assert found["number"][row].tolist() == sorted(able, key=lambda j, row=row: -cosines[row, j])[:3]  # type: ignore[misc]
    assert not {0, 4} & set(found["number"][0].tolist())
    outputs = {"picture": picture, "said": said}
    plain = log_found(outputs, 10.0, everyone(4), torch.arange(4))
    mined = log_found(outputs | found, 10.0, everyone(4), torch.arange(4))
    assert bool((mined <= plain).all())
    for row in range(4):  # candidates are a set: one that is in the batch and near counts once
        able = sorted({0, 1, 2, 3} | set(found["number"][row].tolist()))
        by_hand = (10.0 * said[row, 0] @ vectors[able].T).log_softmax(0)[able.index(row)]
        assert float(mined[row]) == pytest.approx(float(by_hand), abs=1e-5)


def test_fewer_pictures_than_neighbours_leave_places_that_count_for_nothing() -> None:
    picture = unit(2, 8)
    found = Pool(torch.arange(2), picture, same=0.98).nearest(picture, torch.arange(2), 5)
    assert sorted(found["number"].flatten().tolist()) == [-1, -1, 0, 1]
    outputs = {"picture": picture, "said": unit(2, 3, 8, seed=1)}
    plain = log_found(outputs, 10.0, everyone(2), torch.arange(2))
    assert torch.allclose(log_found(outputs | found, 10.0, everyone(2), torch.arange(2)), plain, atol=1e-6)


@pytest.mark.slow
def test_the_running_mean_is_of_all_rewards_before_and_calms_the_gradient(place: Path) -> None:
    """Measured: the summed variance of a minibatch's gradient over its samples, with the mean off and without."""
    wish = settings(start(place, 0), paid_by(place), baseline="mean", samples=1, steps=6, batch_size=24)
    trainer = Trainer(SelfCritical(wish), world(0).population())
    trainer.train()
    mean = trainer.task.paid[0] / trainer.task.paid[1]
    assert trainer.task.paid[1] == 6 * 24
    assert mean < -1
    gradients: dict[float, list[Tensor]] = {mean: [], 0.0: []}
    examples = world(0).population().read(np.arange(36), 0, 0)
    fields = trainer.task.collate(examples)
    for draw in range(24):
        batch = Batch({**fields, "seeds": torch.full((36, 1), draw)}, torch.arange(36), examples.keys)
        outputs = trainer.task.encode(batch)
        own = {name.partition(".")[2]: value for name, value in outputs.items() if "." in name}
        paid = trainer.task.rewards["self_retrieval"].score(own, batch, 0.0).detach()
        for baseline, kept in gradients.items():
            trainer.model.zero_grad()
            policy_loss(outputs["log_p"], advantages(paid, "mean", baseline)).backward(retain_graph=True)
            kept.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
    variance = {baseline: float(torch.stack(kept).var(0).sum()) for baseline, kept in gradients.items()}
    assert variance[mean] < 0.75 * variance[0.0], variance


def found_among(place: Path, captions: list[str], features: np.ndarray) -> float:
    """R@1 among 100 others, by the retriever; answers that tie share a hit."""
    model = load_dual_encoder(resolve_model(str(place / "retriever")))
    text, image = model.encode_text(captions), model.encode_image_features(features)
    hits = []
    for at in range(0, len(captions) - AMONG + 1, AMONG):
        cosines = text[at : at + AMONG] @ image[at : at + AMONG].T
        hits.append((cosines.argmax(1) == torch.arange(AMONG)).float())
    return float(torch.cat(hits).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_captions_of_unseen_pictures_find_them_more_often_and_the_retriever_is_as_it_was(
    place: Path, seed: int
) -> None:
    """Of 100 pictures there are 36 kinds, so 0.36 at most; the start says the noun alone, one kind in six."""
    before, shown = hash_folder(place / "retriever"), world(seed + 500)
    first = start(place, seed)
    trainer = tuned(first, paid_by(place), seed, baseline="mean")
    judge = trainer.task.rewards["self_retrieval"].encoder  # type: ignore[attr-defined]
    untouched = load_dual_encoder(resolve_model(str(place / "retriever"))).state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in judge.state_dict().items())
    assert hash_folder(place / "retriever") == before
    said = {"start": captions_of(first, shown.features), "tuned": captions_of(trainer.task.captioner, shown.features)}
    found = {name: found_among(place, texts, shown.features) for name, texts in said.items()}
    assert found["tuned"] > found["start"] + 0.1, found
    named = {
        name: np.mean([NAMES[what] == text for what, text in zip(shown.what, texts, strict=True)])
        for name, texts in said.items()
    }
    assert named["tuned"] > named["start"] + 0.2, "what is said more is true, not what the retriever happens to like"
