"""What is labelled first: deterministic, a blind random share, uncertain and unlike the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling import captioned_dataset, many_captions

from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.errors import ColumnError, DatasetError
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.cheap_scores import cheap_scores, disagreement, near_margin
from pairwright.components.preference.coverage import caption_hashes, picture_features, unit, weighted_k_center
from pairwright.components.preference.items import CHOSEN, RANDOM, Item
from pairwright.components.preference.pool import Pool, feature_column, read_pool
from pairwright.components.preference.rewarded import add_rewards, feature_of_width
from pairwright.components.preference.sampling import blind_order, sample_items, uncertainties


@st.composite
def pools(draw):
    """Pools of 0 to 30 rows with 2 to 6 captions each, features and, in half of them, rewards."""
    rows = draw(st.integers(0, 30))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    counts = random.integers(2, 7, rows)
    pool = Pool(
        places=[(f"shard{n % 3}", n) for n in range(rows)],
        keys=["the same key"] * rows,
        candidates=[tuple(Candidate(f"s{c}", f"caption {n} {c}") for c in range(counts[n])) for n in range(rows)],
        features=unit(random.normal(size=(rows, 8)).astype(np.float32)),
    )
    if draw(st.booleans()):
        pool.rewards = [random.normal(size=count) for count in counts]
    return pool


@settings(max_examples=60, deadline=None)
@given(pools(), st.integers(1, 40), st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(2, 5), st.integers(0, 5))
def test_items_are_distinct_rows_of_the_pool_with_two_or_more_of_their_own_captions(pool, count, share, most, seed):
    items = sample_items(pool, count, random_share=share, most_candidates=most, seed=seed)
    assert len(items) == min(count, len(pool))
    assert len({(item.shard, item.row) for item in items}) == len(items)
    assert sum(item.share == RANDOM for item in items) == int(np.floor(len(items) * share + 0.5))
    for item in items:
        own = pool.candidates[pool.places.index((item.shard, item.row))]
        assert 2 <= len(item.candidates) == len(set(item.candidates)) <= most
        assert set(item.candidates) <= set(own)
        assert 0 <= item.uncertainty <= 1
    assert items == sample_items(pool, count, random_share=share, most_candidates=most, seed=seed)


@settings(max_examples=40, deadline=None)
@given(pools(), st.integers(0, 3))
def test_the_random_share_looks_at_no_score_and_no_picture(pool, seed):
    """Other scores and other pictures: the same rows and captions are drawn for evaluation."""
    other = Pool(pool.places, pool.keys, pool.candidates, np.roll(pool.features, 1, axis=0))
    other.rewards = [np.arange(len(captions))[::-1] * 3.0 for captions in pool.candidates]
    drawn = [
        [(item.shard, item.row, item.candidates) for item in sample_items(one, 15, seed=seed) if item.share == RANDOM]
        for one in (pool, other)
    ]
    assert drawn[0] == drawn[1]


def test_every_row_is_drawn_at_random_as_often_as_any_other():
    pool = _flat(20)
    counts = np.zeros(20)
    for seed in range(600):
        for item in sample_items(pool, 5, random_share=1.0, seed=seed):
            counts[item.row] += 1
    expected = 600 * 5 / 20
    assert ((counts - expected) ** 2 / (expected * 0.75)).sum() < 43.8  # chi-square, 19 degrees, p = 0.001


def _flat(rows, uncertainty=None):
    """Rows at one point of the feature space, with two captions whose reward margin sets the uncertainty."""
    pool = Pool(
        [("s", n) for n in range(rows)],
        [str(n) for n in range(rows)],
        [(Candidate("alt", f"a{n}"), Candidate("keywords", f"b{n}")) for n in range(rows)],
        np.ones((rows, 1), np.float32),
    )
    if uncertainty is not None:
        pool.rewards = [np.array([0.0, margin]) for margin in uncertainty]
    return pool


def test_the_closest_reward_margins_are_asked_first():
    margins = np.array([3.0, 0.1, -0.2, 5.0, -4.0, 0.0])
    items = sample_items(_flat(6, margins), 3, random_share=0)
    assert {item.row for item in items} == {1, 2, 5}
    assert items[0].row == 5  # an even match
    assert items[0].uncertainty == pytest.approx(1.0)


def test_of_two_equally_uncertain_rows_the_one_unlike_the_rest_comes_first():
    pool = _flat(4, np.zeros(4))
    pool.features = unit(np.array([[1, 0], [1, 0.01], [1, -0.01], [0, 1]], np.float32))
    items = sample_items(pool, 2, random_share=0)
    assert {item.row for item in items} == {0, 3}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4))
def test_with_equal_weights_no_point_is_twice_as_far_as_in_the_best_cover(seed, n, k):
    """Gonzalez's bound: radius <= 2 x the optimum, which is found here by trying every choice."""
    points = np.random.default_rng(seed).normal(size=(n, 2))
    table = np.linalg.norm(points[:, None] - points[None], axis=2)
    k = min(k, n)
    best = min(table[:, list(chosen)].min(axis=1).max() for chosen in combinations(range(n), k))
    chosen = weighted_k_center(points, np.ones(n), k)
    assert len(set(chosen.tolist())) == k
    assert table[:, chosen].min(axis=1).max() <= 2 * best + 1e-6


