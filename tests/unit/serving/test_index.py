"""The search index: exact is exact, approximate says truly how good it is, and damage is named."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tars import flip

from pairwright.components.errors import DataChanged, DatasetError
from pairwright.serving.index import SearchIndex, exact_search
from pairwright.serving.index_writing import build_index, recall_at_k

pytestmark = pytest.mark.platform


def unit_vectors(n, d, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def kept_of(dataset, keep=lambda key: True):
    rows = [
        {"shard": shard.digest, "row": row, "key": key}
        for shard, table in dataset.iter_sidecars(["key"])
        for row, key in enumerate(table["key"].to_pylist())
        if keep(key)
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("shard", pa.string()), ("row", pa.int32()), ("key", pa.string())])
    )


@pytest.fixture
def built(shapes, tmp_path):
    dataset = shapes(96, 3)
    vectors = unit_vectors(96, 16)
    about = build_index(dataset, kept_of(dataset), vectors, tmp_path / "index", model_digest="m" * 32)
    return dataset, vectors, tmp_path / "index", about


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_exact_search_equals_brute_force_across_blocks(monkeypatch, dtype):
    monkeypatch.setattr("pairwright.serving.index.BLOCK", 64)
    vectors, queries = unit_vectors(1000, 24).astype(dtype), unit_vectors(7, 24, seed=1)
    vectors[500:520] = vectors[3]  # ties, over the edge of a block
    hits = exact_search(vectors, queries, 25)
    scores = queries @ vectors.astype(np.float32).T
    expected = np.lexsort((np.broadcast_to(np.arange(1000), scores.shape), -scores), axis=1)[:, :25]
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, expected, 1), atol=1e-6)
    assert all(set(a) == set(b) for a, b in zip(hits.items[:, :5], expected[:, :5], strict=True))


def test_ties_go_to_the_first_item():
    vectors = np.repeat(unit_vectors(1, 8), 50, axis=0)
    assert exact_search(vectors, vectors[:1], 5).items.tolist() == [[0, 1, 2, 3, 4]]


def test_reported_recall_is_what_a_second_measurement_finds(shapes, tmp_path):
    dataset = shapes(96, 2, size=32)
    repeated = pa.concat_tables([kept_of(dataset)] * 30)  # 2,880 rows, each with a vector of its own
    vectors, texts = unit_vectors(len(repeated), 32), unit_vectors(100, 32, seed=9)
    about = build_index(dataset, repeated, vectors, tmp_path / "i", thumbnails=False, query_vectors=texts, seed=5)
    index = SearchIndex.load(tmp_path / "i")
    sample = np.sort(np.random.default_rng(5).choice(len(index), 256, replace=False))
    for kind, queries in (("picture", np.array(index.vectors[sample])), ("text", texts)):
        brute = np.sort(queries @ np.array(index.vectors).T, axis=1)[:, ::-1][:, :10]
        found = index.search(queries, 10).items
        scores = np.einsum("qd,qkd->qk", queries, np.array(index.vectors)[found])
        recall = (scores >= brute[:, -1:] - 1e-6).mean()
        assert about["approximate"]["recall_at_10_by_query"][kind] == pytest.approx(recall, abs=0.011)
    assert about["approximate"]["recall_at_10"] >= 0.9
    assert about["approximate"]["queries"] == {"picture": 256, "text": 100}


def test_recall_counts_what_was_missed():
    vectors = unit_vectors(100, 8)
    truth = exact_search(vectors, vectors[:4], 10)
    half = np.where(np.arange(10) % 2, -1, truth.items)
    assert recall_at_k(vectors, vectors[:4], half, truth) == 0.5
    assert recall_at_k(vectors, vectors[:4], truth.items, truth) == 1.0


def test_approximate_scores_are_the_exact_cosines(built):
    _, vectors, folder, _ = built
    index = SearchIndex.load(folder)
    near, exact = index.search(vectors[:8], 5), index.search(vectors[:8], 5, exact=True)
    np.testing.assert_allclose(near.scores, exact.scores, atol=1e-5)
    assert near.items[:, 0].tolist() == list(range(8))


def test_items_are_their_own_pairs_whatever_order_kept_is_in(shapes, tmp_path):
    dataset = shapes(48, 3)
    kept = kept_of(dataset, lambda key: int(key) % 3 != 1)
    vectors = unit_vectors(len(kept), 16)
    shuffled = np.random.default_rng(2).permutation(len(kept))
    captions = [f"new words for {key}" for key in kept["key"].take(pa.array(shuffled)).to_pylist()]
    build_index(dataset, kept.take(pa.array(shuffled)), vectors[shuffled], tmp_path / "i", captions=captions)
    index = SearchIndex.load(tmp_path / "i")
    for i, key in enumerate(kept["key"].to_pylist()):
        hit = int(index.search(vectors[i : i + 1], 1, exact=True).items[0, 0])
        item = index.item(hit)
        assert item["key"] == key
        assert item["caption"] == f"new words for {key}"
        assert item["licence"] == "CC0-1.0"
        assert item["captions"][0]["source"] == "alt"
        original = dataset.shard_by_digest(item["shard"]).read_member(item)
        assert Image.open(io.BytesIO(original)).size == (96, 96)


def test_thumbnails_need_no_dataset_and_are_small(shapes, tmp_path):
    dataset = shapes(12, 1, size=400)
    build_index(dataset, kept_of(dataset), unit_vectors(12, 8), tmp_path / "i")
    shutil.rmtree(dataset.root)
    index = SearchIndex.load(tmp_path / "i")
    for number in range(12):
        assert max(Image.open(io.BytesIO(index.thumbnail(number))).size) == 160
    with pytest.raises(IndexError):
        index.thumbnail(12)


def test_without_packed_thumbnails_they_come_from_the_shards(shapes, tmp_path):
    dataset = shapes(12, 1, size=200)
    build_index(dataset, kept_of(dataset), unit_vectors(12, 8), tmp_path / "i", thumbnails=False)
    assert max(Image.open(io.BytesIO(SearchIndex.load(tmp_path / "i").thumbnail(5))).size) == 160
    assert not (tmp_path / "i" / "thumbnails.bin").exists()


def test_a_picture_that_changed_is_neither_packed_nor_shown(shapes, tmp_path):
    dataset = shapes(12, 1, size=200)
    build_index(dataset, kept_of(dataset), unit_vectors(12, 8), tmp_path / "i", thumbnails=False)
    index = SearchIndex.load(tmp_path / "i")
    flip(Path(dataset.shards[0].tar), index.item(5)["offset"] + 40)
    with pytest.raises(DataChanged, match="changed since it was indexed"):
        index.thumbnail(5)
    with pytest.raises(DataChanged, match="changed since it was indexed"):
        build_index(dataset, kept_of(dataset), unit_vectors(12, 8), tmp_path / "j")


def test_facts_name_model_data_and_categories(built):
    dataset, _, folder, about = built
    assert json.loads((folder / "index.json").read_text()) == about
    assert (about["n"], about["d"]) == (96, 16)
    assert about["dataset_digest"] == dataset.digest
    assert about["categories"] == {"circle": 32, "square": 32, "triangle": 32}
    assert about["licences"] == {"CC0-1.0": 96}


def test_an_index_of_as_many_other_pairs_says_it_is_another(shapes, tmp_path):
    dataset = shapes(12, 1)
    kept, vectors = kept_of(dataset), unit_vectors(6, 8)
    one, other = (
        build_index(dataset, kept.slice(start, 6), vectors, tmp_path / str(start), thumbnails=False) for start in (0, 6)
    )
    assert one["items_digest"] != other["items_digest"]


def test_the_same_inputs_make_the_same_bytes(built, tmp_path):
    dataset, vectors, folder, _ = built
    build_index(dataset, kept_of(dataset), vectors, tmp_path / "again", model_digest="m" * 32)
    for file in sorted(p.name for p in folder.iterdir()):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes(), file


def test_fewer_items_than_asked_for(shapes, tmp_path):
    dataset = shapes(3, 1)
    vectors = unit_vectors(3, 8)
    build_index(dataset, kept_of(dataset), vectors, tmp_path / "i")
    index = SearchIndex.load(tmp_path / "i")
    assert index.search(vectors[:1], 10).items.shape == index.search(vectors[:1], 10, exact=True).items.shape == (1, 3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "index.json").unlink(), "not a search index"),
        (lambda f: (f / "index.json").write_text("{"), "damaged"),
        (lambda f: (f / "thumbnails.bin").write_bytes(b"x"), "cut short"),
        (lambda f: np.save(f / "vectors.npy", np.zeros((2, 16), np.float32)), "disagree"),
        (lambda f: (f / "index.json").write_text('{"index_version": 99}'), "newer release"),
    ],
)
def test_damage_is_one_line(built, damage, words):
    damage(built[2])
    with pytest.raises(DatasetError, match=words) as caught:
        SearchIndex.load(built[2])
    assert "\n" not in str(caught.value)


def test_wrong_vectors_are_refused_before_anything_is_written(shapes, tmp_path):
    dataset = shapes(12, 1)
    kept = kept_of(dataset)
    for vectors, words in [(unit_vectors(11, 8), "shape"), (3 * unit_vectors(12, 8), "unit norm")]:
        with pytest.raises(DatasetError, match=words):
            build_index(dataset, kept, vectors, tmp_path / "i")
    with pytest.raises(DatasetError, match="keeps no pair"):
        build_index(dataset, kept.slice(0, 0), unit_vectors(0, 8), tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_query_of_another_model_is_refused(built):
    with pytest.raises(DatasetError, match="16 wide"):
        SearchIndex.load(built[2]).search(unit_vectors(1, 8), 3)
