"""Refined captions fit their pictures better on the whole, and the original text is never lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapes import caption_text, shapes_dataset

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch, caption_of
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.recaption.captioners.complement import Complement, ComplementSettings
from pairwright.components.training.heads import fit_heads


def batch(originals: list[str | None], generated: list[str | None], scores: list[float | None]) -> PairBatch:
    sidecar: list[dict[str, Any]] = [
        {"captions": [] if text is None else [{"source": "alt", "lang": "en", "text": text}], "error": None}
        for text in originals
    ]
    keys = [str(i) for i in range(len(originals))]
    return PairBatch(
        np.arange(len(keys)), keys, sidecar, extra_captions={"made": generated}, columns={"align.score": list(scores)}
    )


def refined(pairs: PairBatch, **options: Any) -> list[Caption | None]:
    wish = ComplementSettings(generated="made", score="align.score", threshold=0.3, **options)
    return list(Complement(wish).caption(pairs))


def test_only_a_weak_caption_is_complemented_and_the_rest_stand_as_they_are() -> None:
    pairs = batch(
        ["a dog.", "a dog.", "a dog.", None, "A red bus", "a dog."],
        ["a brown cat", "a brown cat", "a brown cat", "a brown cat", "red bus", None],
        [0.1, 0.9, None, 0.1, 0.1, 0.1],
    )
    made = refined(pairs)
    assert [(one.text, one.note) for one in made if one] == [
        ("a dog. A brown cat", None),
        ("a dog.", "kept"),
        ("a dog.", "kept"),  # no score says nothing against it
        ("a brown cat", None),
        ("A red bus", "nothing_new"),
        ("a dog.", "nothing_new"),
    ]
    assert refined(pairs, join="replace")[0] == Caption("a brown cat")
    assert refined(batch([None], [None], [0.1])) == [None]
    assert refined(batch(["", " "], ["", "x"], [0.1, 0.1])) == [None, Caption("x")]


@pytest.mark.parametrize("seed", range(3))
def test_refined_captions_raise_the_mean_match_and_the_original_is_still_stored(tmp_path: Path, seed: int) -> None:
    """Half of the captions are another picture's; heads trained on other, clean shapes are the judge."""
    image_tower, text_tower = load_image_tower("builtin:tiny-image"), load_text_tower("builtin:tiny-text")
    clean, _ = _pictures_and_truths(shapes_dataset(tmp_path, 240, 1, name="clean", start=50_000))
    pictures, batches = _pictures_and_truths(shapes_dataset(tmp_path, 120, 1, name="noisy"))
    judge = fit_heads(
        image_tower.features(clean),
        text_tower.features([caption_text(50_000 + i) for i in range(240)]),
        dim=32,
        steps=150,
        batch_size=120,
        seed=seed,
    )
    truth = [caption_text(i) for i in range(120)]
    random = np.random.default_rng(seed)
    swapped = random.random(120) < 0.5
    said = [truth[(i + 41) % 120] if swapped[i] else truth[i] for i in range(120)]
    generated = [text if random.random() < 0.8 else truth[(i + 17) % 120] for i, text in enumerate(truth)]

    image = judge.image(image_tower.features(pictures))

    def match(texts: list[str]) -> np.ndarray:
        return (image * judge.text(text_tower.features(texts))).sum(-1).numpy()

    score = match(said)
    pairs = batch(said, generated, score.tolist())
    made = Complement(
        ComplementSettings(generated="made", score="align.score", threshold=float(np.quantile(score, 0.5)))
    ).caption(pairs)
    texts = [one.text for one in made if one]
    after = match(texts)
    changed = np.array([one is not None and one.note is None for one in made])
    assert 0.3 < changed.mean() <= 0.5
    assert after.mean() > score.mean() + 0.02
    assert after[changed].mean() > score[changed].mean()
    assert np.allclose(after[~changed], score[~changed], atol=1e-5)
    assert [caption_of(row["captions"], "alt") for row in pairs.sidecar] == said
    assert all(texts[i].startswith(said[i].rstrip(".")) for i in range(120))
    assert batches == truth


def _pictures_and_truths(dataset: Any) -> tuple[list[np.ndarray], list[str | None]]:
    """Decoded pictures of a dataset and their stored alt captions."""
    pictures: list[np.ndarray] = []
    captions: list[str | None] = []
    for shard in dataset.shards:
        for pairs in read_pairs(shard, pixels=32):
            pictures += [image for image in pairs.images if image is not None]
            captions += pairs.captions("alt")
    return pictures, captions
