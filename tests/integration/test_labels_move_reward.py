"""Labels move the reward model: a scripted labeller's taste, given on the page, is what the reward then likes.

Fifty pictures are ranked through the page's routes, exported, read back by the step `labels` and fitted by
`reward`; then the reward compares captions of pictures nobody labelled. Two labellers of opposite taste see
the same pictures: what separates their rewards is their labels alone.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from labelling import by_length, captioned_dataset, labelled_folder

from components.component import FitInputs
from components.dataset.columns import ColumnStore, ColumnsView, StepColumns
from components.models.resolve import resolve_model
from components.preference.labels import Labels, LabelsSettings
from components.preference.labels_folder import read_judgements
from components.preference.pool import read_pool
from components.preference.rewarded import add_rewards, feature_of_width
from components.preference.sampling import sample_items
from components.registry import component_class

pytestmark = pytest.mark.slow
PICTURES, LABELLED, WIDTH = 150, 50, 16
WORDS = ["river", "stone", "cloud", "lamp", "horse", "garden", "window", "bread", "tower", "violin"]
SOURCES = ("alt", "keywords", "file_name")


def shorter(text: str) -> float:
    return -by_length(text)


def captions_of_mixed_length(rows: int) -> list[list[tuple[str, str]]]:
    """Three captions a picture, of 2, 5 and 9 words, by sources in an order drawn anew: no source is the longest."""
    random = np.random.default_rng(0)
    made = []
    for number in range(rows):
        lengths = random.permutation([2, 5, 9])
        texts = [
            " ".join([*random.choice(WORDS, size), f"no{number}{source[0]}"]) for size, source in zip(lengths, SOURCES)
        ]
        made.append(list(zip(SOURCES, texts)))
    return made


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """taste -> (reward, labels folder, metrics, view), of the same pictures."""
    load_reward = pytest.importorskip("components.models.reward").load_reward
    root = tmp_path_factory.mktemp("taste")
    dataset = captioned_dataset(root, captions_of_mixed_length(PICTURES), shards=3)
    features = np.random.default_rng(1).normal(size=(PICTURES, WIDTH)).astype(np.float16)
    store = ColumnStore(f"{root}/columns")
    steps = {"features": StepColumns("image_features", "f")}
    write(store, steps["features"], dataset, {"vector": pa.FixedSizeListArray.from_arrays(features.reshape(-1), WIDTH)})
    found = {}
    for name, taste in (("longer", by_length), ("shorter", shorter)):
        folder = labelled_folder(dataset, root / name, taste, LABELLED)
        mine = dict(steps)
        for step, share in (("labels", "chosen"), ("held_out", "random")):
            mine[step] = StepColumns("labels", f"{name}-{share}")
            settings = LabelsSettings(folder=resolve_model(str(folder)), share=share)
            view = ColumnsView(dataset, store, mine)
            write(store, mine[step], dataset, Labels(settings).select(view))
        view = ColumnsView(dataset, store, mine)
        cls = component_class("fit", "reward")
        wish = {
            "preferences": ["labels.judgements"],
            "held_out": ["held_out.judgements"],
            "accept": ["human"],
            "image": "features.vector",
            "text_tower": resolve_model("builtin:tiny-text"),
            "near": None,
            "curve": [1.0],
        }
        metrics = cls(cls.settings_model().model_validate(wish)).fit(FitInputs(view=view), root / name / "reward")
        found[name] = (load_reward(root / name / "reward"), folder, metrics, view)
    return found


def write(store, step, dataset, columns):
    start = 0
    for shard in dataset.shards:
        store.write(step, shard.digest, {n: a.slice(start, shard.rows) for n, a in columns.items()}, shard.rows)
        start += shard.rows


def share_longer(reward, folder, view):
    """Of captions of pictures nobody labelled, compared two by two: how often the reward prefers the longer."""
    table = read_judgements(folder)
    labelled = {(shard, row) for shard, row in zip(table["shard"].to_pylist(), table["row"].to_pylist())}
    features = view.numpy("features.vector")
    won = []
    for shard, sidecar in view.dataset.iter_sidecars(["captions"]):
        for row, captions in enumerate(sidecar["captions"].to_pylist()):
            if (shard.digest, row) in labelled:
                continue
            texts = [caption["text"] for caption in captions]
            picture = np.repeat(features[view.offsets[shard.digest] + row][None], len(texts), axis=0)
            scores = reward.score(picture.astype(np.float32), texts).tolist()
            won += [
                (scores[a] > scores[b]) == (len(texts[a]) > len(texts[b]))
                for a, b in combinations(range(len(texts)), 2)
            ]
    assert len(won) == 3 * (PICTURES - LABELLED)
    return float(np.mean(won))


def test_fifty_labels_teach_the_reward_the_labellers_taste(fitted):
    reward, folder, _, view = fitted["longer"]
    assert share_longer(reward, folder, view) >= 0.9


def test_the_opposite_labels_on_the_same_pictures_teach_the_opposite(fitted):
    reward, folder, _, view = fitted["shorter"]
    assert share_longer(reward, folder, view) <= 0.1
    longer = read_judgements(fitted["longer"][1])
    other = read_judgements(folder)
    assert set(zip(longer["shard"].to_pylist(), longer["row"].to_pylist())) == set(
        zip(other["shard"].to_pylist(), other["row"].to_pylist())
    )


def test_the_random_share_measures_it_and_was_not_fitted_on(fitted):
    for _, folder, metrics, _ in fitted.values():
        table = read_judgements(folder).to_pylist()
        random = {(one["shard"], one["row"]) for one in table if one["share"] == "random"}
        assert len(random) == LABELLED * 0.2
        assert metrics["human_accuracy"] >= 0.9
        assert metrics["accuracy"] >= 0.9


def test_what_the_fitted_reward_is_least_sure_of_is_labelled_next(fitted):
    reward, folder, _, view = fitted["longer"]
    table = read_judgements(folder)
    labelled = set(zip(table["shard"].to_pylist(), table["row"].to_pylist()))
    pool = read_pool(view.dataset, skip=labelled)
    add_rewards(pool, reward, view, feature_of_width(view, reward.image_width))
    assert len(pool) == PICTURES - LABELLED
    assert not any(np.isnan(one).any() for one in pool.rewards)
    items = sample_items(pool, 10, random_share=0)
    everything = sample_items(pool, len(pool), random_share=0)
    assert np.mean([one.uncertainty for one in items]) > np.mean([one.uncertainty for one in everything])
