"""Made sounds with captions, as pairs whose picture is the sound's log-mel spectrogram.

    pairwright ingest sounds ./build --set count=600        # ./build/sounds, -dev and -test

A pair holds the recording (role `sound`, WAV), its picture (media/log_mel.py: one channel, so that image towers,
explorer and search take a sound as any picture), its caption `alt` and the same in other words (`paraphrase`), and as
labels what it is: event, pitch, course and hertz. Events are tones, buzzes, whistles, bells, hisses and drums. `dev`
and `test` are other sounds, told in a sentence of another form than the one learnt from. Sound n of a seed is the same
whatever the count.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.log_mel import log_mel
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.sounds.synthesis import RATE, Sound, any_sound, rendered, wav
from pairwright.components.dataset.sources.source import CopyingOptions, Progress, absolute
from pairwright.components.dataset.splits import DEV, TEST, TRAIN

NAME, ROLE = "sounds", "sound"
ENDINGS = {TRAIN: "", DEV: "-dev", TEST: "-test"}
GOING_ON = {
    "steady": "that holds on",
    "rising": "that rises",
    "falling": "that falls",
    "pulsing": "that comes and goes",
    "fading": "that fades away",
}


class SoundsOptions(CopyingOptions):
    """What made sounds take."""

    count: int = Field(600, ge=1, description="sounds to train on")
    evaluation_count: int = Field(120, ge=1, description="sounds in each of dev and test")
    seed: int = Field(0, ge=0, description="sound n of a seed is the same, whatever the count")


def read_sounds(source: str, dest: str, options: SoundsOptions, progress: Progress) -> list[Dataset]:
    """Write `dest/sounds`, `dest/sounds-dev` and `dest/sounds-test`; returns them in this order.

    Raises:
        WorkspaceError: `dest` cannot be written.
    """
    counts = {split: options.count if split == TRAIN else options.evaluation_count for split in ENDINGS}
    total, done, written = sum(counts.values()), 0, []
    for number, (split, ending) in enumerate(ENDINGS.items()):
        name = (options.name or NAME) + ending
        writer = ShardWriter(
            f"{absolute(dest).rstrip('/')}/{name}",
            name,
            pairs_per_shard=options.pairs_per_shard,
            description=options.description or "Made sounds, as recordings and as spectrograms, and what is heard",
            licence=options.licence or "CC0-1.0",
            facts={"split": split, "seed": options.seed, "rate": RATE},
        )
        with writer:
            for at in range(counts[split]):
                writer.add(**_pair(split, at, np.random.default_rng([options.seed, number, at])))
                done += 1
                progress(done, total, "sounds")
        written.append(writer.dataset)
    return written


def _pair(split: str, at: int, draw: np.random.Generator) -> dict[str, Any]:
    """A sound as keyword arguments of `ShardWriter.add`."""
    sound = any_sound(draw)
    samples = rendered(sound, draw)
    said = [caption(told(sound, split), "alt", 0, "en", f"{NAME}/grammar")]
    said += [caption(paraphrase(sound), "paraphrase", 0, "en", f"{NAME}/grammar")] if split == TRAIN else []
    return {
        "key": f"{at:06d}",
        "media": [("image", "image", "png", _png(log_mel(samples, RATE))), (ROLE, "audio", "wav", wav(samples))],
        "captions": said,
        "labels": [(name, str(value)) for name, value in asdict(sound).items()],
        "licence": "CC0-1.0",
        "group": f"{split}-{at:06d}",
        "meta": json.dumps(asdict(sound), sort_keys=True).encode(),
    }


def told(sound: Sound, split: str) -> str:
    """What is heard, in the sentence of this split."""
    if split == TRAIN:
        return f"a {sound.pitch} {sound.event} {GOING_ON[sound.course]}"
    return f"one hears a {sound.course} {sound.event}, {sound.pitch} in pitch"


def paraphrase(sound: Sound) -> str:
    return f"the sound of a {sound.event}, {sound.pitch} and {sound.course}"


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
