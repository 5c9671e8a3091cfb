"""Turns: a small request waits for no large one, what nobody waits for is not done, and nothing is learnt."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("bentoml")

from pairwright.serving import turns as turns_module
from pairwright.serving.limits import MAX_BULK, Refusal
from pairwright.serving.turns import Turns

pytestmark = pytest.mark.platform


class Model:
    """Doubles numbers; each batch takes `seconds`, and can be held."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.batches = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, items):
        self.batches.append(items)
        self.free.wait(10)
        time.sleep(self.seconds)
        if "bad" in items:
            raise ValueError("a bad batch")
        return [2 * item for item in items]


def test_results_come_in_order_and_requests_share_batches():
    model = Model()

    async def ask():
        turns = Turns("t", model, most_items=8)
        return await asyncio.gather(*(turns.ask(list(range(n, n + 3))) for n in range(8)))

    assert asyncio.run(ask()) == [[2 * n, 2 * n + 2, 2 * n + 4] for n in range(8)]
    assert [len(batch) for batch in model.batches] == [8, 8, 8]


def test_a_small_request_shares_the_next_batch_of_a_large_one():
    model = Model(0.02)

    async def ask():
        turns = Turns("t", model, most_items=4)
        large = asyncio.ensure_future(turns.ask(range(400)))
        await asyncio.sleep(0.03)
        before = len(model.batches)
        await turns.ask([1000])
        waited = len(model.batches) - before
        large.cancel()
        return waited

    assert asyncio.run(ask()) <= 2


def test_after_slow_batches_an_idle_request_is_answered_at_once():
    model = Model(0.3)

    async def ask():
        turns = Turns("t", model, most_items=4)
        await asyncio.gather(*(turns.ask([n]) for n in range(12)))
        model.seconds = 0
        started = time.perf_counter()
        await turns.ask([1])
        return time.perf_counter() - started

    assert asyncio.run(ask()) < 0.1


def test_what_nobody_waits_for_is_not_done_and_is_let_go_of():
    model = Model(0.01)

    async def ask():
        turns = Turns("t", model, most_items=4, bulk_above=10)
        large = asyncio.ensure_future(turns.ask(range(4000)))
        await asyncio.sleep(0.05)
        large.cancel()
        await asyncio.gather(large, return_exceptions=True)
        done = len(model.batches)
        await turns.ask([7])
        assert len(model.batches) <= done + 2
        assert not turns._waiting
        assert (turns._open, turns._bulks) == (0, 0)

    asyncio.run(ask())


def test_only_so_many_bulks_wait_and_small_requests_still_do():
    model = Model()
    model.free.clear()

    async def ask():
        turns = Turns("t", model, most_items=4, bulk_above=10)
        bulks = [asyncio.ensure_future(turns.ask(range(20))) for _ in range(MAX_BULK)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await turns.ask(range(20))
        assert refused.value.status == 429
        small = asyncio.ensure_future(turns.ask([1]))
        await asyncio.sleep(0)
        model.free.set()
        assert await small == [2]
        await asyncio.gather(*bulks)
        assert await turns.ask(range(20)) == list(range(0, 40, 2))

    asyncio.run(ask())


def test_while_one_waits_too_long_for_its_first_turn_others_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(turns_module, "MAX_WAIT_S", 0.05)
    model = Model()
    model.free.clear()

    async def ask():
        turns = Turns("t", model)
        waiting = [asyncio.ensure_future(turns.ask([n])) for n in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(Refusal, match="waiting"):
            await turns.ask([9])
        model.free.set()
        assert await asyncio.gather(*waiting) == [[0], [2], [4]]
        assert await turns.ask([9]) == [18]

    asyncio.run(ask())


def test_a_queue_that_is_full_refuses(monkeypatch):
    monkeypatch.setattr(turns_module, "MAX_WAITING", 3)
    model = Model()
    model.free.clear()

    async def ask():
        turns = Turns("t", model)
        waiting = [asyncio.ensure_future(turns.ask([n])) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal):
            await turns.ask([9])
        model.free.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())


def test_heavy_items_make_smaller_batches_and_none_is_too_heavy_alone():
    model = Model()

    async def ask():
        turns = Turns("t", model, most_items=8, weight=len, most_weight=10)
        await asyncio.gather(*(turns.ask([word]) for word in ("a" * 4, "b" * 4, "c" * 4, "d" * 40, "e")))

    asyncio.run(ask())
    assert [[len(item) for item in batch] for batch in model.batches] == [[4, 4], [4], [40], [1]]


def test_a_batch_that_fails_fails_its_requests_alone():
    model = Model()

    async def ask():
        turns = Turns("t", model, most_items=2)
        bad = asyncio.ensure_future(turns.ask(["bad"]))
        with pytest.raises(ValueError, match="a bad batch"):
            await bad
        assert await turns.ask([4]) == [8]
        assert await turns.ask([]) == []

    asyncio.run(ask())