def test_coverage_beats_the_top_of_the_list_on_clustered_pictures():
    """60 rows in 6 clusters, the most uncertain all in one: what is chosen still visits every cluster."""
    random = np.random.default_rng(0)
    centres = np.eye(6, 12)
    cluster = np.repeat(np.arange(6), 10)
    pool = _flat(60, np.where(cluster == 0, 0.05, 0.6))
    pool.features = unit((centres[cluster] + random.normal(size=(60, 12)) * 0.02).astype(np.float32))
    items = sample_items(pool, 12, random_share=0)
    assert {int(cluster[item.row]) for item in items} == set(range(6))


def test_cheap_scores_disagree_where_length_and_rarity_point_apart_and_not_on_equals():
    texts = [
        ["a long and plain sentence about the one thing", "zyzzyva"],
        ["a red car", "a red car"],
        ["0001", "a red car in the snow"],
    ]
    scores = cheap_scores(texts)
    assert [one.shape for one in scores] == [(2, 3)] * 3
    apart, equal, clear = (disagreement(one)[0, 1] for one in scores)
    assert equal == clear == 0
    assert apart > 0.2
    assert apart == pytest.approx(disagreement(scores[0])[1, 0])


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=5))
def test_uncertainty_of_rewards_falls_with_the_margin(rewards):
    table = near_margin(np.array(rewards))
    assert np.allclose(table, table.T)
    assert np.allclose(np.diag(table), 1)
    margin = np.abs(np.subtract.outer(rewards, rewards))
    order = np.argsort(margin, axis=None, kind="stable")
    assert (np.diff(table.ravel()[order]) <= 1e-9).all()


def test_a_caption_without_a_reward_is_as_uncertain_as_can_be():
    assert near_margin(np.array([np.nan, 2.0]))[0, 1] == 1.0


def test_a_plain_folder_has_a_pool_and_a_second_sampling_skips_what_is_there(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(20), shards=3)
    pool = read_pool(dataset)
    assert len(pool) == 20
    assert {one.source for one in pool.candidates[0]} == {"alt", "keywords", "file_name"}
    first = sample_items(pool, 12)
    second = sample_items(pool, 12, before=first)
    places = {(item.shard, item.row) for item in (*first, *second)}
    assert len(first) + len(second) == len(places) == 20
    assert sum(item.share == CHOSEN for item in first) == 10


def grown(pool, counts, share=0.2, seed=0):
    """The items of a session enlarged again and again, by place, as a store keeps them."""
    kept = {}
    for count in counts:
        for item in sample_items(pool, count, before=list(kept.values()), random_share=share, seed=seed):
            kept[item.shard, item.row] = item
    return kept


