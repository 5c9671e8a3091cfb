"""The reward's folder and its scores: reload bit for bit, no pair by the judge that saw it, wrong input named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from preferences import FOLDS, HASTY, IMAGE_WIDTH, fresh_model, planted

from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.reward import RewardModel, caption_statistics, load_reward
from pairwright.components.models.seen import Seen
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.pretrain.reward.training import fit_reward

TEXTS = ["A red boat.", "IMG_0012.JPG", "", "日本の船"]


@pytest.fixture(scope="module")
def fitted() -> RewardModel:
    judged, evidence = planted(40)
    model = fresh_model()
    fit_reward(model, evidence, judged, HASTY)
    model.seen = Seen.of(pictures(FOLDS).numpy(), np.arange(FOLDS), ["A train"], [2], hashes(FOLDS))
    return model


def hashes(n: int) -> list[bytes]:
    return [row.tobytes() for row in np.random.default_rng(3).integers(0, 256, (n, 32), dtype=np.uint8)]


def pictures(n: int) -> torch.Tensor:
    return torch.randn((n, IMAGE_WIDTH), generator=torch.Generator().manual_seed(0))


def test_a_folder_gives_the_same_scores_and_the_same_bytes_again(fitted: RewardModel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a", "# A card\n")
    loaded = load_reward(tmp_path / "a")
    image = torch.cat([pictures(2), torch.zeros((2, IMAGE_WIDTH))])
    known = [None, None, hashes(4)[3], None]
    assert (loaded.score(image, TEXTS, hashes=known) == fitted.score(image, TEXTS, hashes=known)).all()
    assert loaded.card == "# A card\n"
    loaded.save(tmp_path / "b")
    for name in ("config.json", "model.safetensors", "card.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_pair_that_was_fitted_on_is_scored_by_the_judge_that_did_not_see_it(fitted: RewardModel) -> None:
    image, texts = torch.cat([pictures(FOLDS), torch.ones((2, IMAGE_WIDTH))]), ["A red boat."] * (FOLDS + 2)
    each = fitted.rewards(image, fitted.text_features(texts), caption_statistics(texts))
    scores = fitted.score(image, texts, hashes=[*[None] * FOLDS, hashes(2)[1], b"\0" * 32])
    assert torch.allclose(scores[:FOLDS], each.diag()[:FOLDS])  # by the same features
    assert torch.isclose(scores[FOLDS], each[FOLDS, 1])  # other features, its hash says it is the second one
    assert torch.isclose(scores[-1], each[-1].mean())
    assert torch.isclose(fitted.score(image[-1:], texts[-1:])[0], each[-1].mean())
    assert len(set(each[-1].tolist())) == FOLDS
    said = ["a TRAIN."]
    known = fitted.rewards(image[-1:], fitted.text_features(said), caption_statistics(said))[0]
    assert torch.isclose(fitted.score(image[-1:], said)[0], known[2])  # its caption under another picture


def test_cached_text_features_give_the_same_score(fitted: RewardModel) -> None:
    cached = fitted.text_features(TEXTS).half().numpy()
    assert (fitted.score(pictures(4), TEXTS, text_features=cached) == fitted.score(pictures(4), TEXTS)).all()


def test_statistics_of_captions() -> None:
    found = caption_statistics(["A red red boat", "", "a1!"])
    assert found.shape == (3, 4)
    assert torch.allclose(found[0], torch.tensor([np.log(5), np.log(15), 1.0, 0.75], dtype=torch.float32))
    assert found[1].tolist() == [0, 0, 0, 0]
    assert found[2, 2].item() == pytest.approx(1 / 3)


def test_evidence_is_by_heads_that_saw_neither_the_picture_nor_the_caption(fitted: RewardModel) -> None:
    """A caption may stand in several folds; heads i-j know it only if it stands in neither of theirs."""
    image, text = pictures(3), fitted.text_features(["a", "b", "c"])
    by = fitted.evidence_by(image, text)
    found = fitted.evidence(by, 1, torch.tensor([0, 0b0010, 0b1001]))
    of_one = [by[name] for name in by if "1" in name.split("-")]
    assert torch.allclose(found[:2], torch.stack(of_one).mean(0)[:2])
    assert torch.allclose(found[2], (by["0-1"] + by["1-3"])[2] / 2)


def test_evidence_is_log_odds_against_other_pictures(fitted: RewardModel) -> None:
    """By hand for one pair of heads; over the bank's own pictures its exponential has a mean of 1."""
    heads, bank = fitted.heads["0-1"], fitted.get_buffer("bank_0-1")
    image, text = pictures(4), fitted.text_features(TEXTS)
    logits = heads.scale * heads.image(image) @ heads.text(text).T
    others = torch.log(torch.exp(heads.scale * bank @ heads.text(text).T).mean(0))
    assert torch.allclose(fitted.evidence_by(image, text)["0-1"], logits.diagonal() - others, atol=1e-4)
    of_bank = heads.scale * bank @ heads.text(text).T - others
    assert torch.allclose(of_bank.exp().mean(0), torch.ones(4), atol=1e-4)


def test_a_dual_encoder_gives_the_evidence(tmp_path: Path) -> None:
    """With a public encoder nothing is aligned anew; its projections travel in the reward's folder."""
    encoder = new_dual_encoder(resolve_model("builtin:tiny-image"), resolve_model("builtin:tiny-text"), 8)
    model = RewardModel(encoder, 64, 64, folds=3).eval()
    assert len(model.heads) == 0
    image = torch.randn((4, 64), generator=torch.Generator().manual_seed(1))
    model.set_bank("encoder", image)
    u, v = encoder.project_image(image), encoder.encode_text(TEXTS)
    found = model.evidence_by(image, model.text_features(TEXTS))["encoder"]
    logits = encoder.scale * u @ v.T
    expected = logits.diagonal() - torch.logsumexp(logits, 0) + np.log(4)
    assert torch.allclose(found, expected, atol=2e-2)
    model.save(tmp_path / "reward")
    assert (load_reward(tmp_path / "reward").score(image, TEXTS) == model.score(image, TEXTS)).all()


def test_wrong_features_and_wrong_folders_are_named(fitted: RewardModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of the same tower"):
        fitted.score(torch.zeros((4, 7)), TEXTS)
    with pytest.raises(ModelError, match="fit the reward again"):
        load_reward(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"format": "pairwright-dual-encoder"}))
    with pytest.raises(ModelError, match="holds no reward"):
        load_reward(tmp_path)
    fitted.save(tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    (tmp_path / "old" / "config.json").write_text(json.dumps(config | {"format_version": 3}))
    with pytest.raises(ModelError, match=r"judged pictures alone.*fit the reward again"):
        load_reward(tmp_path / "old")
    fitted.save(tmp_path / "cut")
    data = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="damaged"):
        load_reward(tmp_path / "cut")
