"""Sound: any file libsndfile reads, as mono samples at the rate asked for.

    samples, error = sound(data, rate=16_000, seconds=10)    # float32 (n,) in [-1, 1], None

Channels are averaged; the rate is changed by polyphase filtering (scipy's `resample_poly`, Kaiser window).
"""

from __future__ import annotations

import io
from math import ceil, gcd

import numpy as np

MAX_BYTES = 1 << 29  # of samples, all channels, as float32
MAX_RATE = 768_000  # Hz; the filter grows with the ratio


def sound(data: bytes, rate: int, seconds: float) -> tuple[np.ndarray | None, str | None]:
    """The first `seconds` as float32 (samples,) at `rate` Hz, or why there is none.

    Never raises for bad input: "decode:empty", "decode:not_sound", "decode:corrupt", "decode:too_much_memory:...".
    """
    import soundfile

    if not data:
        return None, "decode:empty"
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            wanted = min(file.frames, ceil(seconds * file.samplerate))
            if wanted * file.channels * 4 > MAX_BYTES or file.samplerate > MAX_RATE:
                return None, f"decode:too_much_memory:{file.channels} channels of {file.samplerate} Hz"
            samples = file.read(wanted, dtype="float32", always_2d=True)
            own_rate = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        unknown = any(
            word in str(error).lower() for word in ("format not recognised", "unknown format", "unimplemented")
        )
        return None, "decode:not_sound" if unknown else "decode:corrupt"
    except (OSError, RuntimeError, ValueError, TypeError):
        return None, "decode:corrupt"
    if not len(samples) or not np.isfinite(samples).all():
        return None, "decode:empty" if not len(samples) else "decode:corrupt"
    mono = _at_rate(samples.mean(axis=1), own_rate, rate)
    return np.clip(mono, -1, 1)[: ceil(seconds * rate)].astype(np.float32), None


def _at_rate(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
    if own == rate:
        return samples
    from scipy.signal import resample_poly

    common = gcd(own, rate)
    found: np.ndarray = resample_poly(samples, rate // common, own // common)
    return found