@settings(max_examples=60, deadline=None)
@given(pools(), st.lists(st.integers(1, 15), min_size=2, max_size=4), st.sampled_from([0.1, 0.2, 0.5]))
def test_a_session_enlarged_has_the_random_share_it_would_have_had_at_once(pool, counts, share):
    once = {place: item for place, item in grown(pool, [sum(counts)], share).items() if item.share == RANDOM}
    kept = grown(pool, counts, share)
    assert len(kept) == min(sum(counts), len(pool))
    assert {place: item for place, item in kept.items() if item.share == RANDOM} == once
    assert {item.share for item in grown(pool, counts[:1], share).values()} <= {CHOSEN, RANDOM}
    for place, item in grown(pool, counts[:1], share).items():
        assert kept[place] == item  # nobody's pair changes sides


@settings(max_examples=60, deadline=None)
@given(
    pools(), st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 0.2, 0.7, 1]), st.integers(0, 1)), max_size=4)
)
def test_whatever_share_and_seed_a_session_is_enlarged_by_it_gets_as_many_new_pairs_as_asked_for(pool, steps):
    elsewhere = [Item("gone", n, "", (), RANDOM, 0.0) for n in range(3)]  # of a shard that is not in this pool
    kept = {(item.shard, item.row): item for item in elsewhere}
    for count, share, seed in steps:
        before = len(kept)
        for item in sample_items(pool, count, before=list(kept.values()), random_share=share, seed=seed):
            kept[item.shard, item.row] = item
        assert len(kept) == min(before + count, len(pool) + len(elsewhere))


def test_after_enlarging_the_random_share_has_as_many_hard_pairs_as_the_pool():
    """60 pairs, 20 of them hard; those that were chosen first are not missing from what is drawn later."""
    pool = _flat(60, np.where(np.arange(60) < 20, 0.0, 6.0))
    drawn = [
        item.row < 20
        for seed in range(60)
        for item in grown(pool, [20, 20], 0.25, seed).values()
        if item.share == RANDOM
    ]
    assert len(drawn) == 60 * 10
    assert np.mean(drawn) == pytest.approx(20 / 60, abs=0.07)  # three standard errors, 0.16 were hard before


def test_a_chosen_pair_that_the_blind_prefix_reaches_counts_as_random_from_then_on():
    """A larger share, asked for later: the random pairs are the prefix, what was chosen in it included."""
    pool = _flat(40, np.linspace(0, 6, 40))
    before = sample_items(pool, 20, random_share=0.2)
    more = sample_items(pool, 10, before=before, random_share=0.5)
    old, new = {item.row: item for item in before}, {item.row: item for item in more}
    overtaken = [item for row, item in new.items() if row in old]
    assert overtaken
    assert all(item == replace(old[item.row], share=RANDOM) and old[item.row].share == CHOSEN for item in overtaken)
    kept = old | new
    assert len(kept) == 30
    assert {row for row, item in kept.items() if item.share == RANDOM} == set(blind_order(pool.places, 0)[:15])


def test_pairs_keep_their_order_when_the_dataset_grows():
    places = [(f"shard{n % 3}", n) for n in range(30)]
    grown = [*places, *(("new", n) for n in range(10))]
    order = [grown[i] for i in blind_order(grown, 5)]
    assert [place for place in order if place in places] == [places[i] for i in blind_order(places, 5)]
    assert {place[0] for place in order[:20]} >= {"new"}


def test_rows_without_two_captions_or_without_a_picture_are_not_asked(tmp_path):
    rows = [[("alt", "one caption")], [("alt", "Same."), ("keywords", "same")], [("alt", "a"), ("keywords", "b")]]
    dataset = captioned_dataset(tmp_path, rows)
    assert [row for _, row in read_pool(dataset).places] == [2]
    with pytest.raises(DatasetError, match='did you mean "keywords"'):
        read_pool(dataset, sources=("keyword", "alt2"))


def test_a_large_dataset_is_read_in_shards_drawn_by_the_seed(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(40), shards=10)
    drawn = {seed: {shard for shard, _ in read_pool(dataset, most_rows=8, seed=seed).places} for seed in range(8)}
    assert all(len(shards) == 2 for shards in drawn.values())
    assert len(set().union(*drawn.values())) > 4
    assert read_pool(dataset, most_rows=8, seed=3).places == read_pool(dataset, most_rows=8, seed=3).places


