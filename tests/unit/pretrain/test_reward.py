"""The fit `reward` on the shapes: a scripted labeller's taste, origins kept apart, groups whole, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from learning import TINY_TEXT, features_view
from shapes import caption_text, facts_of, shapes_dataset

from pairwright.components.component import FitInputs
from pairwright.components.dataset.judgements import JUDGEMENTS
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns, to_arrow
from pairwright.components.errors import ColumnError, InvalidRecipe
from pairwright.components.filter.scorers.reward import RewardScore, RewardScoreSettings
from pairwright.components.models.reward import load_reward
from pairwright.components.pretrain.reward.judged import HELD_OUT, read_judged, with_folds
from pairwright.components.pretrain.reward.settings import RewardSettings
from pairwright.components.pretrain.reward.task import FitReward
from pairwright.components.settings import ModelFolder

PAIRS = 96
FAST = {"folds": 3, "dim": 8, "steps": 20, "near": None, "curve": [0.5, 1.0]}


def judgement(better: str, worse: str, origin: str = "human", tie: bool = False, kind: str = "preference") -> dict:
    return {
        "better": better,
        "worse": worse,
        "tie": tie,
        "better_source": "alt",
        "worse_source": "file_name",
        "kind": kind,
        "by": "ada",
        "origin": origin,
    }


def taste(number: int) -> list[dict[str, Any]]:
    """A labeller who likes a description better than a file's name, and both better than half a word."""
    colour, shape, _ = facts_of(number)
    name = f"{colour}_{shape}_{number:03d}.png"
    return [judgement(caption_text(number), name), judgement(name, caption_text(number)[:3])]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("reward")
    return features_view(shapes_dataset(root, PAIRS, 2), root)


def with_judgements(view: ColumnsView, name: str, rows: Sequence[list[dict[str, Any]] | None]) -> ColumnsView:
    step, start = StepColumns("judged", f"{name}-{hash(str(rows))}"), 0
    array = to_arrow(list(rows), JUDGEMENTS)
    for shard in view.dataset.shards:
        view.store.write(step, shard.digest, {"judgements": array.slice(start, shard.rows)}, shard.rows)
        start += shard.rows
    return replace(view, steps={**view.steps, name: step})


def fit(view: ColumnsView, folder: Path, **settings: Any) -> dict[str, float]:
    values = {"preferences": ["labels.judgements"], "accept": ["human"], "text_tower": TINY_TEXT, **FAST, **settings}
    inputs = FitInputs(view, extra={"checkpoints": mkdtemp(dir=view.store.root)})
    return dict(FitReward(RewardSettings.parse(values, "test")).fit(inputs, folder))


@pytest.mark.slow
def test_a_scripted_labellers_taste_is_learnt_and_reported(base: ColumnsView, tmp_path: Path) -> None:
    view = with_judgements(base, "labels", [taste(i) if i < 50 else None for i in range(PAIRS)])
    metrics = fit(view, tmp_path / "a")
    assert metrics["accuracy"] >= 0.9
    assert metrics["accuracy"] > metrics["evidence_accuracy"]
    assert (metrics["human_judgements"], metrics["silver_judgements"]) == (100, 0)
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
    card = (tmp_path / "a" / "card.md").read_text()
    assert "100 human, 0 silver" in card
    assert "**Silver**" not in card
    figures = json.loads((tmp_path / "a" / "figures" / "figures.json").read_text())
    assert [one["file"] for one in figures] == ["accuracy_by_kind.svg", "reliability.svg", "learning_curve.svg"]
    assert all("<svg" in (tmp_path / "a" / "figures" / one["file"]).read_text() for one in figures)
    fit(view, tmp_path / "b")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_pair_that_was_judged_is_known_by_what_it_shows_whatever_its_key(base: ColumnsView, tmp_path: Path) -> None:
    """Another crawl counts its keys anew: an unrelated pair has the judged one's key, and the judged one another."""
    view = with_judgements(base, "labels", [taste(i) if i < 48 else None for i in range(PAIRS)])
    fit(view, tmp_path / "model", curve=[])
    folder = ModelFolder(reference="step:reward", path=str(tmp_path / "model"), weights="fit:x")
    component = RewardScore(RewardScoreSettings(model=folder, source="said"))
    component.setup("cpu")
    judged, strange = view.numpy("image_features.vector")[5], np.full(64, 0.5, np.float16)

    def scored(key: str, features: np.ndarray) -> float:
        columns = {"image_features.vector": [features]}
        batch = PairBatch(np.arange(1), [key], [{"captions": []}], extra_captions={"said": ["words"]}, columns=columns)
        return float(component.score(batch)["score"][0])

    assert scored("000005", judged) == scored("another", judged)
    assert scored("000005", strange) == scored("another", strange)
    each = component.model.rewards(*component_inputs(component.model, judged, "words"))[0].tolist()
    assert min(abs(scored("x", judged) - one) for one in each) < 1e-4  # one judge's, not the mean of all
    assert abs(scored("x", judged) - float(np.mean(each))) > 1e-4


