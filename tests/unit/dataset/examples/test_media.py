"""Views, clips and sound: what a task wishes of a medium, the same in every epoch's repetition."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import soundfile
from PIL import Image

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.shard_population import open_population
from pairwright.components.dataset.examples.view import LEAST_AREA, views
from pairwright.components.dataset.examples.wish import AudioWish, FramesWish, ImageWish, Reads
from pairwright.components.dataset.media.frames import clip_frames, sampled
from pairwright.components.dataset.media.sound import sound
from pairwright.components.dataset.shards.writer import ShardWriter

WISH = ImageWish(64, crop=True, flip=True)


def many(epoch: int = 0, seed: int = 0, count: int = 4000) -> Examples:
    return Examples(np.arange(count), [f"k{at}" for at in range(count)], seed, epoch)


def png(colour, size=(40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def population(tmp_path, media: dict, wish, **options):
    """One pair a key of `media`: its list of (kind, suffix, bytes) under the role "clip"."""
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        for key, given in media.items():
            writer.add(key, [("clip", kind, suffix, data) for kind, suffix, data in given])
    reads = Reads(media={"clip": wish})
    dataset = writer.dataset
    return open_population(dataset.root, [shard.digest for shard in dataset.shards], "", {}, None, reads, **options)


def test_crops_are_half_to_all_of_the_area_of_about_the_pictures_form_and_half_are_flipped():
    found = views(many(), "image", WISH)
    boxes = np.array([view.box for view in found])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all()
    assert (boxes <= 1 + 1e-9).all()
    area = wide * high
    assert LEAST_AREA - 1e-9 <= area.min() < 0.51
    assert area.max() > 0.99
    assert area.mean() == pytest.approx(0.75, abs=0.01)
    assert (np.maximum(wide / high, high / wide) < 4 / 3 + 1e-9).all()
    assert abs(((boxes[:, 0] + boxes[:, 2]) / 2).mean() - 0.5) < 0.01
    assert abs(np.mean([view.flip for view in found]) - 0.5) < 0.03


def test_a_view_is_a_function_of_seed_epoch_and_key_alone():
    one = views(many(), "image", WISH)
    assert one == views(many(), "image", WISH)
    shuffled = Examples(np.arange(3), ["k7", "k3999", "k0"])
    assert views(shuffled, "image", WISH) == [one[7], one[3999], one[0]]
    for other in (many(epoch=1), many(seed=1)):
        assert sum(a == b for a, b in zip(one, views(other, "image", WISH), strict=True)) == 0
    assert views(many(), "other", WISH)[0] != one[0]


def test_a_crop_is_never_enlarged_where_the_picture_has_the_pixels():
    for view in views(many(count=200), "image", WISH):
        side = view.min_side(64)
        piece = view.box[2] - view.box[0], view.box[3] - view.box[1]
        assert side * min(piece) >= 64
        assert view.of(np.zeros((side, side * 2, 3), np.uint8), 64).shape == (64, 64, 3)


def test_a_cropped_picture_keeps_its_brightness():
    """A slope from black to white: pieces of it average to its middle, and are slopes still."""
    image = np.repeat(np.tile(np.linspace(0, 255, 200).astype(np.uint8), (150, 1))[..., None], 3, axis=2)
    seen = np.stack([view.of(image, 64) for view in views(many(count=400), "image", WISH)]).astype(float)
    assert seen.mean() == pytest.approx(127.5, abs=3)
    slopes = np.diff(seen[..., 0].mean(axis=1), axis=1)
    assert ((slopes >= -1).all(axis=1) | (slopes <= 1).all(axis=1)).all()


def test_without_a_wish_for_it_nothing_is_cropped_or_flipped(tmp_path):
    pictures = {"a": [("image", "png", png((9, 8, 7), (70, 50)))]}
    found = population(tmp_path, pictures, ImageWish(32)).read(np.array([0]), 0, 0)
    assert found.media("clip")[0].shape == (50, 70, 3)


def gif(seconds: list[float], form: str = "GIF") -> bytes:
    """Frame i is grey 20 i, shown so long."""
    frames = [Image.new("RGB", (24, 16), (20 * at,) * 3) for at in range(len(seconds))]
    stream = io.BytesIO()
    durations = [round(1000 * one) for one in seconds]
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return stream.getvalue()


def test_moments_are_spread_evenly_over_time():
    assert sampled([1, 1, 1, 1], 4).tolist() == [0, 1, 2, 3]
    assert sampled([1, 1, 1, 1], 2).tolist() == [1, 3]
    assert sampled([3, 1], 4).tolist() == [0, 0, 0, 1]
    assert sampled([1], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animated_file_is_sampled_by_how_long_its_frames_are_shown(form):
    frames, error = clip_frames(gif([0.35, 0.1, 0.1, 0.25], form), 4, 16)
    assert error is None
    assert frames.shape == (4, 16, 24, 3)
    assert np.abs(frames[:, 0, 0, 0].astype(int) - [0, 0, 40, 60]).max() <= 4
    every, _ = clip_frames(gif([0.1] * 5, form), 5, 8)
    assert np.abs(every[:, 0, 0, 0].astype(int) - [0, 20, 40, 60, 80]).max() <= 4


def test_a_picture_is_a_clip_of_one_frame():
    frames, error = clip_frames(png((1, 2, 3)), 3, 8)
    assert error is None
    assert (frames == [1, 2, 3]).all()
    assert len(frames) == 3


def test_a_damaged_or_endless_animation_is_a_reason():
    whole = gif([0.1] * 6)
    assert clip_frames(whole[:120], 4, 8)[1] in ("decode:truncated", "decode:corrupt")
    assert clip_frames(b"GIF89a", 4, 8)[0] is None
    assert clip_frames(b"", 4, 8)[1] == "decode:empty"


def test_members_are_frames_in_order_of_their_ordinal_cropped_and_flipped_alike(tmp_path):
    members = [("frame", f"{at}.png", png((40 * at, 0, 0), (90, 60))) for at in range(6)]
    wish = FramesWish(32, 3, crop=True, flip=True)
    found = population(tmp_path, {"clip": members, "gif": [("image", "gif", gif([0.1] * 3))]}, wish)
    clip, animated = found.read(np.array([0, 1]), 0, 0).media("clip")
    assert clip.shape == animated.shape == (3, 32, 32, 3)
    assert clip[:, 5, 5, 0].tolist() == [40, 120, 200]
    slope = np.tile(np.linspace(0, 255, 90).astype(np.uint8)[:, None], (60, 1, 3))
    stream = io.BytesIO()
    Image.fromarray(slope).save(stream, "PNG")
    same = population(tmp_path / "same", {"k": [("frame", f"{at}.png", stream.getvalue()) for at in range(4)]}, wish)
    one = same.read(np.array([0]), 0, 0).media("clip")[0]
    assert (one == one[0]).all()


def tone(form: str, rate: int = 44_100, seconds: float = 0.5, channels: int = 2) -> bytes:
    """440 Hz on every channel."""
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    stream = io.BytesIO()
    soundfile.write(stream, np.stack([samples] * channels, axis=1), rate, format=form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["WAV", "OGG", "FLAC"])
def test_sound_is_mono_at_the_rate_asked_for(form):
    samples, error = sound(tone(form), 16_000, 10)
    assert error is None
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(8000, abs=2)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=3)
    assert np.abs(samples[1000:7000]).max() == pytest.approx(0.5, abs=0.03)


def test_sound_is_cut_to_the_seconds_asked_for_and_channels_are_averaged():
    assert len(sound(tone("WAV"), 16_000, 0.25)[0]) == 4000
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.array([[16384, 0]] * 100, "<i2").tobytes())
    assert sound(stream.getvalue(), 16_000, 10)[0] == pytest.approx(np.full(100, 0.25), abs=1e-4)


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"not a sound at all" * 9, "not_sound")])
def test_what_is_no_sound_is_a_reason(data, reason):
    assert sound(data, 16_000, 10) == (None, f"decode:{reason}")


def test_examples_hear_their_sound_and_drop_what_is_none(tmp_path):
    media = {f"k{at}": [("audio", "wav", tone("WAV", channels=1))] for at in range(30)}
    media["bad"] = [("audio", "ogg", tone("OGG")[:20])]
    opened = population(tmp_path, media, AudioWish(8000, 0.1))
    found = opened.read(opened.numbers, 0, 0)
    assert [len(samples) for samples in found.media("clip")] == [800] * 30
    assert opened.failures.named[0][0] == "bad"
