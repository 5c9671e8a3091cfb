"""A sound that is known: what makes it, at which pitch, and how it goes on."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np

RATE = 8_000  # samples a second
SECONDS = 1.5
PEAK = 0.7  # of the loudest there can be
EVENTS = ("tone", "buzz", "whistle", "bell", "hiss", "drum")
PITCHES = {"low": (120, 260), "middle": (340, 620), "high": (800, 1500)}  # Hz, a wide gap between them
COURSES = ("steady", "rising", "falling", "pulsing", "fading")


@dataclass(frozen=True)
class Sound:
    """`hertz` is the pitch it is at in the middle of its time."""

    event: str
    pitch: str
    course: str
    hertz: float


def any_sound(draw: np.random.Generator) -> Sound:
    pitch = str(draw.choice(list(PITCHES)))
    low, high = PITCHES[pitch]
    hertz = round(float(np.exp(draw.uniform(np.log(low), np.log(high)))), 1)
    return Sound(str(draw.choice(EVENTS)), pitch, str(draw.choice(COURSES)), hertz)


def rendered(sound: Sound, draw: np.random.Generator, rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """float32 (samples,), a faint noise beneath it."""
    t = np.arange(round(rate * seconds)) / rate
    octaves = {"rising": 1.0, "falling": -1.0}.get(sound.course, 0.0) * (t / seconds - 0.5)
    hertz = sound.hertz * 2**octaves
    made = _event(sound.event, 2 * np.pi * np.cumsum(hertz) / rate, t, hertz, rate, draw)
    made *= _course(sound.course, t, seconds)
    made = PEAK * made / max(float(np.abs(made).max()), 1e-9)
    found: np.ndarray = (made + 0.002 * draw.normal(size=len(t))).astype(np.float32)
    return found


def _event(
    event: str, phase: np.ndarray, t: np.ndarray, hertz: np.ndarray, rate: int, draw: np.random.Generator
) -> np.ndarray:
    if event == "tone":
        return np.sin(phase)
    if event == "buzz":
        return sum(np.sin(k * phase) / k for k in range(1, 9) if k * hertz.max() < rate / 2)  # type: ignore[return-value]
    if event == "whistle":
        return np.sin(phase + 6 * np.sin(2 * np.pi * 6 * t)) + 0.1 * draw.normal(size=len(t))
    if event == "bell":
        return sum(np.sin(k * phase) * np.exp(-k * t) for k in (1, 2.76, 5.4) if k * hertz.max() < rate / 2)  # type: ignore[return-value]
    return _noise(event, t, hertz, rate, draw)


def _noise(event: str, t: np.ndarray, hertz: np.ndarray, rate: int, draw: np.random.Generator) -> np.ndarray:
    """Noise about the pitch: on and on, or as beats that die away."""
    wide = np.exp(1j * 2 * np.pi * np.cumsum(hertz) / rate)
    slow = np.cumsum(draw.normal(size=(2, len(t))), axis=1)
    width = max(rate // 400, 2)
    slow = np.apply_along_axis(lambda row: row - np.convolve(row, np.ones(width) / width, "same"), 1, slow)
    noise = np.real((slow[0] + 1j * slow[1]) * wide)
    return noise if event == "hiss" else noise * np.exp(-18 * (t % 0.3))


def _course(course: str, t: np.ndarray, seconds: float) -> np.ndarray:
    """How loud it is over time."""
    edge = np.clip(np.minimum(t, seconds - t) / 0.02, 0, 1)
    if course == "pulsing":
        return edge * (np.sin(2 * np.pi * 3 * t) > 0)
    return edge * np.exp(-4 * t / seconds) if course == "fading" else edge


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """16-bit mono."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()
