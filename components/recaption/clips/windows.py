"""Windows of a clip, and which of them each caption fits best (HowToCaption; Shvetsova et al., 2023, section 3.3).

    windows = window_vectors(frames, seconds=8)                      # (T, d): a window around each second
    place, score = best_windows(similarity, centres, search=10)      # of (captions, T) similarities

A window's vector is the mean of its seconds' vectors, reflected at the clip's ends; similarities of several models are
summed; the best window within `search` seconds of where a caption was put takes it.
"""

from __future__ import annotations

import numpy as np

NOWHERE = -1  # the place of a caption whose range lies outside the clip


def before(seconds: int) -> int:
    """Seconds of a window that lie before its centre."""
    return -(-seconds // 2)


def window_vectors(frames: np.ndarray, seconds: int) -> np.ndarray:
    """A vector a second (T, d) -> of the window around each (T, d): second k's holds k - seconds/2 to k + seconds/2."""
    left = before(seconds)
    padded = np.pad(frames.astype(np.float64), ((left, seconds - left), (0, 0)), mode="reflect")
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(padded, axis=0)])
    found: np.ndarray = (sums[seconds : seconds + len(frames)] - sums[: len(frames)]) / seconds
    return found


def best_windows(similarity: np.ndarray, centres: np.ndarray, search: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each caption the second at the centre of its best window, int64 (m,), and its score, float64 (m,).

    A caption whose range holds no window is NOWHERE, its score NaN; those after it keep their own rows.

    Args:
        similarity: (m, T). centres: seconds (m,) where the captions are looked for.
    """
    count, seconds = similarity.shape
    place, score = np.full(count, NOWHERE), np.full(count, np.nan)
    for i, centre in enumerate(np.floor(centres).astype(np.int64)):
        low, high = max(0, centre - search), min(seconds, centre + search + 1)
        if low < high:
            place[i] = low + int(np.argmax(similarity[i, low:high]))
            score[i] = similarity[i, place[i]]
    return place, score
