"""The compiled search gives what comparing all with all gives, and when it may miss a pair it still tells no lie."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.dataset.media.pdq import hamming
from pairwright.components.filter.selections.duplicates import near_groups as compiled
from pairwright.components.filter.selections.duplicates.hamming_bands import Bands
from pairwright.components.filter.selections.duplicates.near_duplicates import NearDuplicates, NearDuplicatesSettings
from pairwright.components.filter.selections.duplicates.near_groups import NearGroups, near_groups

RADIUS = 31


def clustered(seed: int, rows: int, centres: int, most: int) -> np.ndarray:
    """(rows, 32) uint8: hashes with 0..most bits flipped from one of a few centres; some are equal."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2, (centres, 256), dtype=np.uint8)[random.integers(0, centres, rows)]
    errors = np.argsort(random.random(bits.shape), axis=1) < random.integers(0, most + 1, rows)[:, None]
    return np.packbits(bits ^ errors, axis=1)


@pytest.fixture
def in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the hashes, look for them by their bands."""
    monkeypatch.setattr(compiled, "DIRECT_PAIRS", 0)
    monkeypatch.setattr(compiled, "LEAF", 16)


def as_defined(hashes: np.ndarray, chosen: int, radius: int) -> tuple[list[int], list[int], list[int]]:
    """All with all: kept unless near a kept one before; the nearest kept one; components by flooding."""
    apart = hamming(hashes, hashes).astype(np.int64)
    kept = np.zeros(len(hashes), bool)
    for row in range(chosen):
        kept[row] = not (apart[row, :row][kept[:row]] <= radius).any()
    nearest, distance = np.full(chosen, -1), np.zeros(chosen, np.int64)
    for row in np.flatnonzero(~kept[:chosen]):
        nearest[row] = np.where(kept, apart[row], 999).argmin()
        distance[row] = apart[row, nearest[row]]
    label = np.arange(len(hashes))
    while len(label):
        lower = np.where(apart <= radius, label[None, :], len(hashes)).min(axis=1)
        if np.array_equal(lower, label):
            break
        label = lower[lower]
    return nearest.tolist(), distance.tolist(), label.tolist()


def as_found(found: NearGroups, chosen: int) -> tuple[list[int], list[int], list[int]]:
    assert (found.nearest[chosen:] == -1).all()
    return found.nearest[:chosen].tolist(), found.distance[:chosen].tolist(), found.group.tolist()


@pytest.mark.usefixtures("in_bands")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 300),
    centres=st.integers(1, 60),
    most=st.integers(0, 40),
    share=st.floats(0, 1),
    radius=st.sampled_from([0, 3, 15, 16, 31, 40, 63]),
)
def test_it_equals_comparing_all_with_all(
    seed: int, rows: int, centres: int, most: int, share: float, radius: int
) -> None:
    hashes, chosen = clustered(seed, rows, centres, most), round(share * rows)
    before = hashes.copy()
    found = near_groups(hashes, radius, chosen)
    assert (hashes == before).all()
    assert found.bands.exact(radius)
    assert as_found(found, chosen) == as_defined(hashes, chosen, radius)


@pytest.mark.usefixtures("in_bands")
@pytest.mark.parametrize("bands", [Bands(16, 16, 1), Bands(32, 8, 0), Bands(11, 12, 2)])
def test_it_equals_comparing_all_with_all_whatever_the_bands(bands: Bands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "choose_bands", lambda *_: bands)
    hashes = clustered(5, 1500, 150, 34)
    assert as_found(near_groups(hashes, RADIUS), 1500) == as_defined(hashes, 1500, RADIUS)


@pytest.mark.usefixtures("in_bands")
@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = clustered(6, 1500, 120, 36)
    monkeypatch.setattr(compiled, "usable_cores", lambda: threads)
    assert as_found(near_groups(hashes, RADIUS), 1500) == as_defined(hashes, 1500, RADIUS)


@pytest.fixture
def few_bands(in_bands: None, monkeypatch: pytest.MonkeyPatch) -> Bands:
    """So few that many near pairs are missed."""
    bands = Bands(8, 12, 0)
    monkeypatch.setattr(compiled, "choose_bands", lambda *_: bands)
    return bands


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), centres=st.integers(1, 80))
def test_what_is_not_exact_drops_nothing_wrongly(few_bands: Bands, seed: int, centres: int) -> None:
    hashes = clustered(seed, 400, centres, 36)
    found = near_groups(hashes, RADIUS)
    kept = found.nearest < 0
    table = hamming(hashes, hashes)
    for row in np.flatnonzero(~kept):
        of = found.nearest[row]
        assert kept[of]
        assert (table[row, :row][kept[:row]] <= RADIUS).any()  # a better one stays, if not the nearest
        assert found.distance[row] == table[row, of] <= RADIUS
    whole = np.array(as_defined(hashes, 400, RADIUS)[2])
    assert (whole[found.group] == whole).all()  # never joins what is apart
    assert (found.group[found.nearest[~kept]] == found.group[~kept]).all()


def test_what_is_not_exact_finds_at_each_distance_what_was_foretold(few_bands: Bands) -> None:
    each, random = 400, np.random.default_rng(2)
    distances = np.repeat(np.arange(32), each)
    bits = random.integers(0, 2, (len(distances), 256), dtype=np.uint8)
    errors = np.argsort(random.random(bits.shape), axis=1) < distances[:, None]
    found = near_groups(np.packbits(np.concatenate([bits, bits ^ errors]), axis=1), RADIUS)
    hits = found.nearest[len(bits) :] == np.arange(len(bits))
    assert (found.distance[len(bits) :][hits] == distances[hits]).all()
    for distance in range(32):
        share, expected = hits[distances == distance].mean(), few_bands.recall(distance)
        assert abs(share - expected) <= 4 * np.sqrt(max(expected * (1 - expected), 1e-3) / each), distance
    assert hits[distances == RADIUS].mean() < 0.9


@pytest.mark.slow
def test_a_crowd_of_lookalikes_is_neither_listed_nor_quadratic() -> None:
    """Of 40,000 hashes within 14 bits of one centre there are 800 million near pairs: too many to list or to visit."""
    random = np.random.default_rng(0)
    bits = np.broadcast_to(random.integers(0, 2, 256, dtype=np.uint8), (40_000, 256))
    errors = np.argsort(random.random(bits.shape), axis=1) < random.integers(0, 15, 40_000)[:, None]
    hashes = np.packbits(bits ^ errors, axis=1)
    near_groups(hashes[:10], RADIUS)  # compiled
    found = near_groups(hashes, RADIUS)
    assert (found.nearest < 0).sum() == 1
    assert (found.group == 0).all()
    assert (found.distance[1:] == hamming(hashes[:1], hashes[1:])[0]).all()


@pytest.mark.usefixtures("in_bands")
def test_a_chain_in_the_order_of_its_frames_is_decided_one_by_one() -> None:
    """Frames of a film: each near the next two only, all of one quality, so that every third stays."""
    frames = 1500
    bits = np.zeros((frames, 256), np.uint8)
    random = np.random.default_rng(1)
    state = random.integers(0, 2, 256, dtype=np.uint8)
    for frame in range(frames):
        state[np.arange(frame * 13, frame * 13 + 13) % 256] ^= 1
        bits[frame] = state
    hashes = np.packbits(bits, axis=1)
    assert as_found(near_groups(hashes, RADIUS), frames) == as_defined(hashes, frames, RADIUS)


def population(root: Path, hashes: np.ndarray) -> Any:
    random = np.random.default_rng(0)
    columns = {
        "pdq.hash": pa.array([None if i % 11 == 3 else row.tobytes() for i, row in enumerate(hashes)], pa.binary(32)),
        "pdq.quality": pa.array(random.integers(20, 101, len(hashes)), pa.int32()),
        "exact_hash.pixels": pa.array([bytes([i % 50]) * 32 for i in range(len(hashes))], pa.binary(32)),
        "caption_text.quality": pa.array(random.random(len(hashes)), pa.float32()),
        "image.width": pa.array(random.integers(10, 200, len(hashes)), pa.int32()),
    }
    return view_of(root, columns, components={"near": "near_duplicates"}, shards=3)


def selected(view: Any, **options: Any) -> dict[str, list[Any]]:
    columns = NearDuplicates(NearDuplicatesSettings(**options)).select(view)
    return {name: array.to_pylist() for name, array in columns.items()}


def test_a_large_population_is_selected_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = population(tmp_path, clustered(3, 600, 80, 34))
    among = {"large": "image.width >= 64"}
    small = selected(view, among=among)
    monkeypatch.setattr("pairwright.components.filter.selections.duplicates.near_duplicates.LARGE", 0)
    assert selected(view, among=among) == small
    assert True in small["drop"]


def test_a_search_that_may_miss_pairs_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairwright.components.filter.selections.duplicates.hamming_bands.WIDEST", 17)
    view = population(tmp_path, clustered(3, 200, 20, 20))
    with caplog.at_level(logging.WARNING):
        selected(view, exact="always")
        assert not caplog.records
        selected(view, exact="never")
    assert "of the pairs within 31 bits it finds 0.9999 (1.0000 at 15, 0.9999 at 31)" in caplog.text
