"""Label Studio's JSON: out and in again, ties, rejections and flags kept; its own forms read; junk refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelling import answer_file, captioned_dataset, many_captions

from pairwright.components.errors import DatasetError
from pairwright.components.preference.answers import Answer
from pairwright.components.preference.criteria import read_criteria
from pairwright.components.preference.label_studio import labelling_config, read_annotated, tasks, write_tasks
from pairwright.components.preference.picture import Pictures
from pairwright.components.preference.pool import read_pool
from pairwright.components.preference.sampling import sample_items
from pairwright.components.preference.store import Annotated, LabelStore

CRITERIA = read_criteria(None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return captioned_dataset(tmp_path_factory.mktemp("studio"), many_captions(4))


def rows_of(dataset):
    return {shard.digest: shard.rows for shard in dataset.shards}


ANSWERS = st.one_of(
    st.just(Answer({}, picture="rejected", flags={})),
    st.builds(
        lambda order, cut, rejects, flags: Answer(
            {"preference": tuple(tuple(sorted(t)) for t in (order[:cut], order[cut : 3 - rejects]) if t)},
            tuple(sorted(order[3 - rejects :])),
            {"object": tuple(sorted(flags))} if flags else {},
            seconds=2.5,
        ),
        st.permutations(range(3)),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sets(st.integers(0, 2)),
    ).filter(lambda one: sum(map(len, one.tiers["preference"])) + len(one.rejected) == 3),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANSWERS, min_size=4, max_size=4))
def test_what_goes_out_comes_back_the_same(tmp_path_factory, dataset, answers):
    root = tmp_path_factory.mktemp("trip")
    items = sample_items(read_pool(dataset), 4)
    store = LabelStore(root / "labels.sqlite")
    store.take_in([Annotated(item, "ann", answer) for item, answer in zip(items, answers)], rows_of(dataset))
    exported = tasks(store.items(), store.given(), {})
    write_tasks(root, exported, labelling_config(CRITERIA, 3))
    found = read_annotated(root / "tasks.json")
    assert [(one.item.row, one.labeller, one.answer) for one in found] == [
        (given.item.row, "ann", given.answer) for given in store.given()
    ]
    other = LabelStore(root / "other.sqlite")
    assert other.take_in(found, rows_of(dataset)) == 4
    assert other.take_in(found, rows_of(dataset)) == 0  # a second import adds nothing
    assert [one.answer for one in other.given()] == [one.answer for one in store.given()]
    assert [one.item.share for one in other.given()] == [one.item.share for one in store.given()]
    store.close()
    other.close()


def test_tasks_hold_the_picture_and_the_configuration_names_every_bucket(dataset, tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite")
    store.add_items(sample_items(read_pool(dataset), 4))
    pictures = Pictures(dataset)
    jpegs = {item.id: pictures.jpeg(item.shard, item.row) for item in store.items()}
    (first, *_) = tasks(store.items(), [], jpegs)
    assert first["data"]["image"].startswith("data:image/jpeg;base64,/9j/")
    config = ElementTree.fromstring(labelling_config(CRITERIA, 3))
    (ranker,) = config.iter("Ranker")
    assert [bucket.get("name") for bucket in ranker] == ["first", "second", "third", "rejected"]
    assert ranker.get("toName") == "preference_captions" == next(config.iter("List")).get("name")


def task(results, captions=2, **more):
    listed = [{"id": f"c{n}", "body": f"text {n}", "source": f"s{n}"} for n in range(captions)]
    data = {"shard": "s", "row": 0, "key": "k", "captions": listed}
    return [{"data": data, "annotations": [{"completed_by": 7, "result": results, **more}]}]


def result(kind, value):
    return {"from_name": "preference", "to_name": "captions", "type": kind, "value": value}


@pytest.mark.parametrize(
    ("results", "tiers", "rejected"),
    [
        ([result("pairwise", {"selected": "right"})], ((1,), (0,)), ()),
        ([result("ranker", {"ranker": ["c1", "c0"]})], ((1,), (0,)), ()),
        ([result("ranker", {"ranker": {"rank": ["c1", "c0"]}})], ((1,), (0,)), ()),
        ([result("ranker", {"ranker": {"first": ["c1", "c0"], "_": []}})], ((0, 1),), ()),
        ([result("ranker", {"ranker": {"second": ["c1"], "rejected": ["c0"]}})], ((1,),), (0,)),
        ([result("ranker", {"ranker": {"first": ["c1"], "_": ["c0"]}})], ((1,), (0,)), ()),
    ],
)
def test_the_forms_label_studio_writes_are_read(tmp_path, results, tiers, rejected):
    (one,) = read_annotated(answer_file(tmp_path / "a.json", task(results)))
    assert (one.answer.tiers, one.answer.rejected) == ({"preference": tiers}, rejected)
    assert one.labeller == "label-studio-7"


def test_a_cancelled_or_empty_annotation_is_no_answer(tmp_path):
    cancelled = task([result("pairwise", {"selected": "left"})], was_cancelled=True)
    assert read_annotated(answer_file(tmp_path / "a.json", cancelled + task([]))) == []


@pytest.mark.parametrize(
    "junk",
    [
        {"not": "a list"},
        [{"data": {"image": "x.jpg"}, "annotations": []}],
        task([result("ranker", {"ranker": ["c1"]})]),
        task([result("ranker", {"ranker": ["c1", "c7"]})]),
        task([result("ranker", {"ranker": {"first": ["c0", "c0"]}})]),
        task([{"type": "ranker"}]),
    ],
)
def test_what_is_not_ours_is_refused_in_one_line(tmp_path, junk):
    with pytest.raises(DatasetError) as caught:
        read_annotated(answer_file(tmp_path / "a.json", junk))
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_another_dataset_are_not_taken_in(tmp_path, dataset):
    path = answer_file(tmp_path / "a.json", task([result("pairwise", {"selected": "left"})]))
    with pytest.raises(DatasetError, match="is in no shard"):
        LabelStore(tmp_path / "labels.sqlite").take_in(read_annotated(path), rows_of(dataset))
    assert json.loads(path.read_text())


def test_a_refused_import_leaves_neither_items_nor_answers_behind(tmp_path, dataset):
    first, second = sample_items(read_pool(dataset), 2)
    fine = Annotated(first, "ann", Answer({"preference": ((0,), (1,), (2,))}, flags={}))
    store = LabelStore(tmp_path / "labels.sqlite")
    fewer = replace(second, candidates=second.candidates[:2])
    for refused, why in (
        ([fine, replace(fine, item=second), replace(fine, item=fewer)], "has other captions"),
        ([fine, replace(fine, item=replace(second, share="test"))], 'is of share "test"'),
    ):
        with pytest.raises(DatasetError, match=why):
            store.take_in(refused, rows_of(dataset))
        assert (store.items(), store.given()) == ([], [])
    assert store.take_in([fine], rows_of(dataset)) == 1
    with pytest.raises(DatasetError, match="has other captions"):
        store.take_in([replace(fine, item=second), replace(fine, item=replace(first, candidates=()))], rows_of(dataset))
    assert len(store.items()) == 1
