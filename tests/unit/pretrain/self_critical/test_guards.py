"""Guards: what they count, by hand, and when they stop a training."""

from __future__ import annotations

import pytest
import torch

from pairwright.components.pretrain.self_critical.guards import GUARDS, StopRule, guarded, words_said

END, START = 2, 1


def rows(*captions: list[int], longest: int = 6) -> torch.Tensor:
    return torch.tensor([[START, *one, *[END] * (longest - len(one))] for one in captions])


def test_each_guard_is_what_it_says_by_hand() -> None:
    greedy = rows([5, 6, 5, 6, 5], [5, 6], [7])
    found = guarded(greedy, END, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.5, 2.0]))
    assert found["repetition"] == pytest.approx((2 / 4 + 0 + 0) / 3)  # 56 65 56 65: two of four were said before
    assert found["distinct_2"] == pytest.approx(2 / 5)
    assert found["length"] == pytest.approx(8 / 3)
    assert found["kl"] == pytest.approx(2)
    assert found["fluency"] == pytest.approx(1)
    assert "rouge_l" not in found


def test_words_end_at_the_first_end_and_at_none() -> None:
    assert words_said([START, 5, END, 6, END], END) == ["5"]
    assert words_said([START, 5, 6, 7], END) == ["5", "6", "7"]
    assert words_said([END, 5, END, END], END) == ["5"], "a start that is the end's own token ends nothing"


def test_captions_of_a_word_or_none_repeat_nothing_and_their_own_are_held_against_them() -> None:
    nothing = torch.zeros(2)
    found = guarded(rows([], [5]), END, nothing, nothing, rows([5, 6], []))
    assert (found["repetition"], found["distinct_2"], found["rouge_l"]) == (0, 1, 0)
    same = guarded(rows([5, 6], [7, 8, 9]), END, nothing, nothing, rows([5, 6], [7, 9]))
    p, r, b = 2 / 3, 1.0, 1.2
    assert same["rouge_l"] == pytest.approx((1 + (1 + b**2) * p * r / (r + b**2 * p)) / 2)


def test_it_stops_at_the_first_limit_that_the_late_mean_passes_and_stays_stopped() -> None:
    rule = StopRule({"repetition": 0.5}, window=3)
    for value in (0.9, 0.9):
        rule.note({"repetition": value})
    assert rule.reason is None, "of fewer steps than the window nothing is said"
    rule.note({"repetition": 0.9})
    assert (rule.reason, rule.stopped) == ("repetition", 3)


def test_one_wild_batch_stops_nothing_and_what_has_no_limit_never_does() -> None:
    rule = StopRule({"repetition": 0.5}, window=4)
    for value in (0.1, 0.1, 0.1, 0.1, 1.0, 0.1):
        rule.note({"repetition": value, "kl": 1e9})
    assert rule.reason is None


@pytest.mark.parametrize("falls", ["distinct_2", "rouge_l"])
def test_a_limit_of_what_should_be_high_is_the_least(falls: str) -> None:
    rule = StopRule({falls: 0.5}, window=1)  # type: ignore[dict-item]
    rule.note({falls: 0.6})  # type: ignore[dict-item]
    assert rule.reason is None
    rule.note({falls: 0.4})  # type: ignore[dict-item]
    assert rule.reason == falls


def test_its_memory_goes_into_a_checkpoint_and_back() -> None:
    one, other = StopRule({"kl": 2.0}, window=5), StopRule({"kl": 2.0}, window=5)
    for value in (1.0, 2.5, 2.9):
        one.note({"kl": value, "length": 4.0})
    other.load_state_dict(one.state_dict())
    for rule in (one, other):
        rule.note({"kl": 3.0})
        rule.note({"kl": 4.0})
    assert (one.late, one.seen, one.reason) == (other.late, other.seen, other.reason)
    assert one.reason == "kl"
    assert set(one.late) == set(GUARDS)
