"""SugarCrepe++: chance, oracle and a constant scorer, its rules on planted vectors, and the public sets' layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from knowing import Knowing, facts_of, pictures_by_bytes, vector_of
from shapes import encoded
from things import scenes_datasets

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.facts import facts_of as data_facts
from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.benchmarks.sugarcrepe_pp import SugarCrepePP, SugarCrepePPSettings, compared

RULES = ("itt", "tot", "p1", "p2")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenes_datasets(tmp_path_factory.mktemp("scenes"), 6, 300, counting=0.4)[1]


def values(model: Any, dataset: Dataset, **wish: Any) -> dict[str, float]:
    measured = SugarCrepePP(SugarCrepePPSettings(**wish)).measure(model, dataset)
    for metric in measured.metrics:
        assert metric.low <= metric.value <= metric.high
        assert metric.n == len(measured.items[metric.name]) == len(measured.items[f"{metric.name}.groups"])
        assert np.isclose(measured.items[metric.name].mean(), metric.value)
    return {metric.name: metric.value for metric in measured.metrics}


def mean(found: dict[str, float], rule: str) -> float:
    return float(np.mean([value for name, value in found.items() if name.endswith(f"_{rule}")]))


def test_an_oracle_hits_every_rule_of_every_kind(scenes: Dataset) -> None:
    rows = pictures_by_bytes(scenes)
    oracle = Knowing(lambda p: vector_of(facts_of(rows[p.tobytes()]["texts"]["alt"])), lambda t: vector_of(facts_of(t)))
    found = values(oracle, scenes)
    assert len(found) == 4 * 6
    assert set(found.values()) == {1.0}


def test_a_scorer_that_says_the_same_of_all_never_hits(scenes: Dataset) -> None:
    same = torch.ones(64)
    assert set(values(Knowing(lambda p: same, lambda t: same), scenes).values()) == {0.0}


def test_a_scorer_at_random_hits_once_in_three_and_once_in_two(scenes: Dataset) -> None:
    """Over kinds: some 1,600 triplets, of which those of one scene share its picture and its right captions."""
    found = values(Knowing(lambda p: vector_of(p.tobytes()), vector_of), scenes)
    for rule, chance in (("itt", 1 / 3), ("tot", 1 / 3), ("p1", 1 / 2), ("p2", 1 / 2)):
        assert abs(mean(found, rule) - chance) < 0.07, rule


def test_scores_drawn_at_random_are_at_chance_to_a_hundredth() -> None:
    draw = np.random.default_rng(0)
    drawn = draw.normal(size=(4, 40_000, 48))
    image, p1, p2, n = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    hits = {rule: hit.mean() for rule, hit in compared(image, p1, n, p2).items()}
    assert hits == pytest.approx({"itt": 1 / 3, "tot": 1 / 3, "p1": 1 / 2, "p2": 1 / 2}, abs=0.01)


def test_itt_is_at_most_either_accuracy_and_the_right_captions_may_change_places() -> None:
    draw = np.random.default_rng(1)
    drawn = draw.normal(size=(4, 300, 5))
    image, p1, p2, n = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    one, other = compared(image, p1, n, p2), compared(image, p2, n, p1)
    assert np.array_equal(one["itt"], one["p1"] & one["p2"])
    for rule in ("itt", "tot"):
        assert np.array_equal(one[rule], other[rule])
    assert np.array_equal(one["p1"], other["p2"])


def unit(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


@pytest.mark.parametrize(
    ("degrees", "hits"),
    [
        ((0, 10, 20, 40), {"itt": True, "tot": True, "p1": True, "p2": True}),
        ((0, 10, 50, 40), {"itt": False, "tot": False, "p1": True, "p2": False}),  # P2 is nearer to N than to P1
        ((0, 10, -30, 40), {"itt": True, "tot": False, "p1": True, "p2": True}),  # P1 is nearer to N
        ((0, 40, 20, 40), {"itt": False, "tot": False, "p1": False, "p2": True}),  # P1 is N: a tie
    ],
)
def test_each_rule_on_angles(degrees: tuple[float, ...], hits: dict[str, bool]) -> None:
    image, p1, p2, n = (unit(one) for one in degrees)
    assert {rule: bool(hit[0]) for rule, hit in compared(image, p1, n, p2).items()} == hits


def test_a_model_that_reads_words_without_their_order_fails_where_the_words_are_the_same(scenes: Dataset) -> None:
    rows = pictures_by_bytes(scenes)

    def bag(text: str) -> torch.Tensor:
        (a, how, b) = facts_of(text)
        return torch.stack([vector_of(word) for word in (*a, *b, how)]).sum(0)

    found = values(Knowing(lambda p: bag(rows[p.tobytes()]["texts"]["alt"]), bag), scenes)
    # "a left of b" and "a right of b" are the same facts in two orders, as `facts_of` puts them.
    assert found["swap_attribute_itt"] == found["swap_object_itt"] == found["replace_relation_itt"] == 0
    assert found["replace_object_itt"] == found["replace_attribute_itt"] == 1


# -- the public layouts ---------------------------------------------------------------------------


def plain(root: Path) -> Path:
    """SugarCrepe's own layout: numbers to entries, a file a kind."""
    (root / "data").mkdir()
    (root / "val2017").mkdir()
    for number in range(3):
        (root / "val2017" / f"{number:012d}.jpg").write_bytes(encoded(number))
    entries = {
        str(n): {"filename": f"{n:012d}.jpg", "caption": f"a cat {n}", "negative_caption": f"a dog {n}"}
        for n in range(4)
    }
    (root / "data" / "replace_obj.json").write_text(json.dumps(entries))
    return root / "data"


