"""Captions: who says what people say is best, who says nothing or runs on is found out, no scorer judges its pupil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from knowing import pictures_by_bytes
from small_encoders import ours
from speaking import Says, Speaker
from things import scenes_datasets

from pairwright.components.caption_metrics.clip_score import clip_score, ref_clip_score
from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError, InvalidRecipe, ModelError
from pairwright.components.evaluate.benchmarks.captions import Captions, CaptionsSettings
from pairwright.components.models.resolve import resolve_model

WORDS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "meteor")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenes_datasets(tmp_path_factory.mktemp("scenes"), 6, 36)[1]


@pytest.fixture(scope="module")
def rows(scenes: Dataset) -> dict[bytes, dict[str, Any]]:
    return pictures_by_bytes(scenes)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "scorer"
    model = ours()
    with torch.no_grad():
        model.text_projection.map.weight.neg_()  # as it is drawn, no text is less than a right angle from a picture
    model.save(folder)
    return folder


def found(scenes: Dataset, rows: dict[bytes, dict[str, Any]], says: Says, **wish: Any) -> dict[str, Metric]:
    measured = Captions(CaptionsSettings.parse(wish, "test")).measure(Speaker(rows, says), scenes)
    assert set(measured.items) >= {metric.name for metric in measured.metrics}
    return {metric.name: metric for metric in measured.metrics}


def test_who_says_what_people_say_is_right_by_every_metric_and_another_wording_is_between(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    same = found(scenes, rows, lambda row, led: row["texts"]["alt"])
    other = found(scenes, rows, lambda row, led: row["texts"]["paraphrase"])
    wrong = found(scenes, rows, lambda row, led: "entirely unrelated babble")
    for name in WORDS:
        assert same[name].value > other[name].value > wrong[name].value - 1e-3, name
        assert same[name].low <= same[name].value <= same[name].high
        assert same[name].n == 36
    assert same["bleu_4"].value == pytest.approx(1, abs=1e-6)
    assert same["rouge_l"].value == pytest.approx(1)
    assert wrong["rouge_l"].value == wrong["cider_d"].value == wrong["meteor"].value == 0
    assert same["distinct_2"].value > wrong["distinct_2"].value
    assert wrong["distinct_2"].value == pytest.approx(2 / 72)
    assert "frequencies from this split" in same["cider_d"].definition
    assert "not METEOR 1.5" in same["meteor"].definition


def test_intervals_are_by_group_and_items_are_each_captions_own(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    half = Speaker(rows, lambda row, led: row["texts"]["alt"] if row["group"] < "dev-000003" else "babble")
    measured = Captions(CaptionsSettings()).measure(half, scenes)
    metrics = {metric.name: metric for metric in measured.metrics}
    groups = measured.items["groups"]
    assert len(set(groups)) == 6
    assert metrics["rouge_l"].value == pytest.approx(0.5)
    assert metrics["rouge_l"].low < 0.2, "six families of six scenes are six things, not thirty-six"
    for name in ("rouge_l", "cider_d", "meteor", "distinct_1", "distinct_2", "empty"):
        assert measured.items[name].mean() == pytest.approx(metrics[name].value, abs=1e-6)
    assert measured.items["bleu_1"][groups < "dev-000003"] == pytest.approx(1)


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "  ", "...", 3])
def test_a_caption_that_is_none_is_counted_and_never_right(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]], scorer: Path, nothing: Any
) -> None:
    made = found(scenes, rows, lambda row, led: nothing, scorer=resolve_model(str(scorer)), among=6)
    assert made.pop("empty").value == 1
    assert {name: metric.value for name, metric in made.items()} == dict.fromkeys(made, 0)


def test_who_runs_on_repeats_itself(scenes: Dataset, rows: dict[bytes, dict[str, Any]]) -> None:
    made = found(scenes, rows, lambda row, led: "a dog " * 20)
    assert made["repetition"].value > 0.9
    assert not made["repetition"].higher_is_better
    assert made["words"].value == 40
    assert found(scenes, rows, lambda row, led: row["texts"]["alt"])["repetition"].value < 0.1


def test_a_scorer_gives_hessels_scores_and_finds_pictures_among_others(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]], scorer: Path
) -> None:
    from pairwright.components.models.formats import load_model

    wish = {"scorer": resolve_model(str(scorer)), "among": 6}
    made = found(scenes, rows, lambda row, led: row["texts"]["paraphrase"], **wish)
    model = load_model(scorer, "dual_encoder")
    pictures = [np.frombuffer(pixels, np.uint8).reshape(128, 128, 3) for pixels in rows]
    image = model.encode_image(pictures).float().numpy()
    said, held = ([row["texts"][source] for row in rows.values()] for source in ("paraphrase", "alt"))
    text, reference = (model.encode_text(some).float().numpy() for some in (said, held))
    assert made["clip_score"].value == pytest.approx(clip_score(text, image).mean(), abs=1e-4)
    expected = ref_clip_score(text, image, [one[None] for one in reference]).mean()
    assert made["ref_clip_score"].value == pytest.approx(expected, abs=1e-4)
    assert made["ref_clip_score"].value > 0
    assert made["self_r1"].n == 36
    assert "highest of 6 of different groups, in 6 drawn bags" in made["self_r1"].definition
    assert wish["scorer"].weights[:12] in made["clip_score"].definition
    same = found(scenes, rows, lambda row, led: "a picture", **wish)
    assert same["self_r1"].value <= 1 / 6, "one caption for all finds one picture of a bag at most"


def test_a_figure_says_so_where_the_captioner_was_tuned_on_its_judge(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]], scorer: Path
) -> None:
    judge = resolve_model(str(scorer))
    benchmark = Captions(CaptionsSettings.parse({"scorer": judge, "among": 6}, "test"))
    for tuned, warned in (((judge.weights or "",), True), (("another",), False)):
        metrics = benchmark.evaluate(Speaker(rows, lambda row, led: "a dog", tuned_on=tuned), scenes)
        told = {metric.name: metric.definition for metric in metrics}
        for name in ("clip_score", "ref_clip_score", "self_r1"):
            assert ("NOT A JUDGEMENT" in told[name]) == warned
        assert "NOT A JUDGEMENT" not in told["cider_d"]


def test_a_split_without_references_and_a_captioner_that_loses_count_are_refused(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    from pairwright.components.dataset.facts import facts_of

    with pytest.raises(InvalidRecipe, match=r'no pair .* has a caption "altt"'):
        Captions(CaptionsSettings(source="altt")).check_data(facts_of(scenes))
    with pytest.raises(DatasetError, match='no picture with a caption "altt"'):
        Captions(CaptionsSettings(source="altt")).measure(Speaker(rows, lambda row, led: "a dog"), scenes)

    class Short(Speaker):
        def caption(self, images: Any, texts: Any = None) -> list[Any]:
            return super().caption(images, texts)[1:]

    with pytest.raises(ModelError, match="gave 35 captions of 36 pictures"):
        Captions(CaptionsSettings()).measure(Short(rows, lambda row, led: "a dog"), scenes)


def test_a_captioner_is_asked_once_for_all_benchmarks_of_its_folder(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    speaker = Speaker(rows, lambda row, led: "a dog")
    speaker.folder_digest = "once"
    for _ in range(2):
        Captions(CaptionsSettings()).measure(speaker, scenes)
    assert speaker.asked == 36
    speaker.folder_digest = None  # it may still learn
    Captions(CaptionsSettings()).measure(speaker, scenes)
    assert speaker.asked == 72
