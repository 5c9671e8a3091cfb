"""Log-mel: a sound as a picture of one channel, time to the right and pitch upwards.

    picture = log_mel(samples, rate=8_000)       # uint8 (96, frames); 255 is a sine as loud as can be, 0 is 80 dB less

Power in triangular bands, evenly over the mel scale (2595 log10(1 + f / 700), O'Shaughnessy, 1987) up to half the rate.
"""

from __future__ import annotations

import numpy as np

BANDS = 96
FLOOR = 80.0  # dB below the loudest sine; what is softer is black
WINDOW = 0.128  # seconds
HOP = 0.012


def log_mel(samples: np.ndarray, rate: int) -> np.ndarray:
    """Float (n,) in [-1, 1] -> uint8 (96, frames), the lowest band in the last row; a frame at least."""
    size, hop = 2 ** round(np.log2(WINDOW * rate)), max(round(HOP * rate), 1)
    padded = np.pad(np.asarray(samples, np.float64), (size // 2, size - size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.hanning(size + 1)[:-1]
    amplitude = 2 * np.abs(np.fft.rfft(frames * window, axis=1)) / window.sum()  # a sine of amplitude 1 peaks at 1
    power = amplitude**2 @ bands(size, rate).T
    level = 10 * np.log10(np.maximum(power, 1e-12))
    grey = np.clip((level + FLOOR) / FLOOR, 0, 1) * 255
    picture: np.ndarray = np.rint(grey.T[::-1]).astype(np.uint8)
    return picture


def bands(size: int, rate: int) -> np.ndarray:
    """Triangular filters (96, size / 2 + 1), their peaks at 1."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hertz = np.arange(size // 2 + 1) * rate / size
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    found: np.ndarray = np.clip(np.minimum((hertz - low) / (peak - low), (high - hertz) / (high - peak)), 0, None)
    return found
