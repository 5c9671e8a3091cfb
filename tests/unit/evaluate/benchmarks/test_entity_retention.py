"""Entity retention: what a caption keeps of the names and numbers of the text its picture came with."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from knowing import pictures_by_bytes
from PIL import Image
from speaking import Speaker

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.benchmarks.entity_retention import EntityRetention, EntityRetentionSettings

TEXTS = ("The Eiffel Tower in Paris, 1889", "a dog runs", "a ship named Titanic", "photo of the Queen of England")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    with ShardWriter(f"{tmp_path}/named", "named", licence="CC0-1.0") as writer:
        for number, text in enumerate(TEXTS):
            stream = io.BytesIO()
            Image.new("RGB", (64, 64), (40 * number, 90, 200)).save(stream, "PNG")
            writer.add(
                str(number), [("image", "image", "png", stream.getvalue())], [caption(text, lang="en")], meta=b"{}"
            )
    return writer.dataset


def found(data: Dataset, says: Any, **wish: Any) -> dict[str, Any]:
    model = Speaker(pictures_by_bytes(data), says)
    measured = EntityRetention(EntityRetentionSettings.parse(wish, "test")).measure(model, data)
    return {metric.name: metric for metric in measured.metrics}


def test_what_is_said_back_is_kept_and_what_is_cleaned_away_is_not(data: Dataset) -> None:
    kept = found(data, lambda row, led: f"a picture: {led}".lower(), told="alt")
    assert (kept["retained"].value, kept["all_retained"].value, kept["retained"].n) == (1, 1, 3)
    assert 'the picture and its "alt"' in kept["retained"].definition
    plain = found(data, lambda row, led: "a tower in a city" if led is None else "led")
    assert (plain["retained"].value, plain["all_retained"].value) == (0, 0)
    some = found(data, lambda row, led: "the eiffel tower and the titanic")
    assert some["retained"].value == pytest.approx(2 / 5)
    assert some["all_retained"].value == pytest.approx(1 / 3)
    silent = found(data, lambda row, led: float("nan"))
    assert (silent["retained"].value, silent["empty"].value) == (0, 1)


def test_texts_without_a_name_are_no_items_and_a_split_of_them_is_refused(data: Dataset, tmp_path: Path) -> None:
    from pairwright.components.dataset.facts import facts_of

    benchmark = EntityRetention(EntityRetentionSettings(source="nowhere"))
    with pytest.raises(DatasetError, match="a name or a number"):
        benchmark.measure(Speaker(pictures_by_bytes(data), lambda row, led: "x"), data)
    with pytest.raises(InvalidRecipe, match='caption "nowhere"'):
        benchmark.check_data(facts_of(data))
