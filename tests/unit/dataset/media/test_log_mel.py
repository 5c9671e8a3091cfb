"""Log-mel: a pitch is a line at its height, as bright as it is loud."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.dataset.media.log_mel import BANDS, FLOOR, log_mel

RATE = 8_000


def sine(hertz: float, amplitude: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)


def middle(picture: np.ndarray) -> np.ndarray:
    """The column in the middle of the time."""
    return picture[:, picture.shape[1] // 2].astype(int)


@pytest.mark.parametrize("hertz", [110, 220, 440, 880, 1760, 3200])
def test_a_sine_is_brightest_at_its_place_on_the_mel_scale(hertz: float) -> None:
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    expected = 2595 * np.log10(1 + hertz / 700) / top * (BANDS + 1) - 1  # bands from the lowest
    assert abs((BANDS - 1 - int(middle(log_mel(sine(hertz), RATE)).argmax())) - expected) <= 1


def test_brightness_is_level_in_decibels() -> None:
    levels = [middle(log_mel(sine(440, amplitude), RATE)).max() for amplitude in (0.8, 0.4, 0.08)]
    assert levels[0] >= 240
    assert levels[0] - levels[1] == pytest.approx(6.02 / FLOOR * 255, abs=1.5)
    assert levels[0] - levels[2] == pytest.approx(20 / FLOOR * 255, abs=1.5)
    assert not log_mel(np.zeros(RATE), RATE).any()


def test_time_runs_to_the_right() -> None:
    picture = log_mel(np.concatenate([np.zeros(RATE), sine(440)]), RATE)
    bright = picture.max(0) > 200
    half = picture.shape[1] // 2
    assert not bright[: half - 8].any()
    assert bright[half + 8 : -8].all()
    assert picture.dtype == np.uint8
    assert log_mel(np.zeros(3), RATE).shape[1] >= 1  # however short
