"""Examples read from shards and columns."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from shapes import caption_text, encoded
from tars import make_tar, pair

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.block import read_block
from pairwright.components.dataset.examples.example import Examples, Region, Text
from pairwright.components.dataset.examples.held import Held
from pairwright.components.dataset.examples.shard_population import ShardPopulation, open_population
from pairwright.components.dataset.examples.wish import AudioWish, ImageWish, Reads
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns, to_arrow
from pairwright.components.dataset.shards.sidecar import caption, region
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ColumnError, DatasetError, NotFinite

WIDTH = 5
FEATURES = StepColumns("features", "f0")
WORDS = StepColumns("captioner", "c0")
STEPS = {"f": FEATURES, "words": WORDS}


@pytest.fixture
def columns(tmp_path):
    """Columns of a dataset: f.vector (row 0 of each shard has none), f.score, f.tags, words.text."""

    def make(dataset: Dataset) -> dict[str, np.ndarray]:
        store, vectors = ColumnStore(str(tmp_path / "columns")), {}
        for at, shard in enumerate(dataset.shards):
            found = np.random.default_rng(at).normal(size=(shard.rows, WIDTH)).astype(np.float32)
            vectors[shard.digest] = found
            kind = pa.list_(pa.float32(), WIDTH)
            vector = pa.array([None, *found[1:].tolist()], kind) if shard.rows > 1 else to_arrow(found, kind)
            score = pa.array(np.arange(shard.rows) / 10, pa.float32())
            tags = pa.array([[f"tag{row}"] for row in range(shard.rows)])
            store.write(FEATURES, shard.digest, {"vector": vector, "score": score, "tags": tags}, shard.rows)
            text = pa.array([None if row == 1 else f"machine {row}" for row in range(shard.rows)])
            store.write(WORDS, shard.digest, {"text": text}, shard.rows)
        return vectors

    return make


def opened(dataset: Dataset, tmp_path, reads: Reads, pairs=None, **options) -> ShardPopulation:
    digests = [shard.digest for shard in dataset.shards]
    path = None
    if pairs is not None:
        path = str(tmp_path / "pairs.parquet")
        table = {"shard": [digests[shard] for shard, _ in pairs], "row": [row for _, row in pairs]}
        pq.write_table(pa.table(table), path)
    return open_population(dataset.root, digests, str(tmp_path / "columns"), STEPS, path, reads, **options)


def in_windows(dataset: Dataset, tmp_path, reads: Reads, memory: int = 1, eager: int = 1 << 21) -> ShardPopulation:
    """Held shard by shard, as a population too large for memory is; with `eager` 0 judged when met."""
    view = ColumnsView(dataset, ColumnStore(str(tmp_path / "columns")), STEPS)
    return ShardPopulation(view, [None] * len(dataset.shards), reads, memory, eager=eager)


def everything(population: ShardPopulation, epoch: int = 0, seed: int = 0) -> Examples:
    return population.read(population.numbers, epoch, seed)


def test_numbers_are_places_among_the_usable_pairs_shard_by_shard(shapes, columns, tmp_path):
    dataset = shapes(pairs=12, shards=2)
    vectors = columns(dataset)
    population = opened(dataset, tmp_path, Reads(columns=("f.vector",), texts=("alt",)))
    assert (population.size, population.excluded, population.sizes.tolist()) == (10, 2, [5, 5])
    found = everything(population)
    assert found.numbers.tolist() == list(range(10))
    assert found.keys == [population.key(number) for number in range(10)]
    kept = np.concatenate([rows[1:] for rows in vectors.values()])
    assert np.array_equal(found.column("f.vector"), kept.astype(np.float16).astype(np.float32))
    assert found.texts("alt") == [caption_text(number) for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)]
    assert population.width("f.vector") == WIDTH


def test_only_the_pairs_listed_are_examples_in_canonical_order(shapes, columns, tmp_path):
    dataset = shapes(pairs=12, shards=2)
    columns(dataset)
    pairs = [(1, 4), (0, 3), (1, 2), (0, 2)]
    population = opened(dataset, tmp_path, Reads(columns=("f.score",)), pairs)
    assert everything(population).column("f.score") == pytest.approx([0.2, 0.3, 0.2, 0.4])
    with pytest.raises(DatasetError, match=r"names row 6 of 00001, which has 6 rows"):
        opened(dataset, tmp_path, Reads(), [(1, 6)])


@pytest.mark.parametrize("eager", [1 << 21, 0])
def test_examples_are_the_same_whether_all_is_held_or_a_shard_at_a_time(shapes, columns, tmp_path, eager):
    dataset = shapes(pairs=30, shards=5)
    columns(dataset)
    reads = Reads(
        media={"image": ImageWish(32, crop=True, flip=True)},
        texts=("alt", "words"),
        any_of=(("alt", "words"),),
        columns=("f.score", "f.tags"),
        labels=("colour",),
    )
    whole, parts = opened(dataset, tmp_path, reads), in_windows(dataset, tmp_path, reads, eager=eager)
    assert (whole.shards_held, parts.shards_held) == (5, 1)
    assert whole.size == parts.size == 30
    numbers = np.random.default_rng(0).permutation(30)[:20]
    one, other = whole.read(numbers, 3, 7), parts.read(numbers, 3, 7)
    assert one.keys == other.keys
    assert one.labels("colour") == other.labels("colour")
    assert [one.all_texts("words"), one.texts("alt")] == [other.all_texts("words"), other.texts("alt")]
    assert np.array_equal(one.groups, other.groups)
    assert np.array_equal(one.column("f.score"), other.column("f.score"))
    assert one.column("f.tags") == other.column("f.tags")
    assert all(np.array_equal(a, b) for a, b in zip(one.media("image"), other.media("image"), strict=True))
    assert np.array_equal(whole.groups(), parts.groups())


def test_what_is_no_example_is_left_out_when_met_where_nothing_was_judged_before(shapes, columns, tmp_path):
    dataset = shapes(pairs=12, shards=2)
    columns(dataset)
    population = in_windows(dataset, tmp_path, Reads(columns=("f.vector",)), eager=0)
    assert (population.size, population.excluded) == (12, 0)
    found = population.read(np.array([6, 8, 0, 1]), 0, 0)
    assert found.numbers.tolist() == [8, 1]
    assert population.excluded == 2
    assert len(population.read(np.array([0, 6]), 0, 0)) == 0


def test_an_optional_column_that_is_missing_is_nan_and_its_pair_an_example(shapes, columns, tmp_path):
    dataset = shapes(pairs=6, shards=1)
    columns(dataset)
    population = opened(dataset, tmp_path, Reads(columns=("f.vector",), optional=frozenset(["f.vector"])))
    assert population.size == 6
    found = everything(population)
    assert np.isnan(found.column("f.vector")).all(axis=1).tolist() == [True] + [False] * 5
    assert found.known("f.vector").tolist() == [False] + [True] * 5


def test_one_name_of_a_group_is_enough_whatever_its_kind(shapes, columns, tmp_path):
    dataset = shapes(pairs=6, shards=1)
    columns(dataset)
    either = Reads(columns=("f.vector",), texts=("words",), any_of=(("f.vector", "words"),))
    assert opened(dataset, tmp_path, either).size == 6
    assert opened(dataset, tmp_path, replace(either, any_of=())).size == 4


def test_a_vector_that_is_not_finite_ends_the_opening(shapes, tmp_path):
    dataset = shapes(pairs=2, shards=1)
    bad = to_arrow(np.array([[1, np.nan], [1, 2]], np.float32), pa.list_(pa.float32(), 2))
    ColumnStore(str(tmp_path / "columns")).write(FEATURES, dataset.shards[0].digest, {"vector": bad}, 2)
    with pytest.raises(NotFinite, match="make that step's columns again"):
        opened(dataset, tmp_path, Reads(columns=("f.vector",)))


def test_a_column_nobody_made_is_named_at_opening(shapes, columns, tmp_path):
    dataset = shapes(pairs=4, shards=1)
    columns(dataset)
    with pytest.raises(ColumnError, match=r'did you mean "vector"'):
        opened(dataset, tmp_path, Reads(columns=("f.vectors",)))
    with pytest.raises(ColumnError, match="names no step"):
        opened(dataset, tmp_path, Reads(columns=("g.vector",)))


@pytest.fixture
def described(tmp_path) -> Dataset:
    """Pairs with several texts, languages, labels and regions; the last has no picture."""
    captions = [
        caption("a cat", "alt", 0, "en"),
        caption("a cat asleep", "alt", 1, "en"),
        caption("eine Katze", "translation", 0, "de"),
        caption("un chat", "translation", 1, "fr"),
    ]
    with ShardWriter(str(tmp_path / "described"), "described") as writer:
        boxes = [region((0.25, 0.25, 0.5, 0.75), "cat", 0.9, 1, "person"), region((0, 0, 1, 1), "room")]
        writer.add(
            "full", [("image", "image", "png", encoded(0, form="PNG"))], captions, [("kind", "animal")], regions=boxes
        )
        writer.add("empty", [("image", "image", "png", encoded(1, form="PNG"))], [caption("")], regions=[])
        writer.add("bare", captions=[caption("no picture")])
    return writer.dataset


def test_texts_come_with_source_ordinal_and_language(described, tmp_path):
    reads = Reads(
        texts=("alt", "translation@de", "translation"), optional=frozenset(["alt", "translation@de", "translation"])
    )
    found = everything(opened(described, tmp_path, reads))
    assert found.all_texts("alt")[0] == [Text("a cat", "alt", 0, "en"), Text("a cat asleep", "alt", 1, "en")]
    assert found.all_texts("translation@de") == [[Text("eine Katze", "translation@de", 0, "de")], [], []]
    assert [text.lang for text in found.all_texts("translation")[0]] == ["de", "fr"]
    assert found.texts("alt") == ["a cat", "", "no picture"]


def test_an_empty_caption_is_none_and_one_of_several_sources_may_be_enough(described, tmp_path):
    assert everything(opened(described, tmp_path, Reads(texts=("alt",)))).keys == ["full", "bare"]
    both = Reads(texts=("alt", "translation"))
    assert everything(opened(described, tmp_path, both)).keys == ["full"]
    assert everything(opened(described, tmp_path, replace(both, any_of=(("alt", "translation"),)))).keys == [
        "full",
        "bare",
    ]


def test_a_pair_without_a_picture_is_an_example_where_none_is_asked_for(described, tmp_path):
    wish = {"image": ImageWish(32)}
    assert everything(opened(described, tmp_path, Reads(texts=("alt",)))).keys == ["full", "bare"]
    assert everything(opened(described, tmp_path, Reads(media=wish))).keys == ["full", "empty"]
    optional = everything(opened(described, tmp_path, Reads(media=wish, optional=frozenset(["image"]))))
    assert optional.media("image")[2] is None
    assert [set(example.media) for example in optional] == [{"image"}, {"image"}, set()]


def test_a_pair_its_webdataset_has_no_picture_for_is_an_example_of_texts_and_sounds(tmp_path):
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(800), 8000, format="OGG")
    members = [("a.ogg", stream.getvalue()), ("a.txt", b"silence"), ("b.txt", b"two"), *pair("c", 0)]
    make_tar(tmp_path / "in/00000.tar", members)
    dataset = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert everything(opened(dataset, tmp_path, Reads(texts=("alt",)))).keys == ["a", "b", "c"]
    assert everything(opened(dataset, tmp_path, Reads(media={"image": ImageWish(32)}))).keys == ["c"]
    heard = everything(opened(dataset, tmp_path, Reads(media={"speech": AudioWish(8000)}, texts=("alt",))))
    assert (heard.texts("alt"), [len(sound) for sound in heard.media("speech")]) == (["silence"], [800])


def test_a_pair_with_an_error_is_no_example(tmp_path):
    with ShardWriter(str(tmp_path / "w"), "w") as writer:
        writer.add("a", captions=[caption("one")])
        writer.add("b", captions=[caption("two")], error="truncated")
    assert everything(opened(writer.dataset, tmp_path, Reads(texts=("alt",)))).keys == ["a"]


def test_regions_and_labels_are_read(described, tmp_path):
    population = opened(described, tmp_path, Reads(regions=True, labels=("kind",)))
    assert (population.size, population.excluded) == (1, 2)
    example = everything(population)[0]
    assert example.regions == [
        Region((0.25, 0.25, 0.5, 0.75), "cat", pytest.approx(0.9), 1),
        Region((0.0, 0.0, 1.0, 1.0), "room", None, None),
    ]
    assert example.labels == {"kind": "animal"}


def test_regions_move_with_the_crop_and_the_flip(tmp_path):
    """A red square in a blue picture is red where its region says, whatever piece of the picture is seen."""
    square = Image.new("RGB", (200, 160), (0, 0, 255))
    square.paste((255, 0, 0), (60, 48, 120, 96))
    stream = io.BytesIO()
    square.save(stream, "PNG")
    with ShardWriter(str(tmp_path / "r"), "r") as writer:
        for at in range(24):
            boxes = [region((0.3, 0.3, 0.6, 0.6), "red")]
            writer.add(f"k{at}", [("image", "image", f"{at}.png", stream.getvalue())], regions=boxes)
    reads = Reads(media={"image": ImageWish(64, crop=True, flip=True)}, regions=True)
    found = everything(opened(writer.dataset, tmp_path, reads))
    assert len({seen.regions[0].box for seen in found}) == 24
    for example in found:
        x0, y0, x1, y1 = (round(value * 64) for value in example.regions[0].box)
        inside, outside = example.media["image"].astype(int), np.ones((64, 64), bool)
        outside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
        assert (inside[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2, 0] > 200).all()
        assert (inside[outside][:, 2] > 200).all()


def _corrupted(dataset: Dataset, rows: list[int]) -> Dataset:
    """The dataset with a byte flipped in the pictures of these rows."""
    shard = dataset.shards[0]
    media = shard.read_sidecar(["media"])["media"].to_pylist()
    with open(shard.tar, "r+b") as tar:
        for row in rows:
            tar.seek(media[row][0]["offset"] + 40)
            tar.write(b"\xff\x00")
    return dataset


def test_a_corrupt_member_is_dropped_and_counted_with_its_reason(shapes, columns, tmp_path):
    dataset = _corrupted(shapes(pairs=48, shards=1), [5, 20])
    population = opened(dataset, tmp_path, Reads(media={"image": ImageWish(32)}, texts=("alt",)))
    found = everything(population)
    assert found.numbers.tolist() == [number for number in range(48) if number not in (5, 20)]
    assert found.texts("alt") == [caption_text(number) for number in found.numbers]
    assert population.failures.failed == 2
    assert population.failures.reasons == {"read:changed": 2}
    assert population.failures.named == [(population.key(5), "read:changed"), (population.key(20), "read:changed")]


def test_more_corrupt_members_than_the_budget_end_the_run(shapes, tmp_path):
    dataset = _corrupted(shapes(pairs=48, shards=1), [5, 20, 30])
    population = opened(dataset, tmp_path, Reads(media={"image": ImageWish(32)}))
    population.read(np.arange(25), 0, 0)
    with pytest.raises(DatasetError, match=r"3 of 48 .* beyond the budget of 5%: read:changed \(3\); the first was"):
        population.read(np.arange(25, 48), 0, 0)
    tolerant = opened(dataset, tmp_path, Reads(media={"image": ImageWish(32)}), budget=0.1)
    assert len(everything(tolerant)) == 45


def test_a_picture_that_cannot_be_decoded_is_dropped_with_the_decoders_reason(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        for at in range(40):
            data = encoded(at) if at != 3 else encoded(at)[:400]
            writer.add(f"k{at}", [("image", "image", "jpg", data)], [caption("x")])
    population = opened(writer.dataset, tmp_path, Reads(media={"image": ImageWish(32)}))
    assert len(everything(population)) == 39
    assert population.failures.named == [("k3", "decode:truncated")]


def test_no_more_shards_are_held_than_memory_allows(shapes, columns, tmp_path):
    dataset = shapes(pairs=120, shards=20)
    columns(dataset)
    reads = Reads(texts=("alt",), columns=("f.vector",))
    each = read_block(in_windows(dataset, tmp_path, reads).view, dataset.shards[0], None, reads).nbytes
    population = in_windows(dataset, tmp_path, reads, memory=6 * each)
    assert 8 <= population.window <= 12  # a third of what fits: 2 shards of 5 or 6
    for start in range(0, population.size, 7):
        population.read(population.numbers[start : start + 7], 0, 0)
        assert population.shards_held <= 7


def test_joined_shards_give_the_same_examples_and_take_no_more_memory(shapes, columns, tmp_path):
    dataset = shapes(pairs=60, shards=10)
    columns(dataset)
    reads = Reads(
        media={"image": ImageWish(24, crop=True)},
        texts=("alt", "words"),
        columns=("f.score", "f.tags"),
        labels=("colour",),
    )
    whole = opened(dataset, tmp_path, reads)
    each = read_block(whole.view, dataset.shards[0], None, reads).nbytes
    parts = in_windows(dataset, tmp_path, reads, memory=7 * each)
    random = np.random.default_rng(0)
    for window in ((7, 2, 5), (3, 9, 0), (2, 3, 4)):
        parts.hold(window)
        numbers = random.permutation(whole.size)[:25]  # of joined shards, and of others
        one, other = whole.read(numbers, 1, 2), parts.read(numbers, 1, 2)
        assert one.keys == other.keys
        assert [one.all_texts("words"), one.labels("colour")] == [other.all_texts("words"), other.labels("colour")]
        assert np.array_equal(one.column("f.score"), other.column("f.score"))
        assert one.column("f.tags") == other.column("f.tags")
        assert all(np.array_equal(a, b) for a, b in zip(one.media("image"), other.media("image"), strict=True))
        assert parts._held.nbytes <= 7 * each


def test_a_shard_asked_for_by_many_threads_is_read_once(shapes, columns, tmp_path):
    dataset = shapes(pairs=20, shards=2)
    columns(dataset)
    read = []
    view = in_windows(dataset, tmp_path, Reads(texts=("alt",))).view

    def slowly(shard: int):
        read.append(shard)
        time.sleep(0.05)
        return read_block(view, dataset.shards[shard], None, Reads(texts=("alt",)))

    held = Held(slowly, 1 << 20)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(held.find, [0, 1] * 8))
    assert sorted(read) == [0, 1]
    assert {id(block) for block, _ in found} == {id(held.find(0)[0]), id(held.find(1)[0])}


def test_a_shard_that_cannot_be_read_fails_for_all_who_asked_and_is_read_anew():
    asked = []

    def fails(shard: int):
        asked.append(shard)
        raise ColumnError("gone")

    held = Held(fails, 1 << 20)
    for _ in range(2):
        with pytest.raises(ColumnError, match="gone"):
            held.find(3)
    assert (asked, len(held)) == ([3, 3], 0)
