"""Things that are said and things that are there: CHAIR, POPE-style probes, names by singular and plural."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pairwright.components.caption_metrics.chair import chair
from pairwright.components.caption_metrics.objects import ObjectNames
from pairwright.components.caption_metrics.pope import MODES, Mode, Probe, answered, probes
from pairwright.components.caption_metrics.tokens import tokens_of


def said(names: ObjectNames, text: str) -> list[str]:
    return names.said(tokens_of(text))


def test_a_thing_is_named_in_singular_and_plural_and_a_long_name_goes_before_one_within_it() -> None:
    names = ObjectNames({"dog": ["puppy"], "hot dog": [], "bus": [], "mouse": [], "T-shirt": []})
    assert said(names, "Two hot dogs, a puppy and puppies on three buses.") == ["hot dog", "dog", "dog", "bus"]
    assert said(names, "mice in a t-shirt") == ["mouse", "T-shirt"]
    assert said(names, "a hot day for doggerel") == []
    assert ObjectNames([]).said(["dog"]) == []


def test_a_things_own_name_goes_before_anothers_synonym_or_plural() -> None:
    assert said(ObjectNames({"animal": ["cat"], "cat": []}), "a cat") == ["cat"]
    assert said(ObjectNames(["glass", "glasses"]), "glasses") == ["glasses"]


def test_chair_counts_each_thing_once_a_caption_and_never_rewards_silence() -> None:
    found = chair([["dog", "dog", "cat"], ["boat"], [], ["tree"]], [["dog"], ["boat", "tree"], ["cat"], ["boat"]])
    assert found.named.tolist() == [2, 1, 0, 1]
    assert found.chair_i() == pytest.approx(2 / 4)
    assert found.chair_s() == pytest.approx(2 / 4)
    assert found.recall() == pytest.approx(2 / 5)
    assert found.chair_i(np.array([0.0, 1, 0, 0])) == 0
    silent = chair([[], []], [["dog"], ["cat"]])
    assert silent.chair_i() is None, "of nothing named no share is wrong: that is not 0"
    assert silent.recall() == 0
    with pytest.raises(ValueError, match="2 pictures"):
        chair([["dog"]], [["dog"], ["cat"]])


THERE = [["dog", "ball"]] * 6 + [["cat"]] * 3 + [["dog", "tree"], ["boat"], ["cat", "ball"]]


@pytest.mark.parametrize("mode", MODES)
def test_probes_ask_as_many_things_that_are_there_as_that_are_not(mode: Mode) -> None:
    asked = probes(THERE, mode, count=2, seed=1)
    assert sum(one.there for one in asked) * 2 == len(asked)
    for one in asked:
        assert (one.thing in THERE[one.picture]) == one.there
    assert len({(one.picture, one.thing) for one in asked}) == len(asked), "nothing is asked twice"
    assert asked == probes(THERE, mode, count=2, seed=1)


def test_popular_asks_what_is_often_there_and_adversarial_what_is_there_together() -> None:
    first = {mode: [one for one in probes(THERE, mode, count=1) if not one.there] for mode in MODES}
    often = Counter(thing for some in THERE for thing in some)
    for one in first["popular"]:
        assert often[one.thing] == max(often[thing] for thing in often if thing not in THERE[one.picture])
    assert {one.thing for one in first["adversarial"] if THERE[one.picture] == ["dog", "ball"]} <= {"tree", "cat"}
    assert next(one.thing for one in first["adversarial"] if THERE[one.picture] == ["dog", "tree"]) == "ball"
    assert next(one.thing for one in first["adversarial"] if THERE[one.picture] == ["cat"]) == "ball"
    drawn = {one.thing for seed in range(20) for one in probes(THERE, "random", 1, seed) if not one.there}
    assert drawn == set(often)


def test_who_assents_to_all_has_half_the_accuracy_and_who_denies_all_no_f1() -> None:
    asked = probes(THERE, "random")
    yes, no = answered(asked, [True] * len(asked)), answered(asked, [False] * len(asked))
    assert (yes.accuracy, yes.recall, yes.yes) == (0.5, 1.0, 1.0)
    assert (no.accuracy, no.precision, no.f1, no.yes) == (0.5, 0.0, 0.0, 0.0)
    right = answered(asked, [one.there for one in asked])
    assert (right.accuracy, right.f1, right.yes) == (1.0, 1.0, 0.5)
    mixed = [Probe(0, "a", True), Probe(0, "b", False), Probe(1, "a", True), Probe(1, "c", False)]
    found = answered(mixed, [True, True, False, False], np.array([3.0, 1, 1, 1]))
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.precision == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(6 / 8)
    with pytest.raises(ValueError, match="0 answers to 0 probes"):
        answered([], [])
