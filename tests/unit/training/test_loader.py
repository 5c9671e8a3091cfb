"""The loader: the same batches for any threads and ranks, from any step, in order, and nothing left running."""

from __future__ import annotations

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch
from shapes import encoded

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.shard_population import ShardPopulation, open_population
from pairwright.components.dataset.examples.wish import ImageWish, Reads
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns, to_arrow
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ColumnError, DatasetError
from pairwright.components.training.loader import Loader
from pairwright.components.training.order import Order


def collate(examples):
    """What a task that draws for itself does."""
    noise = torch.from_numpy(examples.draw("noise", (2,)))
    images = torch.from_numpy(np.stack(examples.media("image")))
    return {"image": images, "noise": noise, "text": examples.texts("alt")}


def opened(dataset, reads=None) -> ShardPopulation:
    reads = reads or Reads(media={"image": ImageWish(24, crop=True, flip=True)}, texts=("alt",))
    return open_population(dataset.root, [shard.digest for shard in dataset.shards], "", {}, None, reads)


def batches(loader: Loader, first: int, steps: int):
    return list(loader.stream(first, steps))


def same(one, other) -> bool:
    return (
        one.keys == other.keys
        and one.epoch == other.epoch
        and torch.equal(one.numbers, other.numbers)
        and all(
            torch.equal(one[name], other[name]) if isinstance(one[name], torch.Tensor) else one[name] == other[name]
            for name in one.names
        )
    )


def test_batches_are_the_same_for_any_number_of_threads_and_from_any_step(shapes):
    population = opened(shapes(pairs=40, shards=4))
    order = Order(population.sizes, 8, seed=1)
    straight = batches(Loader(population, order, collate, seed=1, threads=1, ahead=1), 0, 15)
    assert [step for step, _ in straight] == list(range(15))
    for threads, first in ((1, 0), (2, 3), (4, 5), (4, 11)):
        resumed = batches(Loader(population, order, collate, seed=1, threads=threads), first, 15 - first)
        assert [step for step, _ in resumed] == list(range(first, 15))
        assert all(same(straight[step][1], batch) for step, batch in resumed)
    another = batches(Loader(population, order, collate, seed=2, threads=1), 0, 1)
    assert not torch.equal(another[0][1]["image"], straight[0][1]["image"])


def test_the_ranks_share_a_joint_batch(shapes):
    population = opened(shapes(pairs=40, shards=4))
    order = Order(population.sizes, 8, seed=1)
    joint = batches(Loader(population, order, collate, seed=1), 0, 10)
    for ranks in (2, 4):
        parts = [
            batches(Loader(population, order, collate, seed=1, rank=r, world_size=ranks), 0, 10) for r in range(ranks)
        ]
        for step, batch in joint:
            shares = [part[step][1] for part in parts]
            assert [key for share in shares for key in share.keys] == batch.keys
            assert torch.equal(torch.cat([share["image"] for share in shares]), batch["image"])
            assert torch.equal(torch.cat([share["noise"] for share in shares]), batch["noise"])


def test_batches_by_windows_are_the_same_for_any_threads(shapes):
    dataset = shapes(pairs=60, shards=10)
    reads = Reads(media={"image": ImageWish(24, crop=True)}, texts=("alt",))
    view = ColumnsView(dataset, ColumnStore(""), {})
    found = []
    for threads in (1, 4):
        population = ShardPopulation(view, [None] * 10, reads, memory=1)
        order = Order(population.sizes, 6, seed=1, window=12)
        found.append(batches(Loader(population, order, collate, seed=1, threads=threads), 0, 20))
    assert all(same(one, other) for (_, one), (_, other) in zip(*found, strict=True))
    assert len({key for _, batch in found[0][:10] for key in batch.keys}) == 60


@pytest.mark.slow
def test_memory_does_not_grow_with_the_population(tmp_path):
    """Three times the shards, each of the same size: the same memory at its peak, texts and features included."""

    def peak(shards: int) -> int:
        step = StepColumns("features", "f0")
        store = ColumnStore(str(tmp_path / "columns"))
        with ShardWriter(str(tmp_path / f"d{shards}"), f"d{shards}", pairs_per_shard=200) as writer:
            for number in range(shards * 200):
                writer.add(f"{number:06d}", captions=[caption(f"{number} " * 80)])
        dataset = writer.dataset
        for shard in dataset.shards:
            vectors = to_arrow(np.ones((200, 64), np.float16), pa.list_(pa.float16(), 64))
            store.write(step, shard.digest, {"vector": vectors}, 200)
        view = ColumnsView(dataset, store, {"f": step})
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        reads = Reads(texts=("alt",), columns=("f.vector",))
        population = ShardPopulation(view, [None] * shards, reads, memory=1 << 19, eager=0)
        assert population.window < 200 * shards / 2
        order = Order(population.sizes, 50, seed=0, window=population.window)
        loader = Loader(population, order, lambda e: {"x": e.column("f.vector"), "t": e.texts("alt")}, seed=0)
        most = 0
        for _ in loader.stream(0, order.steps_per_epoch):
            most = max(most, pa.total_allocated_bytes() - before)
        most += tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(8), peak(24)
    assert large < 1.25 * small


