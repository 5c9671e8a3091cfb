"""The store keeps every answer and hands out the right pictures: shares, leases, repetitions, undo."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairwright.components.errors import WorkspaceError
from pairwright.components.preference import handing
from pairwright.components.preference.answers import BadAnswer
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.criteria import read_criteria
from pairwright.components.preference.handing import Desk
from pairwright.components.preference.items import Item
from pairwright.components.preference.store import STORE_VERSION, LabelStore

CRITERIA = read_criteria(None)


def items(count, captions=3, shard="s"):
    texts = tuple(Candidate(f"source{c}", f"caption {c}") for c in range(captions))
    return [Item(shard, n, "the same key", texts, "random" if n % 5 == 2 else "chosen", 0.5) for n in range(count)]


@pytest.fixture
def store(tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite")
    store.remember(CRITERIA)
    yield store
    store.close()


def ranked(serving, flip=False):
    """The captions in the item's own order, as positions on the page."""
    positions = sorted(range(len(serving.ordering)), key=lambda p: serving.ordering[p], reverse=flip)
    return {"rankings": {"preference": [[p] for p in positions]}}


def answer_next(desk, labeller, **options):
    serving = desk.open(labeller, 1)[0]
    return serving, desk.answer(serving.token, labeller, ranked(serving, **options), CRITERIA)[0]


def test_an_item_that_comes_again_as_random_counts_as_that_and_is_otherwise_the_same(store):
    store.add_items(items(2))
    before = store.items()
    assert [item.share for item in before] == ["chosen", "chosen"]
    again = replace(items(2)[1], share="random", candidates=(), key="another")
    assert store.add_items([items(2)[0], again]) == 0
    assert store.items() == [before[0], replace(before[1], share="random")]


def test_every_commit_waits_for_the_disk_and_the_file_is_in_wal_mode(store):
    assert store.read("PRAGMA synchronous")[0][0] == 2  # FULL
    assert store.read("PRAGMA journal_mode")[0][0] == "wal"


def test_events_can_neither_be_changed_nor_deleted(store):
    store.add_items(items(1))
    answer_next(Desk(store, ["s"]), "ann")
    for statement in ("UPDATE events SET labeller = 'eve'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only appended"), store.transaction() as db:
            db.execute(statement)
    assert [one.labeller for one in store.given()] == ["ann"]


def test_what_was_answered_is_there_when_the_file_is_opened_again(store):
    store.add_items(items(4))
    desk = Desk(store, ["s"])
    serving, event = answer_next(desk, "ann")
    again = LabelStore(store.path)
    (one,) = again.given()
    assert (one.event, one.labeller, one.item.id) == (event, "ann", serving.item.id)
    assert one.answer.tiers == {"preference": ((0,), (1,), (2,))}  # the page's order was translated back
    assert again.criteria_texts()[one.criteria] == CRITERIA.text
    assert again.add_items(items(4)) == 0
    again.close()


def test_a_token_answered_twice_is_kept_once(store):
    store.add_items(items(3))
    desk = Desk(store, ["s"])
    serving = desk.open("ann", 1)[0]
    first, _ = desk.answer(serving.token, "ann", ranked(serving), CRITERIA)
    second, _ = desk.answer(serving.token, "ann", ranked(serving), CRITERIA)
    assert first == second
    assert len(store.given()) == 1


def test_nobody_answers_for_another(store):
    store.add_items(items(3))
    desk = Desk(store, ["s"])
    serving = desk.open("ann", 1)[0]
    with pytest.raises(BadAnswer, match="bob was handed no such picture"):
        desk.answer(serving.token, "bob", ranked(serving), CRITERIA)


def test_labellers_get_different_pictures_but_for_the_overlap(store):
    store.add_items(items(60), overlap=0.25)
    desk = Desk(store, ["s"], repeat_share=0)
    wanted = {item.id: item.wanted for item in store.items()}
    assert 5 < sum(count == 2 for count in wanted.values()) < 25
    with ThreadPoolExecutor(3) as pool:  # three at once
        list(pool.map(lambda who: [answer_next(desk, who) for _ in range(20)], ("ann", "bob", "eve")))
    while any(desk.open(who, 1) for who in ("ann", "bob", "eve")):
        for who in ("ann", "bob", "eve"):
            if desk.open(who, 1):
                answer_next(desk, who)
    by_item: dict[int, set[str]] = {}
    for one in store.given():
        assert one.labeller not in by_item.setdefault(one.item.id, set())
        by_item[one.item.id].add(one.labeller)
    assert {item: len(who) for item, who in by_item.items()} == wanted


def test_a_reload_shows_the_same_pictures_in_the_same_order(store):
    store.add_items(items(10))
    desk = Desk(store, ["s"])
    before = desk.open("ann", 3)
    assert Desk(LabelStore(store.path), ["s"]).open("ann", 3) == before


def test_a_lease_that_ended_frees_the_picture_and_a_late_answer_still_counts(store, monkeypatch):
    monkeypatch.setattr(handing, "LEASE_SECONDS", -1.0)
    store.add_items(items(1), overlap=0)
    desk = Desk(store, ["s"])
    mine = desk.open("ann", 1)[0]
    theirs, _ = answer_next(desk, "bob")
    assert mine.item == theirs.item
    assert desk.open("ann", 1) == []  # bob has answered it
    desk.answer(mine.token, "ann", ranked(mine), CRITERIA)
    assert {one.labeller for one in store.given()} == {"ann", "bob"}


def test_while_a_lease_holds_nobody_else_gets_the_picture(store):
    store.add_items(items(1), overlap=0)
    desk = Desk(store, ["s"])
    assert desk.open("ann", 1)
    assert desk.open("bob", 1) == []


