"""Agreement with references: pycocoevalcap's and NLTK's numbers on the same tokens, and what no package says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.components.caption_metrics.bleu import bleu
from pairwright.components.caption_metrics.cider import Frequencies, cider_d
from pairwright.components.caption_metrics.meteor import aligned, meteor
from pairwright.components.caption_metrics.porter import stem
from pairwright.components.caption_metrics.rouge import longest_common, rouge_l
from pairwright.components.caption_metrics.wordnet import read_wordnet
from pairwright.components.errors import DatasetError

FROZEN: dict[str, Any] = json.loads((Path(__file__).parent / "frozen.json").read_text(encoding="utf-8"))
SAID = [text.split() for text in FROZEN["captions"]]
HELD = [[text.split() for text in some] for some in FROZEN["references"]]
THEIRS = FROZEN["found"]


def test_bleu_of_a_corpus_and_of_each_caption_is_pycocoevalcaps() -> None:
    counts = bleu(SAID, HELD)
    assert counts.corpus() == pytest.approx(THEIRS["bleu"], abs=1e-6)
    assert counts.each() == pytest.approx(np.array(THEIRS["bleu_each"]), abs=1e-6)
    assert THEIRS["bleu"][3] > 0.2, "the frozen captions agree with some of their references"


@pytest.mark.parametrize(("metric", "of"), [("rouge_l", rouge_l), ("cider_d", cider_d), ("meteor", meteor)])
def test_each_captions_rouge_cider_and_meteor_are_the_oracles(metric: str, of: Any) -> None:
    found = of(SAID, HELD)
    assert found == pytest.approx(THEIRS[metric], abs=1e-6)
    assert found.max() > 0.5
    assert len(set(np.round(found, 6))) > 6


def test_stems_are_those_of_porters_own_program() -> None:
    assert {word: stem(word) for word in THEIRS["stems"]} == THEIRS["stems"]
    paper = "caresses:caress ponies:poni agreed:agre plastered:plaster bled:bled motoring:motor conflated:conflat "
    paper += "hopping:hop falling:fall failing:fail filing:file happy:happi sky:sky relational:relat valency:valenc "
    paper += (
        "triplicate:triplic hopefulness:hope adoption:adopt homologous:homolog probate:probat rate:rate cease:ceas "
    )
    paper += "controlling:control rolling:roll analogously:analog archaeology:archaeolog is:is yyy:yyi"
    for pair in paper.split():
        word, wanted = pair.split(":")
        assert stem(word) == wanted, word


def test_a_live_oracle_says_the_same_where_it_is_installed() -> None:
    """`python -m benchmarks.oracle_captions` installs them; here the frozen numbers stand for them."""
    scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer")
    live = scorer.CiderScorer(n=4, sigma=6.0)
    for said, held in zip(FROZEN["captions"], FROZEN["references"], strict=True):
        live += (said, held)
    assert cider_d(SAID, HELD) == pytest.approx(live.compute_score()[1], abs=1e-6)


def test_weights_are_captions_counted_several_times() -> None:
    weight = np.array([2.0, 0, 1, 0, 3, 1, 0, 1, 0, 1, 0, 2])
    again = [i for i, times in enumerate(weight.astype(int)) for _ in range(times)]
    drawn = bleu([SAID[i] for i in again], [HELD[i] for i in again])
    assert bleu(SAID, HELD).corpus(weight) == pytest.approx(drawn.corpus())


@pytest.mark.parametrize("of", [rouge_l, cider_d, meteor, lambda said, held: bleu(said, held).each()[:, 0]])
def test_a_caption_that_says_nothing_is_never_right_even_where_its_reference_says_nothing(of: Any) -> None:
    said = [[], [], ["a", "dog"], ["a", "cat", "and", "a", "dog"]]
    held = [[["a", "dog"]], [[]], [[], ["a", "dog"]], [["a", "cat", "and", "a", "dog"]]]
    found = of(said, held)
    assert found[:2].tolist() == [0, 0]
    assert (found[2:] > 0).all()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("of", [rouge_l, cider_d, meteor, bleu])
def test_a_caption_without_a_reference_is_refused(of: Any) -> None:
    with pytest.raises(ValueError, match="caption 1 of 2 has no reference"):
        of([["a"], ["b"]], [[["a"]], []])
    with pytest.raises(ValueError, match="2 captions"):
        of([["a"], ["b"]], [[["a"]]])


def test_frequencies_of_another_corpus_make_rare_what_is_rare_there() -> None:
    common = [[["a", "dog", "runs"]]] * 99 + [[["a", "zebra", "runs"]]]
    known = Frequencies.of(common)
    said = [["a", "dog", "runs"], ["a", "zebra", "runs"]]
    held = [[["a", "dog", "sits"]], [["a", "zebra", "sits"]]]
    dog, zebra = cider_d(said, held, known)
    assert zebra > dog
    assert cider_d(said[:1], held[:1]).tolist() == [0], "of one picture no word is rarer than another"


def test_words_match_before_stems_and_senses_and_the_last_one_first(tmp_path: Path) -> None:
    assert aligned(["a", "b", "a"], ["a", "c", "a"]) == [(0, 0), (2, 2)]
    assert aligned(["a", "x"], ["a", "a"]) == [(0, 1)], "the last that fits, as NLTK has it"
    assert aligned(["runs", "running"], ["running"]) == [(1, 0)], "the equal word goes before the stem"
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"index.{part}").write_text("  1 a licence, indented\n")
    (tmp_path / "index.noun").write_text(
        "  1 a licence\ndog n 2 1 @ 2 1 02084071 10114209\nhound n 1 1 @ 1 0 02084071\nhot_dog n 1 0 1 0 07692347\n"
    )
    lexicon = read_wordnet(tmp_path)
    assert lexicon == {"dog": {"noun/02084071", "noun/10114209"}, "hound": {"noun/02084071"}}
    said, held = [["a", "hound"]], [[["a", "dog"]]]
    assert meteor(said, held, lexicon)[0] == pytest.approx(1 - 0.5 / 8)
    assert meteor(said, held)[0] < 0.6
    with pytest.raises(DatasetError, match="no WordNet"):
        read_wordnet(tmp_path / "nowhere")


def test_the_longest_common_subsequence_may_leave_words_out() -> None:
    assert longest_common(["a", "b", "c", "d", "e"], ["a", "c", "e", "x"]) == 3
    assert longest_common([], ["a"]) == longest_common(["a"], []) == 0
