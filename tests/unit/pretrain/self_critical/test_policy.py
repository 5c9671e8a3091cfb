"""The policy gradient: by hand, against the expectation that REINFORCE is of, and against TRL's where installed."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.tokens import WordTokens
from pairwright.components.models.words import END, PAD, START, UNKNOWN, vocabulary_of
from pairwright.components.pretrain.self_critical.policy import advantages, costs, divergence, policy_loss, spoken

WIDTH = 6


def speaker(seed: int = 0, longest: int = 4, words: str = "a b c") -> Captioner:
    """Weights so large that what is said depends on the picture."""
    torch.manual_seed(seed)
    known = vocabulary_of([words], 10, 1)
    model = Captioner(
        [Part("image", "vector", WIDTH, 2)], SmallDecoder(len(known), 8, 16, 1, 2), WordTokens(known), longest
    )
    for weight in (one for one in model.parameters() if one.ndim == 2):
        torch.nn.init.normal_(weight, std=0.4)
    return model


def told(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {"image": torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))}


def test_captions_are_drawn_in_training_mode_and_greedy_in_evaluation_mode_and_the_mode_is_as_before() -> None:
    model, modes = speaker(), []
    model.decoder.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    for before in (True, False):
        model.train(before)
        spoken(model, told(3), [1, 2, 3])
        assert set(modes) == {True}
        modes.clear()
        spoken(model, told(3))
        assert set(modes) == {False}
        modes.clear()
        assert model.training is before


def test_a_drawn_caption_depends_on_its_own_seed_alone_and_nothing_unsayable_is_drawn() -> None:
    model, seeds = speaker(), list(range(200))
    many = spoken(model, told(200), seeds)
    alone = spoken(model, {"image": told(200)["image"][7:8]}, [7])
    assert torch.equal(many[7:8], alone)
    assert many.shape == (200, 5)
    assert set(many[:, 0].tolist()) == {START}
    assert not set(many[:, 1:].flatten().tolist()) & {PAD, START, UNKNOWN}
    for row in many[:, 1:].tolist():  # once ended, ended
        assert END not in row or set(row[row.index(END) :]) == {END}
    assert any(row[i] == row[i + 1] != END for row in many[:, 1:].tolist() for i in range(3)), "repeats are not barred"


def test_captions_are_drawn_as_often_as_the_probability_that_is_learnt_by() -> None:
    """The gradient is of the policy that speaks: exp(-nats) of every caption, summed, is 1, and is its frequency."""
    model, one = speaker(3, longest=2, words="a b"), told(1)
    words = [END, *range(4, 6)]
    captions = [[START, x, y] for x in words for y in words if x != END or y == END]
    rows = torch.tensor(captions)
    with torch.no_grad():
        _, nats = costs(model, {"image": one["image"].expand(len(rows), -1)}, rows)
    probability = (-nats.sum(1)).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    count = 4000
    drawn = spoken(model, {"image": one["image"].expand(count, -1)}, list(range(count))).tolist()
    share = torch.tensor([drawn.count(row) / count for row in captions])
    assert (share - probability).abs().max() < 4 * 0.5 / count**0.5


def test_tokens_behind_the_first_end_neither_cost_nor_teach() -> None:
    model = speaker()
    short = torch.tensor([[START, 4, END, END, END]])
    longer = torch.tensor([[START, 4, END, 5, 6]])
    one, other = (costs(model, told(1), tokens)[1] for tokens in (short, longer))
    assert torch.equal(one.sum(1), other.sum(1))
    assert one[0, 2:].tolist() == [0, 0]
    model.zero_grad()
    costs(model, told(1), longer)[1].sum().backward()
    gradient = model.decoder.place.grad
    assert gradient is not None
    assert not bool(gradient[2 + 3 :].any()), "places behind the end have no gradient"


def test_a_reward_that_is_the_same_for_all_has_no_gradient_to_the_bit() -> None:
    for baseline in ("greedy", "others"):
        log_p = torch.randn(4, 5, requires_grad=True)
        policy_loss(log_p, advantages(torch.full((4, 6), 0.7), baseline)).backward()  # type: ignore[arg-type]
        assert log_p.grad is not None
        assert not bool(log_p.grad.any()), baseline
    log_p = torch.randn(4, 5, requires_grad=True)
    policy_loss(log_p, advantages(torch.full((4, 6), 0.7), "none")).backward()
    assert log_p.grad is not None
    assert bool(log_p.grad.all()), "without a baseline the same reward pushes every sample"


def test_baselines_are_what_they_say() -> None:
    rewards = torch.tensor([[1.0, 2.0, 6.0, 4.0]])  # three samples, and the greedy one's
    assert advantages(rewards, "greedy").tolist() == [[-3, -2, 2]]
    assert advantages(rewards, "none").tolist() == [[1, 2, 6]]
    assert advantages(rewards, "mean", 3.0).tolist() == [[-2, -1, 3]]
    others = advantages(rewards, "others")[0]
    assert others.tolist() == pytest.approx([1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2], abs=1e-6)


def test_the_gradient_in_expectation_is_that_of_the_expected_reward() -> None:
    """Over every caption there is, weighed by its probability: REINFORCE's identity, exactly, whatever the baseline."""
    model, one = speaker(3, longest=2, words="a b"), told(1)
    words = [END, *range(4, 6)]
    rows = torch.tensor([[START, x, y] for x in words for y in words if x != END or y == END])
    paid = torch.linspace(-1, 2, len(rows)) ** 2
    image = {"image": one["image"].expand(len(rows), -1)}

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    log_p = -costs(model, image, rows)[1].sum(1)
    expected = gradient(-(log_p.exp() * paid).sum())
    for baseline in (0.0, 1.7):
        log_p = -costs(model, image, rows)[1].sum(1)
        weighed = (paid - baseline) * log_p.exp().detach() * len(rows)
        assert torch.allclose(gradient(policy_loss(log_p, weighed)), expected, atol=1e-5)


