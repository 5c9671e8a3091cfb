"""Captions of known structure: objects, attributes, relations and actions are counted, not guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.captions.english import ADJ, NOUN, VERB, tagged
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.caption_complexity import (
    CaptionComplexity,
    CaptionComplexitySettings,
    caption_graph,
)

# caption: objects, attributes, relations, actions, complexity
KNOWN = {
    "": (0, 0, 0, 0, 0),
    "cat": (1, 0, 0, 0, 0),
    "red car": (1, 1, 0, 0, 1),
    "a photo of a bridge": (1, 0, 0, 0, 0),
    "A black and white photo of a bridge": (1, 0, 0, 0, 0),
    "Two girls and a boy": (2, 0, 0, 0, 0),
    "The bus is red": (1, 1, 0, 0, 1),
    "The cat is on the mat": (2, 0, 1, 0, 1),
    "children playing": (1, 0, 0, 1, 1),
    "A man riding a horse": (2, 0, 1, 1, 1),
    "A smiling woman holds an umbrella": (2, 1, 1, 1, 2),
    "A painted building with broken windows": (2, 2, 1, 0, 2),
    "A dog jumps over a wooden log in the park": (3, 1, 2, 1, 3),
    "A black cat is chasing a small, brown bird": (2, 3, 1, 1, 3),  # the paper's own example, and its 3
    "Sunflowers growing in a field": (2, 0, 1, 1, 1),
    "A large, old and rusty tractor": (1, 2, 0, 0, 2),
    "A boy who is wearing a blue hat": (2, 1, 1, 1, 2),
    "an orange": (1, 0, 0, 0, 0),
    "an orange cat next to a glass of milk": (3, 1, 2, 0, 2),
}


@pytest.mark.parametrize("text", KNOWN)
def test_captions_of_known_structure_are_counted(text: str) -> None:
    graph = caption_graph(text)
    found = (len(graph.objects), len(graph.attributes), len(graph.relations), len(graph.actions), graph.complexity)
    assert found == KNOWN[text]


def test_what_the_small_lexicon_does_not_know_it_takes_for_a_noun_and_never_invents_an_action() -> None:
    """The stated limit: an unknown adjective is a noun, so complexity is a lower bound."""
    assert caption_graph("A large, old and rusty tractor").complexity == 2
    assert caption_graph("zorb glimmik").complexity == 0
    assert caption_graph("The red building and the long evening").actions == []


def test_word_forms_are_told_apart_by_their_places() -> None:
    def tag(text: str, word: str) -> str:
        return dict(tagged(text))[word]

    assert tag("a dog jumps over a log", "jumps") == VERB
    assert tag("three jumps", "jumps") == NOUN
    assert tag("a running man", "running") == ADJ
    assert tag("a man running", "running") == VERB
    assert tag("shoes for running", "running") == NOUN
    assert tag("a stone bridge", "stone") == ADJ
    assert tag("a pile of stone", "stone") == NOUN
    assert tag("they play chess", "play") == VERB
    assert tag("a school play", "play") == NOUN


def test_the_actor_and_the_thing_acted_on_are_both_tied() -> None:
    graph = caption_graph("A black cat is chasing a small, brown bird")
    assert graph.objects == ["cat", "bird"]
    assert graph.relations == [(0, "chasing", 1)]
    assert sorted(graph.attributes) == [(0, "black"), (1, "brown"), (1, "small")]


def test_a_rule_of_the_papers_kind_keeps_what_it_should_and_an_absent_caption_is_null() -> None:
    texts = ["IMG_1234", "Dog", "A dog jumps over a log", None]
    sidecar = [{"captions": [] if t is None else [{"source": "alt", "text": t, "lang": None}]} for t in texts]
    batch = PairBatch(np.arange(4, dtype=np.int32), list("abcd"), sidecar)
    found = CaptionComplexity(CaptionComplexitySettings()).score(batch)
    kept = [c is not None and c >= 1 and a >= 1 for c, a in zip(found["complexity"], found["actions"], strict=True)]
    assert kept == [False, False, True, False]
    assert found["complexity"][3] is None


@given(st.text(max_size=120))
def test_any_text_has_counts_that_agree_with_each_other(text: str) -> None:
    graph = caption_graph(text)
    things = range(-1, len(graph.objects))
    assert all(thing in things for thing, _ in graph.attributes)
    assert all(a in things and b in things for a, _, b in graph.relations)
    assert 0 <= graph.complexity <= len(graph.attributes) + len(graph.relations) + len(graph.actions)
    if graph.objects and (graph.attributes or any(b >= 0 for _, _, b in graph.relations)):
        assert graph.complexity >= 1


@given(st.integers(1, 4), st.integers(0, 3))
def test_every_further_attribute_and_relation_adds_one(attributes: int, relations: int) -> None:
    colours = ["red", "large", "wooden", "old"][:attributes]
    text = f"a {' '.join(colours)} chair" + "".join(
        f" {w} a {n}" for w, n in [("behind", "wall"), ("near", "tree"), ("under", "roof")][:relations]
    )
    graph = caption_graph(text)
    assert len(graph.attributes) == attributes
    assert len(graph.relations) == relations
    assert graph.complexity == attributes + min(relations, 1)