def component_inputs(model: Any, features: np.ndarray, text: str) -> tuple[Any, ...]:
    import torch

    from pairwright.components.models.reward import caption_statistics

    image = torch.tensor(features, dtype=torch.float32)[None]
    return image, model.text_features([text]), caption_statistics([text])


def test_the_scorer_prefers_what_the_labeller_does_on_pairs_nobody_judged(base: ColumnsView, tmp_path: Path) -> None:
    view = with_judgements(base, "labels", [taste(i) if i < 48 else None for i in range(PAIRS)])
    fit(view, tmp_path / "model", curve=[])
    folder = ModelFolder(reference="step:reward", path=str(tmp_path / "model"), weights="fit:x")
    images = view.numpy("image_features.vector")[48:]
    batch = PairBatch(
        np.arange(48),
        [f"{i:06d}" for i in range(48, PAIRS)],
        [{"captions": []}] * 48,
        extra_captions={
            "good": [caption_text(i) for i in range(48, PAIRS)],
            "bad": [f"{facts_of(i)[0]}_{i}.png" for i in range(48, PAIRS)],
        },
        columns={"image_features.vector": list(images)},
    )
    scores = {}
    for source in ("good", "bad"):
        component = RewardScore(RewardScoreSettings(model=folder, source=source))
        component.setup("cpu")
        scores[source] = component.score(batch)["score"].numpy()
    assert (scores["good"] > scores["bad"]).mean() > 0.9
    assert RewardScore.runs_model


@pytest.mark.slow
def test_silver_is_never_mixed_unseen(base: ColumnsView, tmp_path: Path) -> None:
    mixed = [[*taste(i), judgement(f"wrong {i}", caption_text(i), "silver", kind="swapped")] for i in range(48)]
    view = with_judgements(base, "labels", [*mixed, *[None] * (PAIRS - 48)])
    human = with_judgements(base, "labels", [*[taste(i) for i in range(48)], *[None] * (PAIRS - 48)])
    with pytest.raises(InvalidRecipe, match='"accept" is required'):
        RewardSettings.parse({"preferences": ["labels.judgements"]}, "test")
    refusing = fit(view, tmp_path / "refusing", curve=[])
    assert (refusing["silver_judgements"], refusing["silver_refused"]) == (0, 48)
    fit(human, tmp_path / "human", curve=[])
    fit(view, tmp_path / "weightless", curve=[], accept=["human", "silver"], silver_weight=0)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("refusing", "human", "weightless")]
    assert weights[0] == weights[1] == weights[2]  # a weight of 0 is the baseline bit for bit
    both = fit(view, tmp_path / "both", curve=[], accept=["human", "silver"])
    assert (both["human_judgements"], both["silver_judgements"]) == (96, 48)
    card = (tmp_path / "both" / "card.md").read_text()
    assert "**Silver**" in card
    assert "they say nothing of other damage" in card
    only = with_judgements(base, "labels", [[judgement("a", "b", "silver")]] * PAIRS)
    with pytest.raises(InvalidRecipe, match=r"96 silver refused.*accept another origin"):
        fit(only, tmp_path / "none")
    unknown = with_judgements(base, "labels", [[judgement("a", "b", "gold")]] * PAIRS)
    with pytest.raises(ColumnError, match='origin is "gold"'):
        fit(unknown, tmp_path / "none")


