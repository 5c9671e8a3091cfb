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

from pairwright.components.component import FitInputs
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ScanTask, run_local
from pairwright.components.environment import Environment
from pairwright.components.models.resolve import resolve_model
from pairwright.components.preference.labels import Labels, LabelsSettings
from pairwright.components.preference.labels_folder import read_judgements
from pairwright.components.preference.pool import read_pool
from pairwright.components.preference.rewarded import add_rewards, feature_of_width
from pairwright.components.preference.sampling import sample_items
from pairwright.components.recipe import Recipe
from pairwright.components.registry import component_class
from pairwright.flows.planning.check import check_recipe
from pairwright.flows.planning.plan import job_of

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
    load_reward = pytest.importorskip("pairwright.components.models.reward").load_reward
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


@pytest.mark.platform
def test_labels_given_to_a_run_teach_its_reward_and_their_blind_share_judges_it(tmp_path):
    """`--labels FOLDER`, by the plan a run makes of it: no line of the recipe is edited, no silver judgement read."""
    from pairwright.flows.running.run import open_run

    dataset = captioned_dataset(tmp_path, captions_of_mixed_length(PICTURES), shards=3)
    folder = labelled_folder(dataset, tmp_path, by_length, LABELLED)
    silver = {"uses": "silver_preferences", "with": {"trusted": {"collection": "none here"}, "near": None}}
    wish = {"preferences": ["silver.judgements"], "accept": ["silver"], "near": None, "curve": [1.0]}
    said = {
        "name": "judged",
        "data": dataset.root,
        "filter": {
            "score": {
                "image_features": {"uses": "image_features", "with": {"tower": "builtin:tiny-image"}},
                "judged": {"uses": "reward", "with": {"model": "step:reward"}},
            },
            "fit": {"reward": {"uses": "reward", "with": wish | {"text_tower": "builtin:tiny-text"}}},
            "select": {"silver": silver},
            "keep": {"preferred": "judged.score >= quantile(judged.score, 0.5)"},
        },
    }
    recipe = Recipe.parse(said, "judged").model_copy(update={"labels": str(folder)})
    environment = Environment.load(workspace=str(tmp_path / "ws"))
    with open_run(recipe, environment, dataset, flow="pipeline", quiet=True) as run:
        assert [rule.name for rule in check_recipe(run)] == ["preferred"]
        metrics = in_order(run)
        judged = {name: run.view().column(f"{name}.judgements") for name in ("labels", "labels_blind")}
    table = read_judgements(folder).to_pylist()
    for name, share in (("labels", "chosen"), ("labels_blind", "random")):
        rows = {(one["shard"], one["row"]) for one in table if one["share"] == share}
        assert judged[name].length() - judged[name].null_count == len(rows) > 0
    assert metrics["silver_judgements"] == 0
    assert metrics["human_judgements"] == sum(one["share"] == "chosen" and not one["repeat"] for one in table)
    assert metrics["human_held_out"] == sum(one["share"] == "random" and not one["repeat"] for one in table)
    assert metrics["human_accuracy"] >= 0.9  # on the blind share, which taught nothing


def in_order(run):
    """The filter's steps, made as the flow makes them, in this process; what the fit measured of itself."""
    metrics = {}
    for scorers, others in run.plan.passes("filter"):
        task = ScanTask([job_of(step) for step in scorers], run.store.root, inputs=run.plan.where(run.made))
        run_local(task, run.dataset.shards)
        run.made |= {step.name for step in scorers}
        for step in others:
            if step.kind == "fit":
                folder = run.artifacts.path("models", step.digest)
                metrics = step.component.fit(FitInputs(run.view()), folder)
            else:
                write(run.store, step.columns, run.dataset, step.component.select(run.view()))
            run.made.add(step.name)
    return metrics


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