def test_divergence_is_kl_by_definition_and_0_of_itself() -> None:
    p, q = (torch.randn(2, 3, 5).log_softmax(-1) for _ in range(2))
    counted = torch.tensor([[True, True, False], [True, False, False]])
    found = divergence(p, q, counted)
    by_hand = [
        sum(float((p[row, t].exp() * (p[row, t] - q[row, t])).sum()) for t in range(3) if counted[row, t])
        for row in range(2)
    ]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)
    assert divergence(p, p, counted).tolist() == [0, 0]
    assert bool((found > 0).all())


def test_the_gradient_is_that_of_trls_rloo_where_it_is_installed() -> None:
    """Their loss on our captions, on policy: the ratio to the policy that spoke is 1, and its clip is out of reach."""
    theirs = pytest.importorskip("trl.trainer.rloo_trainer").RLOOTrainer
    model, count = speaker(5), 4
    image = {"image": told(3)["image"].repeat_interleave(count, dim=0)}
    tokens = spoken(model, image, list(range(12)))
    advantage = advantages(torch.randn(3, count + 1, generator=torch.Generator().manual_seed(4)), "others")

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    ours = gradient(policy_loss(-costs(model, image, tokens)[1].sum(1).view(3, count), advantage))
    logs = costs(model, image, tokens)[0]
    said = logs.gather(2, tokens[:, 1:, None])[:, :, 0]
    mask = model.counted(tokens).float()
    accelerator = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (said, torch.zeros_like(said).detach(), None),
        model=model,
        aux_loss_enabled=False,
        epsilon_low=0.2,
        epsilon_high=0.2,
        accelerator=accelerator,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    inputs = {
        "prompt_ids": tokens[:, :1],
        "prompt_mask": torch.ones_like(tokens[:, :1]),
        "completion_ids": tokens[:, 1:],
        "completion_mask": mask,
        "old_logps": (said * mask).sum(1).detach(),
        "advantages": advantage.flatten(),
    }
    assert torch.allclose(gradient(theirs._compute_loss(trainer, model, inputs)), ours, atol=1e-6)
    assert float(ours.abs().max()) > 0