def test_labels_kept_for_evaluation_are_reported_apart_and_never_fitted_on(base: ColumnsView, tmp_path: Path) -> None:
    view = with_judgements(base, "labels", [taste(i) if i < 40 else None for i in range(PAIRS)])
    view = with_judgements(view, "random", [None] * 40 + [taste(i) for i in range(40, 48)] + [None] * 48)
    found = fit(view, tmp_path / "a", held_out=["random.judgements"], curve=[])
    assert found["human_held_out"] == 16
    assert found["human_judgements"] == 80
    assert 0.5 <= found["human_accuracy"] <= 1
    inverted = [[judgement(one["worse"], one["better"]) for one in taste(i)] for i in range(40, 48)]
    other = with_judgements(view, "random", [None] * 40 + inverted + [None] * 48)
    again = fit(other, tmp_path / "b", held_out=["random.judgements"], curve=[])
    assert again["human_accuracy"] == pytest.approx(1 - found["human_accuracy"])
    assert again["accuracy"] == found["accuracy"]


def test_no_group_and_no_preferred_caption_crosses_the_folds(base: ColumnsView) -> None:
    """The shapes' groups are their facts: i and i + 48 share one. A caption preferred in two groups links them."""
    rows = [[judgement(caption_text(i), "IMG.jpg")] for i in range(PAIRS)]
    rows[3] = [judgement("shared words", "IMG.jpg")]
    rows[20] = [judgement("other", "shared words")]
    view = with_judgements(base, "labels", rows)
    judged = read_judged(view, ["labels.judgements"], accept=["human"])
    judged, everywhere = with_folds(judged, view, None, 4, seed=0)
    assert (judged.fold[:48] == judged.fold[48:]).all()
    assert len({judged.fold[i] for i in (3, 20, 51, 68)}) == 1
    assert (everywhere == judged.fold).all()
    assert set(judged.fold) == {0, 1, 2, 3}
    assert len(np.unique(judged.group)) == 47
    sizes = np.bincount(judged.fold)
    assert sizes.max() - sizes.min() <= 4
    held = with_judgements(view, "random", [[judgement("new", "old")]] + [None] * (PAIRS - 1))
    judged = read_judged(held, ["labels.judgements"], accept=["human"], held_out=["random.judgements"])
    _, everywhere = with_folds(judged, held, None, 4, seed=0)
    assert everywhere[0] == everywhere[48] == HELD_OUT


def test_no_judgement_of_a_pair_that_models_are_evaluated_on_is_read(base: ColumnsView) -> None:
    view = with_judgements(base, "labels", [taste(i) for i in range(PAIRS)])
    apart, start = np.arange(PAIRS) % 5 == 0, 0
    step = StepColumns("evaluation_overlap", "apart")
    for shard in view.dataset.shards:
        columns = {"drop": to_arrow(apart[start : start + shard.rows], pa.bool_())}
        view.store.write(step, shard.digest, columns, shard.rows)
        start += shard.rows
    held = replace(view, steps={**view.steps, "evaluation_overlap": step})
    assert set(read_judged(view, ["labels.judgements"], accept=["human"]).rows) == set(range(PAIRS))
    assert set(read_judged(held, ["labels.judgements"], accept=["human"]).rows) == set(np.flatnonzero(~apart))


def test_too_few_judged_pairs_are_refused_with_what_to_do(base: ColumnsView, tmp_path: Path) -> None:
    view = with_judgements(base, "labels", [taste(i) if i < 4 else None for i in range(PAIRS)])
    with pytest.raises(InvalidRecipe, match=r"4 groups.*too few for 3 folds.*judge more pairs"):
        fit(view, tmp_path / "none")


def test_evidence_is_fitted_on_the_crawl_and_every_pair_of_it_is_known(base: ColumnsView, tmp_path: Path) -> None:
    """24 pictures are judged, 96 crawled: each crawled pair has a fold, and its group has the same."""
    view = with_judgements(base, "labels", [taste(i) if i < 24 else None for i in range(PAIRS)])
    metrics = fit(view, tmp_path / "model", curve=[0.5, 1.0], text="text_features.vector")
    assert metrics["human_judgements"] == 48
    model, images = load_reward(tmp_path / "model"), view.numpy("image_features.vector").astype(np.float32)
    texts = [caption_text(i) for i in range(PAIRS)]
    fold = model.seen.fold_of(images, texts)
    assert set(fold) == {0, 1, 2}
    assert (fold[:48] == fold[48:]).all()  # i and i + 48 are one group
    assert (model.seen.text_folds(texts) >> fold & 1 == 1).all()
    assert "fitted on the crawl's `alt`" in (tmp_path / "model" / "card.md").read_text()
    alone = fit(view, tmp_path / "alone", curve=[])
    assert alone["evidence_accuracy"] != metrics["evidence_accuracy"]