def test_sugarcrepes_layout_is_read_and_measured_by_the_first_caption_alone(tmp_path: Path) -> None:
    folder = plain(tmp_path)
    assert detect(str(folder)) == "sugarcrepe"
    dataset = ingest("sugarcrepe", str(folder), str(tmp_path / "out"))
    rows = dataset.shards[0].read_sidecar().to_pylist()
    assert [one["error"] for one in rows] == [None, None, None, "missing_file"]
    assert [(one["source"], one["text"]) for one in rows[1]["captions"]] == [
        ("alt", "a cat 1"),
        ("negative", "a dog 1"),
    ]
    knows = Knowing(lambda p: vector_of("cat"), lambda t: vector_of(t.split()[1]))
    assert values(knows, dataset, paraphrase=None) == {"replace_obj_p1": 1.0}
    with pytest.raises(InvalidRecipe, match='caption "paraphrase"'):
        SugarCrepePP(SugarCrepePPSettings()).check_data(data_facts(dataset))


def test_sugarcrepe_pps_layout_is_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(0))
    right = {"id": 7, "filename": "a.jpg", "caption": "a cat", "caption2": "one cat", "negative_caption": "a dog"}
    (tmp_path / "swap_object.json").write_text(json.dumps([right, {"filename": "../a.jpg", "caption": "x"}, 5]))
    dataset = ingest("sugarcrepe", str(tmp_path / "swap_object.json"), str(tmp_path / "out"))
    rows = dataset.shards[0].read_sidecar().to_pylist()
    assert [one["error"] for one in rows] == [None, "unsafe_path", "bad_entry:no filename"]
    assert [one["source"] for one in rows[0]["captions"]] == ["alt", "paraphrase", "negative"]
    assert json.loads(rows[0]["meta"])["id"] == 7
    knows = Knowing(lambda p: vector_of("cat"), lambda t: vector_of(t.split()[1]))
    assert values(knows, dataset) == {f"swap_object_{rule}": 1.0 for rule in RULES}


def test_what_is_no_such_layout_or_has_no_pictures_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(DatasetError, match="no JSON of SugarCrepe's layout"):
        ingest("sugarcrepe", str(tmp_path), str(tmp_path / "out"))
    entry = {"filename": "a.jpg", "caption": "a", "negative_caption": "b"}
    (tmp_path / "swap.json").write_text(json.dumps([entry]))
    with pytest.raises(DatasetError, match="name the pictures' folder with `images`"):
        ingest("sugarcrepe", str(tmp_path), str(tmp_path / "out"))
