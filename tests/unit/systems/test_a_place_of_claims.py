"""A place of claims: what they read is made in the order said, selections among it, and nothing is made twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.systems.place import Place, Steps, of_recipe
from benchmarks.systems.subsets import at_random, kept_by, pairs_of
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.flows.recipes import load_recipe

STEPS: Steps = {
    "said": ("caption_text", {"source": "alt"}),
    "rank": ("group_quantile", {"score": "said.words", "by": ["pair.label.kind"], "min_group": 1}),
    "refined": ("complement", {"source": "alt", "generated": "title", "score": "rank.rank", "threshold": 0.5}),
    "again": ("caption_text", {"source": "refined"}),
}


def pairs(root: Path) -> Dataset:
    """Nine pairs in two shards, the words of whose captions rise."""
    with ShardWriter(str(root / "pairs"), "pairs", pairs_per_shard=5) as writer:
        for n in range(9):
            texts = [caption(" ".join(["word"] * (n + 1))), caption("and more", "title")]
            writer.add(str(n), captions=texts, labels=[("kind", "one")])
    return writer.dataset


def files(place: Place) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(place.folder.rglob("*.parquet"))}


def test_a_selection_sees_all_shards_and_what_comes_after_it_reads_its_columns(tmp_path: Path) -> None:
    view = Place(tmp_path / "place").view(pairs(tmp_path), STEPS)
    assert view.numpy("rank.rank").tolist() == [n / 8 for n in range(9)]
    assert [text.endswith("And more") for text in view.column("refined.text").to_pylist()] == [True] * 4 + [False] * 5
    assert view.numpy("again.words").tolist() == [n + 1 + 2 * (n < 4) for n in range(9)]


def test_nothing_is_made_twice_and_a_selection_of_other_pairs_is_another(tmp_path: Path) -> None:
    place, dataset = Place(tmp_path / "place"), pairs(tmp_path)
    whole = place.view(dataset, STEPS)
    made = files(place)
    assert len(made) == len(STEPS) * len(dataset.shards)
    assert place.view(dataset, STEPS).steps == whole.steps
    assert files(place) == made
    part = place.view(replace(dataset, shards=dataset.shards[:1]), STEPS)
    assert part.numpy("rank.rank").tolist() == [n / 4 for n in range(5)]
    assert part.steps["said"] == whole.steps["said"]
    assert whole.numpy("rank.rank").tolist() == [n / 8 for n in range(9)]


def test_a_recipes_steps_are_read_from_it_with_what_was_fitted_in_their_place(tmp_path: Path) -> None:
    said: dict[str, Any] = dict(of_recipe("tldr", ["sample", "codes"], codebook=tmp_path))
    recipe = load_recipe("tldr").filter
    assert list(said) == ["sample", "codes"]
    assert said["sample"] == ("cluster_sample", recipe.select["sample"].with_)
    assert said["codes"] == ("codebook_codes", recipe.score["codes"].with_ | {"model": str(tmp_path)})


def test_as_many_are_drawn_of_those_that_pass_and_are_what_is_trained_on(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    view = place.view(pairs(tmp_path), STEPS)
    long = kept_by(view, {"long": "said.words >= 3"})
    assert long.tolist() == list(range(2, 9))
    draws = [at_random(long, 4, seed) for seed in range(5)]
    assert all(len(set(rows.tolist())) == 4 and set(rows.tolist()) <= set(long.tolist()) for rows in draws)
    assert len({tuple(rows.tolist()) for rows in draws}) > 1
    assert np.array_equal(at_random(long, 4, 3), draws[3])
    named = pq.read_table(pairs_of(place, view, np.array([4, 5]))).to_pylist()
    first, second = view.dataset.shards
    assert named == [{"shard": first.digest, "row": 4}, {"shard": second.digest, "row": 0}]