def test_a_workspaces_captions_features_and_rewards_are_used_where_a_shard_has_them(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(6), shards=2)
    store = ColumnStore(f"{tmp_path}/columns")
    steps = {"fused": StepColumns("fuse", "d1"), "pdq": StepColumns("pdq", "d2"), "reward": StepColumns("r", "d3")}
    first = dataset.shards[0]
    store.write(steps["fused"], first.digest, {"text": pa.array(["A fused caption.", None, "Another."])}, 3)
    store.write(steps["reward"], first.digest, {"score": pa.array([0.5, None, -1.0], pa.float32())}, 3)
    for shard in dataset.shards:
        store.write(
            steps["pdq"], shard.digest, {"hash": pa.array([bytes([n] * 32) for n in range(3)], pa.binary(32))}, 3
        )
    view = ColumnsView(dataset, store, steps)
    assert feature_column(view) == "pdq.hash"
    pool = read_pool(dataset, view=view, made=("fused",), features="pdq.hash", rewards={"alt": "reward.score"})
    sources = [[one.source for one in group] for group in pool.candidates]
    assert [("fused" in group) for group in sources] == [True, False, True, False, False, False]
    assert pool.features.shape == (6, 256)
    assert pool.rewards is not None
    assert pool.rewards[0][0] == pytest.approx(0.5)
    assert np.isnan(pool.rewards[1]).all()
    assert np.isnan(pool.rewards[5]).all()
    assert all(table.min() >= 0 and table.max() <= 1 for table in uncertainties(pool))


def test_features_are_unit_vectors_of_hashes_embeddings_and_words():
    bits = pa.chunked_array([pa.array([b"\xff" * 32, b"\x00" * 32, None], pa.binary(32))])
    assert (picture_features(bits)[0] == -picture_features(bits)[1]).all()
    wide = pa.chunked_array([pa.array([[3.0] * 16, None], pa.list_(pa.float32(), 16))])
    assert np.linalg.norm(picture_features(wide), axis=1).tolist() == pytest.approx([1, 0])
    words = caption_hashes(["a red car", "A red car!", "blue sky"])
    assert words[0] @ words[1] == pytest.approx(1)
    assert abs(words[0] @ words[2]) < 0.9


class FlatReward:
    """Rewards a caption by how many of its letters are in its picture's first feature, as a stand-in."""

    image_width = 16

    def score(self, image_features, texts):
        assert len(image_features) == len(texts)
        return np.array([features[0] * len(text) for features, text in zip(image_features, texts)])


def test_what_a_reward_model_is_least_sure_of_is_asked_first(tmp_path):
    dataset = captioned_dataset(tmp_path, [[("alt", "aa"), ("keywords", "bbbb")] for _ in range(6)], shards=2)
    store, step = ColumnStore(f"{tmp_path}/columns"), StepColumns("features", "d")
    slopes = [[3.0, 0.0, None], [0.1, 2.0, -1.0]]
    for shard, values in zip(dataset.shards, slopes):
        wide = [None if value is None else [value] + [0.0] * 15 for value in values]
        store.write(step, shard.digest, {"image": pa.array(wide, pa.list_(pa.float32(), 16))}, 3)
    view = ColumnsView(dataset, store, {"features": step})
    pool = read_pool(dataset, view=view)
    add_rewards(pool, FlatReward(), view, feature_of_width(view, 16))
    assert pool.rewards is not None
    margins = [one[1] - one[0] for one in pool.rewards]
    assert margins[:2] + margins[3:] == pytest.approx([6, 0, 0.2, 4, -2], abs=1e-5)
    assert np.isnan(margins[2])
    items = sample_items(pool, 3, random_share=0)
    rank = {shard.digest: n for n, shard in enumerate(dataset.shards)}
    assert {(rank[item.shard], item.row) for item in items} == {(0, 1), (0, 2), (1, 0)}
    with pytest.raises(ColumnError, match="features of width 17"):
        feature_of_width(view, 17)
