"""Made sounds: the same bytes again, told truly, and no sentence of one split in another."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.media.log_mel import log_mel
from pairwright.components.dataset.media.sound import sound
from pairwright.components.dataset.sources.sounds.synthesis import EVENTS, PITCHES, RATE, Sound, rendered


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    return ingest_all("sounds", None, str(tmp_path_factory.mktemp("sounds")), count=40, evaluation_count=12)


def rows_of(dataset: Dataset) -> list[tuple[Any, dict[str, Any], dict[str, str]]]:
    """(shard, row, labels) of each."""
    return [
        (shard, row, {one["name"]: one["value"] for one in row["labels"]})
        for shard, table in dataset.iter_sidecars()
        for row in table.to_pylist()
    ]


def test_the_picture_is_the_recordings_and_the_recording_is_what_the_labels_say(made: list[Dataset]) -> None:
    for shard, row, labels in rows_of(made[0])[:12]:
        media = {one["role"]: shard.read_member(one) for one in row["media"]}
        samples, problem = sound(media["sound"], RATE, 10)
        assert problem is None
        assert samples is not None
        with Image.open(io.BytesIO(media["image"])) as image:
            assert image.mode == "L"
            assert np.abs(np.asarray(image).astype(int) - log_mel(samples, RATE)).max() <= 20  # 16 bits, at 80 dB down
        low, high = PITCHES[labels["pitch"]]
        assert low <= float(labels["hertz"]) <= high
        assert labels["event"] in EVENTS


def test_a_caption_names_event_and_pitch_in_a_sentence_that_no_other_split_has(made: list[Dataset]) -> None:
    sentences = []
    for dataset in made:
        rows = rows_of(dataset)
        texts = [next(one["text"] for one in row["captions"] if one["source"] == "alt") for _, row, _ in rows]
        for text, (_, _, labels) in zip(texts, rows, strict=True):
            assert labels["event"] in text.replace(",", "").split()
            assert labels["pitch"] in text.split()
        sentences.append(set(texts))
    assert not sentences[0] & (sentences[1] | sentences[2])
    keys = [{row["group"] for _, row, _ in rows_of(dataset)} for dataset in made]
    assert not keys[0] & (keys[1] | keys[2])


def test_the_same_seed_gives_the_same_bytes_whatever_the_count(made: list[Dataset], tmp_path: Path) -> None:
    fewer = ingest_all("sounds", None, str(tmp_path), count=5, evaluation_count=2)
    for one, other in zip(made, fewer, strict=True):
        for (a, row, _), (b, again, _) in zip(rows_of(one), rows_of(other), strict=False):
            assert [a.read_member(m) for m in row["media"]] == [b.read_member(m) for m in again["media"]]
    assert made[1].digest != made[2].digest


def peak(samples: np.ndarray) -> float:
    """Hertz of the strongest part."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


def test_pitch_and_course_are_heard() -> None:
    def made_of(course: str, event: str = "tone", hertz: float = 440) -> np.ndarray:
        return rendered(Sound(event, "middle", course, hertz), np.random.default_rng(0))

    third = len(made_of("steady")) // 3
    for event in ("tone", "buzz", "bell"):
        assert peak(made_of("steady", event)) == pytest.approx(440, rel=0.02)
    first, last = (peak(made_of("rising")[at : at + third]) for at in (0, 2 * third))
    assert first < 400 < 480 < last
    first, last = (peak(made_of("falling")[at : at + third]) for at in (0, 2 * third))
    assert first > 480 > 400 > last
    loud = [float(np.abs(made_of("fading")[at : at + third]).mean()) for at in (0, 2 * third)]
    assert loud[0] > 3 * loud[1]
    silent = np.abs(made_of("pulsing").reshape(-1, 100)).max(1) < 0.05
    assert 0.3 < silent.mean() < 0.7
    spread = [np.abs(np.fft.rfft(made_of("steady", event))) for event in ("hiss", "tone")]
    hiss, tone = ((one > 0.1 * one.max()).sum() for one in spread)
    assert hiss > 10 * tone
