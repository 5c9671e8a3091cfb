"""Hallucination on scenes: a captioner that knows, one that adds, one that says nothing, one that assents to all."""

from __future__ import annotations

from typing import Any

import pytest
from knowing import pictures_by_bytes
from speaking import Says, Speaker, Weigher
from things import NAMES, scenes_datasets

from pairwright.components.component import Measured, Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError, ModelError
from pairwright.components.evaluate.benchmarks.hallucination import Hallucination, HallucinationSettings

ALL = " and ".join(NAMES["-dev"])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenes_datasets(tmp_path_factory.mktemp("scenes"), 6, 60)[1]


@pytest.fixture(scope="module")
def rows(scenes: Dataset) -> dict[bytes, dict[str, Any]]:
    return pictures_by_bytes(scenes)


def measured(scenes: Dataset, model: Any, **wish: Any) -> Measured:
    return Hallucination(HallucinationSettings.parse(wish, "test")).measure(model, scenes)


def found(scenes: Dataset, rows: dict[bytes, dict[str, Any]], says: Says, **wish: Any) -> dict[str, Metric]:
    return {metric.name: metric for metric in measured(scenes, Speaker(rows, says), **wish).metrics}


def things(row: dict[str, Any]) -> list[str]:
    return sorted({region["label"] for region in row["regions"]})


def test_the_truth_has_no_hallucination_though_it_says_plurals_and_colours(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    made = found(scenes, rows, lambda row, led: row["texts"]["alt"])
    assert made["chair_i"].value == made["chair_s"].value == made["empty"].value == 0
    assert made["recall"].value == 1
    assert made["named"].value == 2
    for way in ("random", "popular", "adversarial"):
        assert made[f"pope_{way}_accuracy"].value == made[f"pope_{way}_f1"].value == 1
        assert made[f"pope_{way}_yes"].value == 0.5


def test_chair_counts_what_was_added_and_false_captions_are_found_out(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    def adding(row: dict[str, Any], led: str | None) -> str:
        absent = row["graph"]["absent"]
        return f"{row['texts']['alt']} beside a {absent[0]}" if row["group"] < "dev-000005" else row["texts"]["alt"]

    made = found(scenes, rows, adding)
    assert made["chair_s"].value == pytest.approx(0.5)
    assert made["chair_i"].value == pytest.approx(30 / 150)
    assert made["chair_s"].low < made["chair_s"].value < made["chair_s"].high
    assert not made["chair_s"].higher_is_better
    negative = found(scenes, rows, lambda row, led: next(
        one["text"] for one in row["captions"] if (one["producer"] or "").endswith("replace_object")
    ))  # fmt: skip
    assert negative["chair_s"].value > 0.9


def test_who_says_nothing_is_not_rewarded_and_who_names_nothing_has_no_chair_i(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    silent = found(scenes, rows, lambda row, led: None)
    assert silent["chair_i"].value == silent["chair_s"].value == silent["empty"].value == 1
    assert silent["recall"].value == 0
    vague = found(scenes, rows, lambda row, led: "a nice picture")
    assert "chair_i" not in vague, "a share of nothing is no figure"
    assert vague["named"].value == vague["recall"].value == vague["pope_random_f1"].value == 0
    assert vague["pope_random_accuracy"].value == 0.5


def test_who_names_everything_assents_to_all(scenes: Dataset, rows: dict[bytes, dict[str, Any]]) -> None:
    made = found(scenes, rows, lambda row, led: ALL)
    assert made["recall"].value == 1
    assert made["chair_s"].value == 1
    assert made["chair_i"].value == pytest.approx(1 - 2 / len(NAMES["-dev"]))
    for way in ("random", "popular", "adversarial"):
        assert made[f"pope_{way}_yes"].value == 1
        assert made[f"pope_{way}_accuracy"].value == 0.5


def test_who_guesses_what_is_popular_fares_worst_by_popular_probes(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    often = sorted(NAMES["-dev"], key=lambda name: -sum(name in things(row) for row in rows.values()))[:3]
    made = found(scenes, rows, lambda row, led: " and ".join([*things(row), *often]))
    assert made["pope_popular_accuracy"].value < made["pope_random_accuracy"].value


def test_items_of_probes_have_groups_of_their_own_and_average_to_the_figure(
    scenes: Dataset, rows: dict[bytes, dict[str, Any]]
) -> None:
    made = measured(scenes, Speaker(rows, lambda row, led: f"a {things(row)[0]} and a viper"), probes=2)
    metrics = {metric.name: metric for metric in made.metrics}
    for name in ("chair_i", "chair_s", "recall", "pope_random_accuracy", "pope_adversarial_yes"):
        assert made.items[name].mean() == pytest.approx(metrics[name].value, abs=1e-6)
    assert len(made.items["pope_random_accuracy"]) == len(made.items["pope_random_accuracy.groups"]) == 60 * 4


def test_a_likelihood_answers_where_there_is_one(scenes: Dataset, rows: dict[bytes, dict[str, Any]]) -> None:
    def cost(row: dict[str, Any], text: str) -> float:
        name = text.removeprefix("a ")
        return 5.0 + len(name) - 3.0 * (name in things(row))

    made = {m.name: m for m in measured(scenes, Weigher(rows, cost), answers="likelihood", others=60).metrics}
    assert made["pope_random_accuracy"].value == made["pope_adversarial_accuracy"].value == 1
    assert "likelier of this picture than of 60 others" in made["pope_random_accuracy"].definition
    blind = {
        m.name: m for m in measured(scenes, Weigher(rows, lambda row, text: len(text)), answers="likelihood").metrics
    }
    assert blind["pope_random_accuracy"].value == 0.5, "what is as likely of all pictures is no yes"
    with pytest.raises(ModelError, match="has no likelihoods"):
        found(scenes, rows, lambda row, led: "a dog", answers="likelihood")


def test_synonyms_name_things(scenes: Dataset, rows: dict[bytes, dict[str, Any]]) -> None:
    said = {"says": lambda row, led: "a wild dog"}
    assert found(scenes, rows, **said)["named"].value == 0
    assert found(scenes, rows, **said, synonyms={"wolf": ["wild dog"]})["named"].value == 1


def test_pictures_without_regions_are_refused(tmp_path: Any) -> None:
    from shapes import shapes_dataset

    shapes = shapes_dataset(tmp_path, 4, 1)

    class Same(Speaker):
        def caption(self, images: Any, texts: Any = None) -> list[Any]:
            return ["a dog"] * len(images)

    with pytest.raises(DatasetError, match="no picture with regions"):
        measured(shapes, Same({}, lambda row, led: ""))
