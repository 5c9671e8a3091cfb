"""What was fitted on is known again by what it shows and says; nothing else is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.media.pdq import NEAR
from pairwright.components.models.seen import UNSEEN, Seen

DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.normal(size=(6, 8)).astype(np.float32)
HASHES = DRAWN.integers(0, 256, (6, 32), dtype=np.uint8)
FOLDS = np.array([0, 1, 2, 0, 1, 2])
TEXTS = ["A lighthouse.", "two ferries", "key", "A key"]
SEEN = Seen.of(FEATURES, FOLDS, TEXTS, [0, 1, 2, 1], [row.tobytes() for row in HASHES])
OTHER = np.zeros((1, 8), np.float32)


def flipped(row: np.ndarray, bits: int) -> bytes:
    flat = np.unpackbits(row)
    flat[:bits] ^= 1
    return np.packbits(flat).tobytes()


@given(st.integers(0, 5), st.integers(0, 64))
@settings(max_examples=60, deadline=None)
def test_a_picture_is_known_within_the_radius_and_not_beyond(row: int, bits: int) -> None:
    (fold,) = SEEN.fold_of(OTHER, ["new"], [flipped(HASHES[row], bits)])
    assert fold == (FOLDS[row] if bits <= NEAR else UNSEEN)


def test_the_same_features_are_known_in_the_precision_of_columns_and_others_are_not() -> None:
    stored = FEATURES.astype(np.float16).astype(np.float32)
    assert SEEN.fold_of(stored, ["new"] * 6).tolist() == FOLDS.tolist()
    assert SEEN.fold_of(FEATURES + 0.1, ["new"] * 6).tolist() == [UNSEEN] * 6


def test_a_caption_is_known_however_it_is_written_but_for_one_of_two_folds() -> None:
    said = ["a  LIGHTHOUSE", "Two ferries!", "KEY", "a", ""]
    assert SEEN.fold_of(np.repeat(OTHER, 5, 0), said).tolist() == [0, 1, UNSEEN, UNSEEN, UNSEEN]


def test_every_fold_of_a_caption_is_known() -> None:
    assert SEEN.text_folds(["a  LIGHTHOUSE", "Two ferries!", "KEY", "a", ""]).tolist() == [0b1, 0b10, 0b110, 0, 0]


def test_the_picture_goes_before_the_caption() -> None:
    assert SEEN.fold_of(FEATURES[2:3], ["a lighthouse"]).tolist() == [2]
    assert SEEN.fold_of(OTHER, ["a lighthouse"], [HASHES[1].tobytes()]).tolist() == [1]


def test_it_travels_as_tensors_and_nothing_is_known_to_a_fresh_one() -> None:
    again = Seen.from_tensors(SEEN.tensors())
    asked = np.concatenate([FEATURES, OTHER]), [*["new"] * 6, "key ring"], [None] * 7
    assert again.fold_of(*asked).tolist() == SEEN.fold_of(*asked).tolist()
    assert Seen().fold_of(*asked).tolist() == [UNSEEN] * 7
    assert Seen.from_tensors(Seen().tensors()).fold_of(*asked).tolist() == [UNSEEN] * 7
