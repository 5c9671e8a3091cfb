"""What teaches a reward never judges it: no kind, template, phrase of two words, donor or caption in common."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from benchmarks.damaged import MIXED, _domain, _seed_rows, plant_all
from pairwright.components.dataset.damage.damage import JUDGING, KINDS, TEACHING, damaged
from pairwright.components.dataset.damage.damage_phrases import (
    BOILERPLATE,
    CAMERAS,
    JUDGING_TEMPLATES,
    LISTINGS,
    TEACHING_TEMPLATES,
    boilerplate,
    camera_name,
    fluent,
    listing,
)
from pairwright.components.dataset.damage.damage_texts import Texts, plain

SLOT = "#"


def skeleton(text: str) -> list[str]:
    """Words without case; what is filled in, or is a number, is one mark."""
    return re.findall(rf"[a-z]+|{SLOT}", re.sub(r"\{[^}]*\}|\d+", SLOT, text.casefold()))


def phrases(texts: Any, words: int = 2) -> set[tuple[str, ...]]:
    """Runs of `words` words of which one at least is no number."""
    runs = {tuple(part[i : i + words]) for part in map(skeleton, texts) for i in range(len(part) - words + 1)}
    return {run for run in runs if set(run) != {SLOT}}


def test_kinds_are_two_lists_without_a_common_one_and_the_bench_judges_by_the_second() -> None:
    assert not set(TEACHING) & set(JUDGING)
    assert set(KINDS) == {*TEACHING, *JUDGING}
    assert set(MIXED) <= set(JUDGING)


def test_no_template_and_no_two_words_in_a_row_are_shared() -> None:
    assert len(BOILERPLATE) > 20
    assert {*CAMERAS, *LISTINGS} == set(TEACHING_TEMPLATES)
    assert not {" ".join(skeleton(one)) for one in TEACHING_TEMPLATES} & {
        " ".join(skeleton(one)) for one in JUDGING_TEMPLATES
    }
    assert not phrases(TEACHING_TEMPLATES) & phrases(JUDGING_TEMPLATES)


def test_nothing_made_of_one_list_holds_a_phrase_of_the_other() -> None:
    """Of what comes out, not of the tables alone: a template used by the wrong kind would show here."""
    rng = np.random.default_rng(0)
    texts = Texts([f"word{i} thing{i}" for i in range(40)])
    taught = [text for kind in ("file_name", "listing") for text in damaged(texts, kind, range(40), rng) if text]
    judged = [t for kind in ("boilerplate", "unrelated_fluent") for t in damaged(texts, kind, range(40), rng) if t]
    assert not phrases(taught) & phrases(judged)
    assert phrases(taught) & phrases(TEACHING_TEMPLATES)
    made = [make(rng) for make in (boilerplate, fluent) for _ in range(200)]
    assert not phrases(made) & phrases(make(rng) for make in (camera_name, listing) for _ in range(200))


def crawl() -> list[dict[str, Any]]:
    """120 stamps in groups of two, 120 clip-arts of which some are in a stamp's group or have a stamp's caption."""
    rows = []
    for i in range(240):
        stamp = i < 120
        text = f"{'stamp' if stamp else 'clip'}{i} shows item{i} beside place{i}"
        group = f"g{i // 2}"
        if not stamp and i % 10 == 0:
            group = f"g{(i - 120) // 2}"  # a stamp's
        if not stamp and i % 10 == 5:
            text = rows[i - 120]["captions"][0]["text"].upper() + "!"
        rows.append(
            {
                "key": f"{'stamp' if stamp else 'clipart'}-{i}",
                "group": group,
                "captions": [{"source": "alt", "text": text, "lang": "en"}],
                "labels": [{"name": "category", "value": "ab"[i % 2]}],
            }
        )
    return rows


@pytest.mark.parametrize("seed", [0, 1])
def test_no_judged_pair_shares_a_group_a_caption_or_a_donor_with_the_seed_set(seed: int) -> None:
    rows = crawl()
    seeds, near = _seed_rows(rows, seed)
    judged = [i for i in range(len(rows)) if i not in near]
    said = [plain(row["captions"][0]["text"]) for row in rows]
    assert seeds
    assert seeds <= near
    assert not {rows[i]["group"] for i in seeds} & {rows[i]["group"] for i in judged}
    assert not {said[i] for i in seeds} & {said[i] for i in judged}
    taught_words = {word for i in seeds for word in said[i].split()} - {"shows", "beside"}
    for domain in ("stamp", "clipart"):
        mine = [rows[i] for i in judged if _domain(rows[i]) == domain]
        for name, (captions, kinds) in plant_all(mine, seed).items():
            lent = [text for text, kind in zip(captions, kinds, strict=True) if kind and text]
            assert lent, name
            assert not {word for text in lent for word in plain(text).split()} & taught_words
