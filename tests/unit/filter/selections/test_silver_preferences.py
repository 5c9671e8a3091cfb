"""Silver preferences: true captions beat planted damage, always marked silver, never a caption that may be true."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from populations import view_of

from pairwright.components.dataset.damage.damage import JUDGING, TEACHING, damaged
from pairwright.components.dataset.damage.damage_texts import Texts, plain
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.silver_preferences import (
    SilverPreferences,
    SilverPreferencesSettings,
    circles,
)

THINGS = ("dog", "house", "truck", "apple", "violin", "umbrella", "spoon", "castle", "rocket", "candle")
ROWS = 40
TRUSTED = {"collection": "stamps"}


def population(root: Path, **options: Any) -> Any:
    """Rows 0-29 are trusted stamps, the rest clip-art; row 29 has no caption and row 28 a broken picture."""
    captions = {str(i): f"A {'small' if i % 2 else 'big'} {THINGS[i % 10]} in set {i // 10}." for i in range(ROWS)}
    del captions["29"]
    labels = {
        str(i): [("collection", "stamps" if i < 30 else "clipart"), ("category", "ab"[i % 2])] for i in range(ROWS)
    }
    near = options.pop("near", np.arange(ROWS))
    return view_of(
        root,
        {"near_duplicates.group": pa.array(near, pa.int64())},
        shards=2,
        captions=options.pop("captions", captions),
        labels=labels,
        errors={"28": "decode:truncated"},
        **options,
    )


def judgements(view: Any, **settings: Any) -> list[list[dict[str, Any]] | None]:
    chosen = SilverPreferencesSettings.parse({"trusted": TRUSTED} | settings, "test")
    made = SilverPreferences(chosen).select(view)["judgements"]
    assert made.type == SilverPreferences.columns["judgements"]
    rows: list[list[dict[str, Any]] | None] = made.to_pylist()
    return rows


def test_only_trusted_pairs_with_a_caption_and_a_picture_are_judged(tmp_path: Path) -> None:
    rows = judgements(population(tmp_path))
    assert len(rows) == ROWS
    assert [row is not None for row in rows] == [i < 28 for i in range(ROWS)]


def test_kinds_and_counts_are_as_asked_and_every_judgement_is_silver(tmp_path: Path) -> None:
    view = population(tmp_path)
    rows = judgements(view, kinds={"file_name": 2, "shuffled": 1, "listing": 0})
    for i, row in enumerate(rows[:28]):
        assert row is not None
        assert Counter(one["kind"] for one in row) == {"file_name": 2, "shuffled": 1}
        for one in row:
            assert one["better"] == f"A {'small' if i % 2 else 'big'} {THINGS[i % 10]} in set {i // 10}."
            assert (one["origin"], one["by"], one["tie"]) == ("silver", "silver_preferences", False)
            assert plain(one["worse"]) != plain(one["better"])


def test_the_same_seed_makes_the_same_judgements_and_another_does_not(tmp_path: Path) -> None:
    view = population(tmp_path)
    assert judgements(view) == judgements(view)
    assert judgements(view) != judgements(view, seed=1)


def test_near_duplicates_equal_captions_and_sidecar_groups_never_lend_captions(tmp_path: Path) -> None:
    """0 and 1 are near-duplicates, 1 and 2 have one caption, 2 and 3 are variants: none is "wrong" for another."""
    captions = {str(i): f"A thing called {THINGS[i % 10]} {i}." for i in range(ROWS)} | {"1": "A dog.", "2": "a DOG"}
    near = np.arange(ROWS)
    near[1] = 0
    view = population(tmp_path, captions=captions, near=near, groups={"2": "variants", "3": "variants"})
    rows = judgements(view, kinds={"spliced": 8, "object_replaced": 8, "keyword_list": 1})
    together = {plain(captions[str(i)]) for i in range(4)}
    for row in rows[:4]:
        assert row
        assert not {plain(one["worse"]) for one in row} & together


def test_what_is_lent_comes_from_trusted_captions(tmp_path: Path) -> None:
    rows = judgements(population(tmp_path), kinds={"spliced": 3})
    for row in rows[:28]:
        assert row
        assert all(one["worse"].endswith(row[0]["better"][-8:]) and "set 3" not in one["worse"] for one in row)


def test_trust_must_be_said_and_must_name_a_label_that_exists(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match='"trusted" is required'):
        SilverPreferencesSettings.parse({}, "test")
    with pytest.raises(InvalidRecipe, match="trusted"):
        SilverPreferencesSettings.parse({"trusted": {}}, "test")
    with pytest.raises(InvalidRecipe, match='did you mean "collection: stamps"'):
        judgements(population(tmp_path), trusted={"collection": "stamp"})
    with pytest.raises(InvalidRecipe, match='did you mean "spliced"'):
        SilverPreferencesSettings.parse({"trusted": TRUSTED, "kinds": {"splced": 1}}, "test")


@pytest.mark.parametrize("kind", JUDGING)
def test_a_kind_that_judges_is_refused_and_none_is_taught_by_default(kind: str) -> None:
    with pytest.raises(InvalidRecipe, match=f'"{kind}" judges, so it must not teach'):
        SilverPreferencesSettings.parse({"trusted": TRUSTED, "kinds": {kind: 1}}, "test")
    assert set(SilverPreferencesSettings.parse({"trusted": TRUSTED}, "test").kinds) == set(TEACHING)


def test_captions_are_lent_inside_small_circles_that_keep_groups_whole() -> None:
    """Pairs linked by a caption that is somebody's own stay in components no larger than a circle and a bit."""
    rng = np.random.default_rng(0)
    captions = [f"Thing {THINGS[i % 10]} number {i}." for i in range(300)]
    texts = Texts(captions, [str(i % 6) for i in range(300)], groups=np.arange(300) // 2)
    made = circles(texts, 20, rng)
    assert sorted(row for circle in made for row in circle) == list(range(300))
    assert all(20 <= len(circle) <= 30 for circle in made)
    of = {row: number for number, circle in enumerate(made) for row in circle}
    assert all(of[i] == of[i + 1] for i in range(0, 300, 2))
    for circle in made:
        members = texts.take(circle)
        assert set(damaged(members, "swapped", range(len(circle)), rng)) <= {*members.captions, None}
        within = damaged(members, "swapped_within", range(len(circle)), rng)
        assert sum(text is not None for text in within) >= len(circle) / 2
