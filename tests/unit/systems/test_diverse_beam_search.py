"""Diverse beam search: what it has in common with plain beams, when a group is drawn away, and what groups gain."""

from __future__ import annotations

import math

import pytest
import torch
from spoken import Spoken, WrittenSession, babble, log_probability, written_out

from pairwright.components.models.decoding.beam import Beams, Schedule, beam_search

END, LONGEST, VOCABULARY = 0, 5, 8
ROWS = range(10)
SPOKEN = babble(VOCABULARY, seed=3)
LAMBDAS = (0.0, 0.3, 1.0, 50.0)


def found(
    width: int, groups: int, diversity: float, spoken: Spoken = SPOKEN, schedule: Schedule = "staggered"
) -> Beams:
    session = WrittenSession(spoken, ROWS)
    return beam_search(session, END, LONGEST, width, groups=groups, diversity=diversity, schedule=schedule)


@pytest.mark.parametrize("diversity", LAMBDAS)
def test_the_first_group_is_plain_beam_search_for_every_lambda(diversity: float) -> None:
    plain, diverse = found(3, 1, 0.7), found(9, 3, diversity)
    length = plain.tokens.shape[2]
    assert torch.equal(diverse.tokens[:, :3, :length], plain.tokens)
    assert torch.equal(diverse.log_probability[:, :3], plain.log_probability)


def test_lambda_0_gives_identical_groups() -> None:
    same = found(6, 3, 0.0)
    assert torch.equal(same.tokens[:, :2], same.tokens[:, 2:4])
    assert torch.equal(same.tokens[:, :2], same.tokens[:, 4:])


@pytest.mark.parametrize("diversity", LAMBDAS)
def test_with_a_beam_a_group_all_three_schedules_agree_bit_for_bit(diversity: float) -> None:
    staggered, *others = (found(4, 4, diversity, schedule=s) for s in ("staggered", "lock_step", "in_turn"))
    for other in others:
        assert torch.equal(staggered.tokens, other.tokens)
        assert torch.equal(staggered.log_probability, other.log_probability)
        assert torch.equal(staggered.ranking, other.ranking)


def forked(_: int, said: tuple[int, ...]) -> list[float]:
    """Tokens 1 and 2 are about as likely; only 1 leads on to what is likely, and both beams come to have begun so."""
    if not said:
        probability = [1e-6, 0.4, 0.35, 0.25, 1e-6]
    elif said[0] == 1:
        probability = [1e-6, 0.5, 0.5 - 3e-6, 1e-6, 1e-6]
    else:
        probability = [0.2] * 5
    return [math.log(p) for p in probability]


def test_two_beams_a_group_see_re_forked_beams_where_groups_are_staggered() -> None:
    def first_tokens(schedule: Schedule) -> list[int]:
        session = WrittenSession(forked, [0])
        made = beam_search(session, END, 2, 4, groups=2, diversity=0.6, schedule=schedule)
        return made.tokens[0, 2:, 0].tolist()

    # In step, group 2 sees 1 and 2 said once each, so that all lose alike but 3. Staggered, by then both of group 1's
    # beams go on from 1, which costs group 2 twice as much, and 2 nothing.
    assert first_tokens("lock_step") != first_tokens("staggered")
    assert first_tokens("staggered") == first_tokens("in_turn")
    assert 1 not in first_tokens("staggered")
    assert 1 in first_tokens("lock_step")


def test_the_first_token_flips_exactly_where_lambda_passes_the_gap() -> None:
    probability = [1e-9, 0.5, 0.3, 0.2 - 1e-9]
    spoken: Spoken = lambda _, said: [math.log(p) for p in probability]  # noqa: E731
    gap = math.log(0.5 / 0.3)

    def firsts(diversity: float, groups: int) -> list[int]:
        session = WrittenSession(spoken, [0])
        made = beam_search(session, END, 1, groups, groups=groups, diversity=diversity)
        return made.tokens[0, :, 0].tolist()

    assert firsts(gap - 1e-4, 2) == [1, 1]
    assert firsts(gap + 1e-4, 2) == [1, 2]
    assert firsts(gap / 2 - 1e-4, 3) == [1, 1, 1]  # group 3 pays 2 lambda, for both agree
    assert firsts(gap / 2 + 1e-4, 3) == [1, 1, 2]


def test_the_end_is_penalised_as_any_token_but_once() -> None:
    def spoken(_: int, said: tuple[int, ...]) -> list[float]:
        return [math.log(p) for p in ((0.6, 0.4) if said else (0.5, 0.5 - 1e-6))]

    made = beam_search(WrittenSession(spoken, [0]), END, 3, 2, groups=2, diversity=1.0)
    # group 1 ends at once; group 2 must not at time 0, and may at time 1, where group 1 says nothing any more
    assert [written_out(row, END) for row in made.tokens[0].tolist()] == [(0,), (1, 0)]


@pytest.mark.parametrize(("width", "groups"), [(4, 2), (6, 3), (6, 6), (8, 2), (5, 1)])
def test_each_group_has_exactly_its_share_of_different_texts(width: int, groups: int) -> None:
    made, each = found(width, groups, 0.5), width // groups
    assert made.tokens.shape[:2] == (len(ROWS), width)
    assert bool(torch.isfinite(made.log_probability).all())
    for row in made.tokens.tolist():
        for group in range(groups):
            assert len({written_out(text, END) for text in row[group * each : (group + 1) * each]}) == each


def test_the_penalty_ranks_and_the_probability_is_kept_apart() -> None:
    made = found(6, 3, 0.8)
    assert bool((made.ranking <= made.log_probability + 1e-6).all())
    assert bool((made.ranking < made.log_probability - 0.5).any())
    for row in ROWS:
        for text, score in zip(made.tokens[row].tolist(), made.log_probability[row].tolist(), strict=True):
            assert score == pytest.approx(log_probability(SPOKEN, row, written_out(text, END)), abs=1e-4)
        ranked = made.ranking[row].view(3, 2)
        assert bool((ranked[:, 0] >= ranked[:, 1]).all())


def distinct(made: Beams, n: int) -> float:
    """Distinct n-grams of an example's texts over all of them (Li et al., 2016), over all examples."""
    different = said = 0
    for texts in made.tokens.tolist():
        grams = [g for text in texts for g in zip(*(written_out(text, END)[i:] for i in range(n)), strict=False)]
        different, said = different + len(set(grams)), said + len(grams)
    return different / said


def test_more_lambda_says_more_different_things_and_a_large_one_begins_each_group_differently() -> None:
    # by chance an n-gram fewer or more comes out at neighbouring lambdas; of 0, 1 and 50 the order is sure
    for n in (1, 2):
        shares = [distinct(found(6, 6, diversity, babble(VOCABULARY, seed=9)), n) for diversity in (0.0, 1.0, 50.0)]
        assert shares[0] < shares[1] < shares[2], (n, shares)
    for row in found(6, 6, 50.0).tokens.tolist():
        assert len({text[0] for text in row}) == 6


def test_beams_that_groups_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="shared equally"):
        found(5, 2, 0.5)
