"""Overlap with evaluation pairs is found as by comparing all with all; what overlaps takes part in nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.dataset.media.pdq import FEATURELESS, NEAR, hamming
from pairwright.components.errors import ModelError
from pairwright.components.filter.scorers.evaluation_overlap import CONFIG, GROUPS, SCHEMA, Groups, captions_of
from pairwright.components.filter.selections.duplicates.duplicates import participants

DRAWN = np.random.default_rng(0).integers(0, 256, (40, 32), dtype=np.uint8)


def groups(folder: Path, hashes: list[bytes | None], qualities: list[int], captions: list[list[str]]) -> Groups:
    pairs = [f"dev/{i}" for i in range(len(hashes))]
    columns = {"pair": pairs, "hash": hashes, "quality": qualities, "captions": captions}
    pq.write_table(pa.table(columns, schema=SCHEMA), folder / GROUPS)
    (folder / CONFIG).write_text(json.dumps({"sources": ["alt"]}))
    return Groups.read(str(folder))


def flipped(row: np.ndarray, bits: np.ndarray) -> np.ndarray:
    flat = np.unpackbits(row)
    flat[bits] ^= 1
    return np.packbits(flat)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_nearest_within_the_radius_is_what_comparing_all_with_all_finds(seed: int) -> None:
    import tempfile

    random = np.random.default_rng(seed)
    rows = random.integers(0, len(DRAWN), 25)
    asked = np.stack([flipped(DRAWN[r], random.choice(256, random.integers(0, 60), replace=False)) for r in rows])
    with tempfile.TemporaryDirectory() as folder:
        known = groups(Path(folder), [h.tobytes() for h in DRAWN], [100] * len(DRAWN), [[]] * len(DRAWN))
    distance = hamming(asked, DRAWN)
    found = known.pictures([h.tobytes() for h in asked], [100] * len(asked))
    for bits, one in zip(distance, found, strict=True):
        assert (one is None) == (bits.min() > NEAR)
        if one is not None:
            assert one[1] == bits.min() == bits[int(one[0].removeprefix("dev/"))]


def test_featureless_pictures_are_the_same_only_where_their_hashes_are_equal(tmp_path: Path) -> None:
    flat, near = DRAWN[0], flipped(DRAWN[0], np.arange(3))
    known = groups(tmp_path, [flat.tobytes(), DRAWN[1].tobytes(), None], [FEATURELESS, 90, 0], [[], [], []])
    asked = [flat.tobytes(), near.tobytes(), near.tobytes(), DRAWN[1].tobytes(), None]
    found = known.pictures(asked, [FEATURELESS, FEATURELESS, 90, 90, None])
    assert found == [("dev/0", 0), None, None, ("dev/1", 0), None]


def test_captions_are_compared_once_normalised_and_only_of_the_sources_asked_for() -> None:
    captions = [
        {"source": "alt", "text": "A  Key!", "lang": "en"},
        {"source": "file_name", "text": "key.png", "lang": None},
        {"source": "translation", "text": "Schlüssel", "lang": "de"},
        {"source": "translation", "text": "clé", "lang": "fr"},
        {"source": "alt", "text": "...", "lang": None},
    ]
    assert captions_of(captions, ["alt", "translation@de"]) == ["key", "schlüssel"]
    assert captions_of(None, ["alt"]) == []


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / GROUPS).write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="holds no evaluation groups"):
        Groups.read(str(tmp_path))


@pytest.mark.parametrize("among", [{}, {"even": "numbered.value % 2 = 0"}])
def test_what_is_held_out_takes_part_in_no_selection_and_no_fit(tmp_path: Path, among: dict[str, str]) -> None:
    apart = [False, True, None, False, True, False]
    columns = {"numbered.value": pa.array(range(6)), "evaluation_overlap.drop": pa.array(apart)}
    view = view_of(tmp_path, columns, shards=2)
    expected = [not held and (not among or row % 2 == 0) for row, held in enumerate(apart)]
    assert participants(view, among).tolist() == expected
