"""Decoding: the likeliest text is found, rows do not see each other, and what is barred or asked for holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from spoken import WrittenSession, babble, log_probability, written_out

from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.decoding.beam import beam_search
from pairwright.components.models.decoding.processors import (
    AtLeast,
    Forbidden,
    Including,
    Never,
    NoRepeatedNgram,
    NotTwiceRunning,
    RepetitionPenalty,
)
from pairwright.components.models.decoding.sampling import greedy, in_nucleus, nucleus
from pairwright.components.models.decoding.settings import Decoding

END, LONGEST, VOCABULARY = 0, 4, 5
SPOKEN = babble(VOCABULARY)
ROWS = range(12)


def every_text(vocabulary: int = VOCABULARY, longest: int = LONGEST) -> list[tuple[int, ...]]:
    ended = [(*text, END) for size in range(longest) for text in itertools.product(range(1, vocabulary), repeat=size)]
    return ended + list(itertools.product(range(1, vocabulary), repeat=longest))


def test_greedy_takes_the_likeliest_token_at_each_step_and_says_nothing_after_the_end() -> None:
    found = greedy(WrittenSession(SPOKEN, ROWS), END, LONGEST)
    lengths = set()
    for row, tokens in enumerate(found.tolist()):
        text = written_out(tokens, END)
        assert all(token == int(np.argmax(SPOKEN(row, text[:time]))) for time, token in enumerate(text))
        assert set(tokens[len(text) :]) <= {END}
        lengths.add(len(text))
    assert len(lengths) > 1


def test_beams_as_many_as_there_are_texts_find_them_all_in_order_of_probability() -> None:
    texts = every_text(3, 3)
    spoken = babble(3, seed=4)
    found = beam_search(WrittenSession(spoken, range(5)), END, 3, 3)
    wide = beam_search(WrittenSession(spoken, range(5)), END, 3, 3, length_power=0)
    assert torch.equal(found.tokens, wide.tokens)
    for row in range(5):  # after two steps three beams are not all, so only the scores are compared with the truth
        for tokens, score in zip(found.tokens[row].tolist(), found.log_probability[row].tolist(), strict=True):
            assert score == pytest.approx(log_probability(spoken, row, written_out(tokens, END)), abs=1e-5)
        assert found.log_probability[row].tolist() == sorted(found.log_probability[row].tolist(), reverse=True)
    short = beam_search(WrittenSession(SPOKEN, ROWS), END, 2, VOCABULARY)  # all first tokens kept: exact at length 2
    for row in ROWS:
        ranked = sorted(every_text(VOCABULARY, 2), key=lambda text: -log_probability(SPOKEN, row, text))
        assert [written_out(t, END) for t in short.tokens[row].tolist()] == ranked[:VOCABULARY]
    assert len(texts) > 3


def test_beam_search_is_what_a_plain_loop_over_lists_finds() -> None:
    def plainly(row: int, width: int) -> list[tuple[int, ...]]:
        beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        for _ in range(LONGEST):
            grown = [one for one in beams if END in one[1]]
            for _, text in (one for one in beams if END not in one[1]):
                grown += [(log_probability(SPOKEN, row, (*text, token)), (*text, token)) for token in range(VOCABULARY)]
            beams = sorted(grown, reverse=True)[:width]
        return [text for _, text in beams]

    found = beam_search(WrittenSession(SPOKEN, ROWS), END, LONGEST, 3)
    for row in ROWS:
        assert [written_out(tokens, END) for tokens in found.tokens[row].tolist()] == plainly(row, 3)
    one = beam_search(WrittenSession(SPOKEN, ROWS), END, LONGEST, 1).tokens[:, 0]
    assert torch.equal(one, greedy(WrittenSession(SPOKEN, ROWS), END, LONGEST))


def test_length_power_ranks_longer_texts_higher() -> None:
    def lengths(power: float) -> float:
        found = beam_search(WrittenSession(SPOKEN, ROWS), END, LONGEST, 4, length_power=power).tokens[:, 0]
        return float((found != END).sum(1).float().mean())

    assert lengths(2.0) > lengths(0.0)


@pytest.mark.parametrize("search", ["greedy", "beam", "nucleus"])
def test_a_row_is_decoded_as_if_it_were_alone(search: str) -> None:
    wish = Decoding.parse({"search": search} | ({"beams": 4, "groups": 2} if search == "beam" else {}), "test")

    def found(rows: list[int]) -> list[list[tuple[int, ...]]]:
        processors = wish.processors(END, (), (), (), LONGEST)
        tokens = wish.decode(WrittenSession(SPOKEN, rows), END, LONGEST, processors, [row + 100 for row in rows])
        return [[written_out(text, END) for text in texts] for texts in tokens.tolist()]

    together = found(list(ROWS))
    assert together == [found([row])[0] for row in ROWS]
    assert len({str(texts) for texts in together}) > 6


def test_the_nucleus_holds_the_fewest_tokens_that_reach_p_and_is_drawn_by_their_probability() -> None:
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(4000, 4)
    uniform = torch.arange(4000) / 4000
    shares = torch.bincount(in_nucleus(scores, 0.7, uniform), minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-3)
    assert torch.bincount(in_nucleus(scores, 1e-9, uniform)).tolist() == [4000]
    all_of_it = torch.bincount(in_nucleus(scores, 1.0, uniform)) / 4000
    assert all_of_it.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-3)


def test_another_seed_draws_another_text_and_a_barred_token_is_never_drawn() -> None:
    def drawn(seed: int) -> torch.Tensor:
        barred = [Never([3])]
        return nucleus(WrittenSession(SPOKEN, ROWS), END, LONGEST, barred, top_p=1.0, seeds=[seed + r for r in ROWS])

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1000))
    assert all(not bool((drawn(seed) == 3).any()) for seed in range(20))


def likes(*tokens: int) -> WrittenSession:
    """One row that would say these tokens in turn, again and again."""

    def spoken(_: int, said: tuple[int, ...]) -> list[float]:
        logits = [0.0] * VOCABULARY
        logits[tokens[len(said) % len(tokens)]] = 5.0
        return logits

    return WrittenSession(spoken, [0])


def test_what_is_barred_is_not_said() -> None:
    assert greedy(likes(2, 2, 2), END, 3).tolist() == [[2, 2, 2]]
    assert greedy(likes(2, 2, 2), END, 3, [NotTwiceRunning()])[0, :2].tolist() != [2, 2]
    assert greedy(likes(1, END, 2), END, 6, [AtLeast(3, END)])[0].tolist().index(END) > 2
    assert greedy(likes(1, 2), END, 4).tolist() == [[1, 2, 1, 2]]
    said = greedy(likes(1, 2), END, 4, [NoRepeatedNgram(2)])[0].tolist()
    assert said[:3] == [1, 2, 1]
    assert said[3] != 2
    assert len(set(greedy(likes(1, 2), END, 4, [Never([END]), NoRepeatedNgram(1)])[0].tolist())) == 4
    with pytest.raises(ValueError, match="at least one"):
        NoRepeatedNgram(0)


def test_the_repetition_penalty_multiplies_log_probabilities_of_what_was_said() -> None:
    scores = torch.tensor([[0.5, 0.2, 0.3]]).log()
    found = RepetitionPenalty(2.0)(scores, torch.tensor([[0, 0]]), torch.zeros(1))
    assert found[0].exp().tolist() == pytest.approx([0.25, 0.2, 0.3])


def test_a_forbidden_string_is_not_said_however_it_is_cut_into_tokens() -> None:
    pieces = ["", " cl", "ip", " clip", "art", "artful", " Art"]
    forbidden = Forbidden(["clipart"], pieces)

    def barred(*said: int) -> set[int]:
        scores = forbidden(
            torch.zeros(1, len(pieces)), torch.tensor([said], dtype=torch.int64).view(1, -1), torch.zeros(1)
        )
        return set(torch.isinf(scores[0]).nonzero().flatten().tolist())

    assert barred() == set()
    assert barred(3) == barred(1, 2) == {4, 5}  # "clip" + "art", "cl" + "ip" + "artful"
    assert barred(3, 6) == set()  # "clip Art" is another string
    assert (
        6
        in Forbidden(["ART"], pieces)
        .__call__(torch.zeros(1, 7), torch.zeros((1, 0)).long(), torch.zeros(1))[0]
        .isinf()
        .nonzero()
        .flatten()
        .tolist()
    )


@pytest.mark.parametrize("search", ["greedy", "beam", "nucleus"])
def test_the_required_string_is_in_every_text_and_each_row_has_its_own(search: str) -> None:
    wish = Decoding.parse({"search": search} | ({"beams": 4, "groups": 2} if search == "beam" else {}), "test")
    required = [[], [3], [2, 4], [4, 4], [1, 2, 3, 4], [2, 1, 2]]
    rows = list(range(6))
    processors = wish.processors(END, (), (), required, LONGEST)
    for seed in range(5):
        spoken = babble(VOCABULARY, seed)
        tokens = wish.decode(WrittenSession(spoken, rows), END, LONGEST, processors, rows).tolist()
        for texts, string in zip(tokens, required, strict=True):
            for text in texts:
                said = "".join(map(str, written_out(text, END)))
                assert "".join(map(str, string)) in said, (said, string)
    alone = wish.decode(WrittenSession(SPOKEN, [0]), END, LONGEST, wish.processors(END, (), (), (), LONGEST), [0])
    assert torch.equal(  # who needs nothing says what it would have said
        wish.decode(WrittenSession(SPOKEN, [0]), END, LONGEST, processors, [0])[0, 0], alone[0, 0]
    )


def test_a_string_that_would_be_said_anyway_is_said_where_it_belongs() -> None:
    free = greedy(likes(1, 2, 3, END), END, 6).tolist()
    assert greedy(likes(1, 2, 3, END), END, 6, [Including([[2, 3]], END, 6)]).tolist() == free
    ended = greedy(likes(1, END, END, END), END, 6, [Including([[2, 3]], END, 6)])[0].tolist()
    assert ended[:4] == [1, 2, 3, END]  # it begins where the text would have ended
    with pytest.raises(ValueError, match="cannot hold a string of 3"):
        Including([[1, 2, 3]], END, 2)


def test_settings_that_contradict_each_other_are_refused() -> None:
    for wrong, said in (
        ({"search": "beam", "beams": 4, "groups": 3}, "multiple of groups"),
        ({"beams": 2}, "search: beam"),
    ):
        with pytest.raises(InvalidRecipe, match=said):
            Decoding.parse(wrong, "test")
    with pytest.raises(ValueError, match="only 5 tokens"):
        beam_search(WrittenSession(SPOKEN, [0]), END, 2, 6)
