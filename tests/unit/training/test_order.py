"""The order of examples: a pure function of (seed, epoch), the same keys for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.errors import InvalidRecipe
from pairwright.components.training.order import Order, order_of

SIZES = [7, 12, 0, 5, 9, 20, 11]  # 64 examples
WINDOWS = [1000, 20, 1]


def epoch_of(order: Order, epoch: int, ranks: int = 1) -> np.ndarray:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    parts = []
    for step in steps:
        for rank in range(ranks):
            found, numbers = order.batch(step, rank, ranks)
            assert found == epoch
            parts.append(numbers)
    return np.concatenate(parts)


@pytest.mark.parametrize("window", WINDOWS)
def test_an_epoch_holds_every_example_once_and_another_epoch_another_order(window):
    order = Order(SIZES, 8, seed=3, window=window)
    first, second = epoch_of(order, 0), epoch_of(order, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(64))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_of(Order(SIZES, 8, seed=4, window=window), 0))


@pytest.mark.parametrize("window", WINDOWS)
def test_the_joint_batch_is_the_same_for_any_number_of_ranks(window):
    order = Order(SIZES, 8, seed=3, window=window)
    assert all(np.array_equal(epoch_of(order, 2), epoch_of(order, 2, ranks)) for ranks in (1, 2, 4, 8))


@pytest.mark.parametrize("window", WINDOWS)
def test_a_batch_is_the_same_whatever_was_asked_before(window):
    straight = Order(SIZES, 8, seed=3, window=window)
    batches = {step: straight.batch(step)[1] for step in range(40)}
    asked = Order(SIZES, 8, seed=3, window=window)
    for step in np.random.default_rng(0).permutation(40).tolist():
        assert np.array_equal(asked.batch(step)[1], batches[step])
        assert np.array_equal(Order(SIZES, 8, seed=3, window=window).batch(step)[1], batches[step])


def test_who_changes_a_batch_changes_no_other():
    order = Order([64], 8, seed=3)
    before = order.batch(2)[1].copy()
    order.batch(2)[1][:] = 0
    assert np.array_equal(order.batch(2)[1], before)


def test_one_window_is_the_permutation_that_runs_so_far_were_trained_in():
    order = Order([64], 8, seed=5)
    for epoch in (0, 3):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([5, epoch])))
        assert np.array_equal(epoch_of(order, epoch), random.permutation(64))


def test_a_place_is_arithmetic():
    order = Order([30], 8, seed=0)
    assert order.steps_per_epoch == 3
    assert [order.place(step) for step in (0, 2, 3, 7)] == [(0, 0), (0, 16), (1, 0), (2, 8)]


@pytest.mark.parametrize("window", [20, 40, 100])
def test_a_window_is_mixed_of_its_own_shards_alone(window):
    """So that a reader holds few shards: those of a window have at most `window` examples, or are one shard."""
    sizes = [4] * 50
    order = Order(sizes, 8, seed=1, window=window)
    shards = epoch_of(order, 0) // 4
    for start in range(0, 200, window):
        assert len(set(shards[start : start + window].tolist())) == window // 4
    assert len(set(shards[:window].tolist()) & set(shards[window : 2 * window].tolist())) == 0


def test_windows_mix_other_shards_each_epoch():
    order = Order([4] * 50, 8, seed=1, window=20)
    windows = [set((epoch_of(order, epoch)[:20] // 4).tolist()) for epoch in range(4)]
    assert len({tuple(sorted(window)) for window in windows}) == 4


def test_the_shards_read_ahead_are_those_that_come_next_and_will_be_used():
    order = Order([4] * 50, 5, seed=1, window=20)
    for step in (0, 3, 17, 38, 39):
        epoch, position = order.place(step)
        at = (position + 4) // 20 + 1
        coming = order.numbers(epoch, at * 20, at * 20 + 20) if at < 10 else order.numbers(epoch + 1, 0, 20)
        assert set(order.shards_after(step, 1000)) == set((coming // 4).tolist())
    assert order.shards_after(1, end=4) == ()
    assert order.shards_after(1, end=5) != ()
    assert order.shards_after(38, end=40) == ()
    assert Order([4] * 50, 5, seed=1).shards_after(0, 1000) == ()


def test_a_batch_larger_than_the_data_becomes_all_that_divides_by_the_ranks():
    assert order_of([30], 256, 0).batch_size == 30
    assert order_of([30], 256, 0, world_size=4).batch_size == 28


def test_a_batch_that_does_not_divide_by_the_ranks_and_too_little_data_are_refused():
    with pytest.raises(InvalidRecipe, match="does not divide by 3"):
        order_of([30], 256, 0, world_size=3)
    with pytest.raises(InvalidRecipe, match="too few"):
        order_of([1], 256, 0)
    with pytest.raises(InvalidRecipe, match="too few"):
        order_of([3], 256, 0, world_size=4)


def test_distinct_batches_hold_each_example_once_and_no_two_of_a_group():
    groups = np.array([0] * 8 + [1] * 8 + [2] * 3 + list(range(10, 55)))
    order = order_of([64], 8, 0, distinct=groups)
    first, second = epoch_of(order, 0), epoch_of(order, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(64))
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        assert all(len(set(groups[batch].tolist())) == 8 for batch in epoch.reshape(8, 8))
    assert np.array_equal(first, epoch_of(order_of([64], 8, 0, distinct=groups), 0, ranks=4))


def test_a_group_too_large_for_distinct_batches_and_windows_are_refused():
    with pytest.raises(InvalidRecipe, match="9 examples are of one group"):
        order_of([64], 8, 0, distinct=np.array([0] * 9 + list(range(1, 56))))
    with pytest.raises(InvalidRecipe, match="raise the window"):
        order_of([32, 32], 8, 0, window=32, distinct=np.arange(64))


KINDS = np.array([0] * 24 + [1] * 10 + [2] * 30)  # of 64 examples


def test_batches_of_one_kind_never_mix_and_drop_less_than_a_batch_of_each():
    order = order_of([64], 8, 0, kinds=KINDS)
    assert order.steps_per_epoch == 3 + 1 + 3
    first, second = epoch_of(order, 0), epoch_of(order, 1)
    for epoch in (first, second):
        kinds = KINDS[epoch.reshape(-1, 8)]
        assert (kinds == kinds[:, :1]).all()
        assert sorted(kinds[:, 0].tolist()) == [0, 0, 0, 1, 2, 2, 2]
        assert len(set(epoch.tolist())) == 56
    assert not np.array_equal(first, second)
    turns = {tuple(KINDS[epoch_of(order, epoch)[::8]].tolist()) for epoch in range(6)}
    assert len(turns) > 3  # kinds take turns in another order each epoch
    seen = {number for epoch in range(12) for number in epoch_of(order, epoch).tolist()}
    assert len(seen) == 64  # what one epoch drops another has
    assert np.array_equal(first, epoch_of(order_of([64], 8, 0, kinds=KINDS), 0, ranks=4))


def test_batches_of_one_kind_hold_no_two_of_a_group_where_both_are_asked():
    groups = np.concatenate([[0] * 3, range(1, 22), range(30, 40), [50] * 3, range(51, 78)])
    order = order_of([64], 8, 3, kinds=KINDS, distinct=groups)
    for epoch in range(3):
        batches = epoch_of(order, epoch).reshape(-1, 8)
        assert all(len(set(groups[batch].tolist())) == 8 for batch in batches)
        assert all(len(set(KINDS[batch].tolist())) == 1 for batch in batches)


def test_a_kind_of_less_than_a_batch_and_one_too_full_of_a_group_are_refused():
    with pytest.raises(InvalidRecipe, match="10 examples are of one kind and a batch has 12"):
        order_of([64], 12, 0, kinds=KINDS)
    with pytest.raises(InvalidRecipe, match="2 examples are of one group and an epoch has 1 steps"):
        order_of([64], 8, 0, kinds=KINDS, distinct=np.array([*range(24), 99, 99, *range(30, 68)]))
    with pytest.raises(InvalidRecipe, match="raise the window"):
        order_of([32, 32], 8, 0, window=32, kinds=KINDS)