def test_repetitions_come_later_with_every_two_captions_swapped(store):
    store.add_items(items(60), overlap=0)
    desk = Desk(store, ["s"], repeat_share=0.2)
    shown = {}
    order = []
    while servings := desk.open("ann", 1):
        serving = servings[0]
        if serving.repeat:
            assert serving.ordering == shown[serving.item.id][::-1]
            assert order[-handing.REPEAT_AFTER :].count(serving.item.id) == 0
        else:
            shown[serving.item.id] = serving.ordering
        order.append(serving.item.id)
        desk.answer(serving.token, "ann", ranked(serving), CRITERIA)
    repeats = [one for one in store.given() if one.repeat]
    assert len({one.item.id for one in repeats}) == len(repeats)
    assert len(repeats) == pytest.approx(0.2 * 60, abs=1)
    assert desk.progress("ann") == {
        "answered": 60, "repeated": len(repeats), "skipped": 0, "left": 0, "items": 60, "items_answered": 60,
        "unreadable": 0,
    }  # fmt: skip


def test_undo_takes_the_last_one_back_and_shows_it_again_as_often_as_asked(store):
    store.add_items(items(5), overlap=0)
    desk = Desk(store, ["s"])
    seen = [answer_next(desk, "ann")[0] for _ in range(3)]
    assert desk.undo("bob") is None
    assert desk.undo("ann") is not None
    assert [one.item for one in store.given()] == [seen[0].item, seen[1].item]
    assert desk.undo("ann") is not None
    again = desk.open("ann", 2)
    assert [one.item for one in again] == [seen[1].item, seen[2].item]
    assert [one.ordering for one in again] == [seen[1].ordering, seen[2].ordering]
    desk.answer(again[0].token, "ann", ranked(again[0], flip=True), CRITERIA)
    assert store.given()[-1].answer.tiers["preference"] == ((2,), (1,), (0,))
    kinds = [row["kind"] for row in store.read("SELECT kind FROM events ORDER BY id")]
    assert kinds == ["answer"] * 3 + ["undo"] * 2 + ["answer"]


def test_a_skipped_picture_goes_to_somebody_else(store):
    store.add_items(items(1), overlap=0)
    desk = Desk(store, ["s"])
    serving = desk.open("ann", 1)[0]
    desk.answer(serving.token, "ann", {"skip": True}, CRITERIA)
    assert desk.open("ann", 1) == []
    assert store.given() == []
    assert desk.open("bob", 1)[0].item == serving.item


def test_pictures_of_another_dataset_in_the_file_are_not_handed_out(store):
    store.add_items([*items(2, shard="here"), *items(2, shard="elsewhere")], overlap=0)
    desk = Desk(store, ["here"])
    assert {one.item.shard for one in desk.open("ann", 9)} == {"here"}
    assert desk.progress("ann")["left"] == 2


ACTS = ["answer", "answer", "skip", "undo", "unreadable"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(ACTS)), max_size=25))
def test_a_denominator_does_not_move_while_labelling(tmp_path_factory, acts):
    store = LabelStore(tmp_path_factory.mktemp("share") / "labels.sqlite")
    store.add_items([*items(12, shard="here"), *items(3, shard="elsewhere")], overlap=0.3)
    desk, before = Desk(store, ["here"], repeat_share=0.2), 0
    for who, act in acts:
        if act == "undo":
            desk.undo(who)
        elif servings := desk.open(who, 2):
            if act == "unreadable":
                desk.set_aside(servings[0].item.id)
            else:
                said = {"skip": True} if act == "skip" else ranked(servings[0])
                desk.answer(servings[0].token, who, said, CRITERIA)
        for one in "abc":
            progress = desk.progress(one)
            assert progress["items"] == 12
            assert 0 <= progress["items_answered"] <= 12
        if act != "undo":
            assert progress["items_answered"] >= before, "and the share only grows, but for what is taken back"
        before = progress["items_answered"]
    store.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["answer", "answer", "skip", "undo"])), max_size=25))
def test_what_counts_is_what_was_answered_less_what_was_undone(tmp_path_factory, acts):
    """Against a model of two stacks, whatever the two do in whatever order."""
    store = LabelStore(tmp_path_factory.mktemp("store") / "labels.sqlite")
    store.add_items(items(12), overlap=0.5)
    desk = Desk(store, ["s"], repeat_share=0.2)
    stacks: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    for who, act in acts:
        if act == "undo":
            undone = desk.undo(who)
            assert (undone is None) == (not stacks[who])
            if stacks[who]:
                stacks[who].pop()
        elif servings := desk.open(who, 2):
            said = {"skip": True} if act == "skip" else ranked(servings[0])
            desk.answer(servings[0].token, who, said, CRITERIA)
            stacks[who].append((act, servings[0].item.id))
    for who, stack in stacks.items():
        counted = [one.item.id for one in store.given() if one.labeller == who]
        assert counted == [item for act, item in stack if act == "answer"]
    for item in store.items():
        first = {one.labeller for one in store.given() if one.item.id == item.id and not one.repeat}
        assert len(first) <= item.wanted
    store.close()


def test_a_file_that_is_no_store_or_a_newer_ones_is_refused(tmp_path):
    (tmp_path / "text.sqlite").write_text("these are not labels, but they are long enough to be read as a file" * 20)
    with pytest.raises(WorkspaceError, match="cannot be opened as a label store"):
        LabelStore(tmp_path / "text.sqlite")
    LabelStore(tmp_path / "new.sqlite").close()
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        db.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    with pytest.raises(WorkspaceError, match="newer release"):
        LabelStore(tmp_path / "new.sqlite")