def test_a_batch_none_of_whose_examples_can_be_read_is_left_out_and_counted(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        for at in range(12):
            data = encoded(at)[:300] if at in (2, 3) else encoded(at)
            writer.add(f"k{at}", [("image", "image", "jpg", data)], [caption("x")])
    population = opened(writer.dataset)
    population.failures.budget = 0.5

    class InOrder(Order):
        def batch(self, step, rank=0, world_size=1):
            share = 2 // world_size
            return 0, np.arange(2 * step + rank * share, 2 * step + (rank + 1) * share)

    order = InOrder(population.sizes, 2, seed=0)
    loader = Loader(population, order, collate, seed=0)
    assert [step for step, _ in loader.stream(0, 6)] == [0, 2, 3, 4, 5]
    assert (loader.times.empty, loader.times.batches, loader.times.pairs) == (1, 5, 10)
    with pytest.raises(DatasetError, match="none of the 1 examples of rank 1 in step 1"):
        batches(Loader(population, order, collate, seed=0, rank=1, world_size=2), 0, 6)


def test_more_failures_than_the_budget_end_the_stream(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        for at in range(20):
            data = encoded(at)[:300] if at % 5 == 0 else encoded(at)
            writer.add(f"k{at}", [("image", "image", "jpg", data)], [caption("x")])
    population = opened(writer.dataset)
    with pytest.raises(DatasetError, match=r"beyond the budget of 5%: decode:truncated"):
        batches(Loader(population, Order(population.sizes, 5, seed=0), collate, seed=0), 0, 4)


def _threads() -> set[str]:
    return {t.name.split("_")[0] for t in threading.enumerate()} & {"loader", "decode", "hold"}


def test_what_collate_raises_reaches_the_caller_and_ends_the_threads():
    population = ArrayPopulation({"x": np.arange(12.0)})

    def fails(examples):
        if 7 in examples.numbers:
            raise ValueError("seven")
        return {"x": examples.column("x")}

    with pytest.raises(ValueError, match="seven"):
        batches(Loader(population, Order([12], 4, seed=0), fails, seed=0), 0, 30)
    assert not _threads()


def test_closing_the_stream_ends_the_threads_and_only_so_many_batches_are_made_ahead():
    population, made = ArrayPopulation({"x": np.arange(12.0)}), []

    def counted(examples):
        made.append(len(examples))
        return {"x": examples.column("x")}

    stream = Loader(population, Order([12], 4, seed=0), counted, seed=0, ahead=3, threads=2).stream(0, 1000)
    next(stream)
    time.sleep(0.1)
    assert _threads() >= {"loader"}
    assert len(made) <= 1 + 3
    stream.close()
    assert not _threads()


def test_torch_computes_by_one_thread_in_collate_and_as_before_elsewhere():
    population, own = ArrayPopulation({"x": np.arange(40.0)}), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = Loader(
            population, Order([40], 4, seed=0), lambda e: {"x": [torch.get_num_threads()] * len(e)}, seed=0, threads=3
        )
        stream = found.stream(0, 9)
        assert next(stream)[1]["x"][0] == 1
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
        assert {batch["x"][0] for _, batch in stream} == {1}
    finally:
        torch.set_num_threads(own)


def test_the_advice_names_the_slowest_part_only_where_training_waits():
    population = ArrayPopulation({"x": np.arange(40.0)})

    def slow(examples):
        time.sleep(0.02)
        return {"x": examples.column("x")}

    loader = Loader(population, Order([40], 4, seed=0), slow, seed=0, threads=1)
    batches(loader, 0, 5)
    assert "most of it to collate (1 threads, 4 batches ahead): raise threads and ahead" in loader.advice()
    assert loader.times.share_waited > 0.5
    assert 0 < loader.times.pairs_per_second < 400
    quick = Loader(population, Order([40], 4, seed=0), lambda examples: {"x": examples.column("x")}, seed=0)
    for _ in quick.stream(0, 10):
        time.sleep(0.01)  # what training takes
    assert quick.advice() == ""
    assert "pairs/s" in str(quick.times)


def test_an_array_population_gives_what_it_was_given():
    population = ArrayPopulation(
        {"x": np.eye(4, dtype=np.float64), "y": np.arange(4)},
        {"alt": ["a", "", "c", "d"]},
        groups=np.array([5, 5, 6, 7]),
        keys=["k0", "k1", "k2", "k3"],
        labels={"kind": ["u", None, "v", "w"]},
    )
    found = population.read(np.array([3, 1]), 0, 0)
    assert found.keys == ["k3", "k1"]
    assert found.texts("alt") == ["d", ""]
    assert found.labels("kind") == ["w", None]
    assert found.column("x").dtype == np.float32
    assert np.array_equal(found.column("x"), np.eye(4)[[3, 1]])
    assert found.column("y").tolist() == [3, 1]
    assert found.groups.tolist() == [7, 5]
    assert population.width("x") == 4
    with pytest.raises(ColumnError, match="holds no vectors"):
        population.width("y")
    with pytest.raises(ColumnError, match="lengths differ"):
        ArrayPopulation({"x": np.zeros(3)}, {"alt": ["a"]})


def test_features_in_memory_cost_little_a_batch():
    """256 x 1280 features under 2 ms of processor time a batch, over all threads; the best of several rounds."""
    population = ArrayPopulation({"x": np.ones((4096, 1280), np.float16)})
    order = Order([4096], 256, seed=0)
    best = 1.0
    for _ in range(5):
        loader = Loader(population, order, lambda examples: {"x": torch.from_numpy(examples.column("x"))}, seed=0)
        start = time.process_time()
        seen = sum(1 for _ in loader.stream(0, 32))
        best = min(best, (time.process_time() - start) / seen)
    assert best < 0.002
