"""PDQ equals its reference implementation, survives what it should and runs faster."""

import time

import cv2
import numpy as np
import pytest

from pairwright.components.dataset.media.pdq import NEAR, hamming, pdq_hash


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """A picture with structure at many scales: smoothed noise and a few shapes."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 255, np.uint8)
    for cells in (3, 7, 20):
        noise = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
        layer = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        image = cv2.addWeighted(image, 0.6, layer, 0.4, 0)
    for _ in range(4):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(image, centre, int(rng.integers(5, 60)), rng.integers(0, 256, 3).tolist(), -1)
    return image


@pytest.mark.parametrize(
    "size", [(224, 224), (224, 150), (130, 300), (512, 384), (336, 129), (1500, 1031), (701, 2048)]
)
def test_equals_the_reference_implementation(size: tuple[int, int]) -> None:
    pdqhash = pytest.importorskip("pdqhash")
    for seed in range(10):
        image = scene(seed, *size)
        bits, quality = pdq_hash(image)
        theirs, their_quality = pdqhash.compute(image)
        assert hamming(bits[None], np.packbits(theirs)[None])[0, 0] <= 2
        assert abs(quality - their_quality) <= 2


def test_resized_and_recompressed_is_near_and_another_picture_is_far() -> None:
    for seed in range(20):
        image = scene(seed, 360, 480)
        small = cv2.resize(image, (224, 168), interpolation=cv2.INTER_AREA)
        again = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        own, near, far = (pdq_hash(x)[0][None] for x in (image, again, scene(seed + 100, 360, 480)))
        assert hamming(own, near)[0, 0] <= NEAR
        assert hamming(own, far)[0, 0] > NEAR


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (3, 2, 3), (50, 50)])
def test_any_size_has_a_hash(shape: tuple[int, ...]) -> None:
    bits, quality = pdq_hash(np.full(shape, 200, np.uint8))
    assert bits.shape == (32,)
    assert quality == 0, "a featureless picture has no quality"


def test_hamming_counts_bits() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (5, 32), dtype=np.uint8), rng.integers(0, 256, (7, 32), dtype=np.uint8)
    expected = (np.unpackbits(a, axis=1)[:, None] != np.unpackbits(b, axis=1)[None]).sum(-1)
    np.testing.assert_array_equal(hamming(a, b), expected)
    assert hamming(a, a).diagonal().tolist() == [0] * 5


def test_faster_than_the_reference() -> None:
    pdqhash = pytest.importorskip("pdqhash")
    image = scene(3, 224, 224)

    def best(call) -> float:
        times = []
        for _ in range(30):
            start = time.perf_counter()
            call(image)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(pdq_hash) < best(pdqhash.compute)
