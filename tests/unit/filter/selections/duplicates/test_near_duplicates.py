"""Near-duplicates equal brute force, name a kept pair, and do not depend on the order of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.dataset.media.pdq import hamming
from pairwright.components.filter.selections.duplicates import hamming_index
from pairwright.components.filter.selections.duplicates.hamming_index import HammingIndex
from pairwright.components.filter.selections.duplicates.near_duplicates import (
    NearDuplicates,
    NearDuplicatesSettings,
    greedy,
    linked_components,
)
from pairwright.components.filter.selections.groups import joined

RADIUS = 31


def clustered(seed: int, rows: int, centres: int, most: int) -> np.ndarray:
    """(rows, 32) uint8: hashes with 0..most bits flipped from one of a few centres, so that many are near."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (centres, 256), dtype=np.uint8)[random.integers(0, centres, rows)]
    for row in bits:
        row[random.choice(256, random.integers(0, most + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def brute_force(hashes: np.ndarray, radius: int) -> tuple[list[int], list[int]]:
    """The definition: keep unless near a kept one; name the nearest kept one, the earliest of equals."""
    table = hamming(hashes, hashes)
    kept: list[int] = []
    for row in range(len(hashes)):
        if not any(table[row, other] <= radius for other in kept):
            kept.append(row)
    of, distance = [-1] * len(hashes), [0] * len(hashes)
    for row in set(range(len(hashes))) - set(kept):
        best = min(kept, key=lambda other: (table[row, other], other))
        of[row], distance[row] = best, int(table[row, best])
    return of, distance


@pytest.fixture(params=["direct", "banded"])
def either_way(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short runs are compared directly; both ways must agree with brute force."""
    if request.param == "banded":
        monkeypatch.setattr(hamming_index, "BRUTE_FORCE_ROWS", 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("block", [7, 4096])
def test_greedy_equals_brute_force(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairwright.components.filter.selections.duplicates.near_duplicates.BLOCK", block)
    hashes = clustered(seed, 400, centres=25, most=30)
    of, distance = greedy(hashes, RADIUS)
    assert (of.tolist(), distance.tolist()) == brute_force(hashes, RADIUS)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("radius", [0, 3, 15, 16, 31, 40, 63])
def test_the_index_finds_every_pair_within_the_radius_and_no_other(radius: int) -> None:
    members, queries = clustered(1, 500, 40, 60), clustered(1, 300, 40, 60)
    index = HammingIndex(radius)
    for part in np.array_split(members, 9):
        index.add(part)
    query, member, distance = index.near(queries)
    table = hamming(queries, members)
    expected_query, expected_member = np.nonzero(table <= radius)
    assert query.tolist() == expected_query.tolist()
    assert member.tolist() == expected_member.tolist()
    assert distance.tolist() == table[expected_query, expected_member].tolist()


def test_every_distance_up_to_the_radius_is_found_and_none_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_index, "BRUTE_FORCE_ROWS", 0)
    random = np.random.default_rng(0)
    for distance in range(36):
        bits = random.integers(0, 2, (50, 256), dtype=np.uint8)
        other = bits.copy()
        for row in other:
            row[random.choice(256, distance, replace=False)] ^= 1
        index = HammingIndex(RADIUS)
        index.add(np.packbits(bits, axis=1))
        query, member, _ = index.near(np.packbits(other, axis=1))
        assert (query == member).sum() == (50 if distance <= RADIUS else 0)


@pytest.mark.usefixtures("either_way")
def test_components_are_those_of_the_whole_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairwright.components.filter.selections.duplicates.near_duplicates.BLOCK", 13)
    hashes = clustered(3, 300, centres=60, most=22)
    near = hamming(hashes, hashes) <= RADIUS
    label = np.arange(len(hashes))
    while True:  # flood fill by the definition
        lower = np.where(near, label[None, :], len(hashes)).min(axis=1)
        if np.array_equal(lower, label):
            break
        label = lower
    assert linked_components(hashes, RADIUS).tolist() == label.tolist()


def planted(root: Path, hashes: np.ndarray, quality: list[float], **more: Any) -> Any:
    columns = {
        "pdq.hash": pa.array([row.tobytes() for row in hashes], pa.binary(32)),
        "pdq.quality": more.pop("hash_quality", pa.array([100] * len(hashes), pa.int32())),
        "exact_hash.pixels": more.pop("pixels", pa.array([bytes([i]) * 32 for i in range(len(hashes))], pa.binary(32))),
        "caption_text.quality": pa.array(quality, pa.float32()),
        **more.pop("columns", {}),
    }
    return view_of(root, columns, components={"near": "near_duplicates"}, **more)


def select(view: Any, **options: Any) -> dict[str, list[Any]]:
    columns = NearDuplicates(NearDuplicatesSettings(**options)).select(view)
    return {name: array.to_pylist() for name, array in columns.items()}


def test_the_copy_with_the_better_caption_stays_and_the_other_names_it(tmp_path: Path) -> None:
    hashes = np.zeros((3, 32), np.uint8)
    hashes[1, 0] = 0b111
    hashes[2] = 255
    found = select(planted(tmp_path, hashes, [0.2, 0.9, 0.1]))
    assert found["drop"] == [True, False, False]
    assert found["of"] == ["1", None, None]
    assert found["distance"] == [3, None, None]
    assert found["group"] == [0, 0, 2]


def test_a_pair_near_only_a_dropped_one_stays(tmp_path: Path) -> None:
    """a - b - c in a chain: b is near both, a and c are far apart; b goes, both ends stay."""
    bits = np.zeros((3, 256), np.uint8)
    bits[1, :20] = 1
    bits[2, :40] = 1
    found = select(planted(tmp_path, np.packbits(bits, axis=1), [0.9, 0.5, 0.1]))
    assert found["drop"] == [False, True, False]
    assert found["group"] == [0, 0, 0]


def test_featureless_pictures_are_compared_by_their_exact_pixels(tmp_path: Path) -> None:
    same, other = b"s" * 32, b"o" * 32
    found = select(
        planted(
            tmp_path,
            np.zeros((4, 32), np.uint8),
            [0.1, 0.2, 0.3, 0.4],
            hash_quality=pa.array([0, 0, 0, 100], pa.int32()),
            pixels=pa.array([same, same, other, b"x" * 32], pa.binary(32)),
        )
    )
    assert found["drop"] == [True, False, False, False]
    assert (found["of"][0], found["distance"][0]) == ("1", 0)


def test_a_pair_without_a_hash_is_null(tmp_path: Path) -> None:
    view = planted(
        tmp_path,
        np.zeros((2, 32), np.uint8),
        [0.1, 0.2],
        columns={"pdq.hash": pa.array([bytes(32), None], pa.binary(32))},
        pixels=pa.array([b"s" * 32, None], pa.binary(32)),
        hash_quality=pa.array([90, None], pa.int32()),
    )
    assert select(view)["drop"] == [False, None]


def test_nothing_is_dropped_in_favour_of_a_pair_another_rule_drops(tmp_path: Path) -> None:
    view = planted(
        tmp_path,
        np.zeros((3, 32), np.uint8),
        [0.9, 0.5, 0.1],
        columns={"image.width": pa.array([10, 100, 100], pa.int32())},
    )
    assert select(view)["drop"] == [False, True, True]
    among = {"large": "image.width >= 64"}
    found = select(view, among=among)
    assert found["drop"] == [False, False, True]
    assert found["of"] == [None, None, "1"]
    component = NearDuplicates(NearDuplicatesSettings(among=among))
    assert "image.width" in component.column_names()
    assert "pdq.hash" in component.column_names()


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1000), st.randoms())
def test_the_order_of_the_data_does_not_matter(tmp_path_factory: Any, seed: int, shuffler: Any) -> None:
    hashes = clustered(seed, 40, centres=6, most=28)
    quality = np.random.default_rng(seed).integers(0, 3, 40) / 2
    order = list(range(40))
    shuffler.shuffle(order)
    results = []
    for name, rows in (("a", list(range(40))), ("b", order)):
        keys = [f"k{row:02d}" for row in rows]
        pixels = pa.array([bytes([row]) * 32 for row in rows], pa.binary(32))
        root = tmp_path_factory.mktemp(name)
        view = planted(root, hashes[rows], quality[rows].tolist(), keys=keys, shards=3, pixels=pixels)
        found = select(view)
        results.append(sorted(zip(keys, found["drop"], found["of"], found["distance"], strict=True), key=str))
    assert results[0] == results[1]


def test_groups_join_over_every_labelling() -> None:
    a = np.array([0, 0, 1, -1, -1, 2])
    b = np.array([-1, 5, 5, 6, 6, -1])
    assert joined([a, b]).tolist() == [0, 0, 0, 3, 3, 5]


@pytest.mark.slow
def test_a_hundred_thousand_hashes_take_seconds_and_find_what_was_planted() -> None:
    import time

    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (100_000, 32), dtype=np.uint8)
    bits = np.unpackbits(hashes[:5000], axis=1)
    for row in bits:
        row[random.choice(256, random.integers(0, RADIUS + 1), replace=False)] ^= 1
    hashes[-5000:] = np.packbits(bits, axis=1)
    start = time.perf_counter()
    of, _ = greedy(hashes, RADIUS)
    assert (of[-5000:] == np.arange(5000)).all()
    assert (of[:-5000] == -1).all()
    assert time.perf_counter() - start < 60
