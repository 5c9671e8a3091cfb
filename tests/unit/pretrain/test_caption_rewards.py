"""Rewards that ask no retriever: people's preference, and questions answered from the caption alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view
from paid import start, tuned, world
from shapes import shapes_dataset

from pairwright.components.dataset.examples.shard_population import ShardPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.digest import op_digest
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.reward import RewardModel, load_reward
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.caption_rewards.answers import Answers, AnswersSettings, f1, nearest_answer
from pairwright.components.pretrain.caption_rewards.preference import Preference, PreferenceSettings
from pairwright.components.pretrain.self_critical.settings import SelfCriticalSettings
from pairwright.components.pretrain.self_critical.task import SelfCritical, pictures_of

ADJECTIVES = [("red",), ("blue",), ("light", "blue"), ("old",)]


@pytest.mark.parametrize(
    ("caption", "question", "answer"),
    [
        ("a red dog and a blue cat", "what kind of cat", ("blue",)),
        ("a red dog and a blue cat", "what kind of dog", ("red",)),
        ("a dog", "what kind of dog", ()),
        ("an old tree", "what is it", ("old",)),
        ("a light blue bus", "what kind of bus", ("blue",)),  # the one that ends nearest to the thing
        ("an old dog", "is the old dog there", ()),  # what the question says itself is no answer
    ],
)
def test_the_rules_answer_with_what_the_caption_holds_nearest_to_the_questions_words(
    caption: str, question: str, answer: tuple[str, ...]
) -> None:
    assert nearest_answer(caption.split(), question.split(), ADJECTIVES) == answer


def test_f1_is_of_words_both_have() -> None:
    assert f1("light blue", "Light blue!") == 1
    assert f1("blue", "light blue") == pytest.approx(2 / 3)
    assert f1("", "blue") == f1("red", "blue") == 0


def test_a_caption_is_paid_for_the_detail_that_is_asked_for_and_nothing_else_of_the_pair_is_seen() -> None:
    made = Answers(AnswersSettings())
    made.population, made.device = world(0).population(), torch.device("cpu")
    assert made.modules() is None
    batch = made.collate(made.population.read(np.arange(3), 0, 0))  # red dog, red cat, red bus
    assert batch["question"][0] == "what kind of dog"
    paid = made.encode(batch, [["red dog", "dog", "blue dog"], ["red", "cat", "old cat"], ["", "bus red", "red red"]])
    assert paid["each"].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]


@pytest.mark.slow
def test_tuned_for_answers_captions_say_what_is_asked(tmp_path: Path) -> None:
    first = start(tmp_path, 0)
    trainer = tuned(first, [{"uses": "answers"}], steps=25)
    history = trainer.task.paid
    assert history[0] / history[1] > 0.2
    assert trainer.task.rule.late["length"] > 1.3, "captions of the start name the thing alone"


def test_preference_is_what_the_reward_model_says_row_for_row(tmp_path: Path) -> None:
    text = load_text_tower("builtin:tiny-text")
    model = RewardModel(text, 64, 64, folds=2, dim=8, rank=2)
    for name in model.heads:
        model.set_bank(name, torch.from_numpy(world(0).features))
    model.save(tmp_path)
    wish = {"model": resolve_model(str(tmp_path)), "features": "x.vector"}
    made = Preference(PreferenceSettings.parse(wish, "test"))
    made.population, made.device = world(0).population(), torch.device("cpu")
    judge = made.modules()
    assert judge is not None
    batch = made.collate(made.population.read(np.arange(2), 0, 0))
    captions = [["red dog", "a key"], ["old cup", "red dog"]]
    found = made.encode(batch, captions)["each"]
    again = load_reward(tmp_path)
    by_hand = [again.score(world(0).features[[row]], [text]).item() for row in (0, 1) for text in captions[row]]
    assert torch.allclose(found.flatten(), torch.tensor(by_hand), atol=1e-5)
    assert len(set(by_hand)) == 4


def test_what_rewards_are_named_is_in_the_digest() -> None:
    base: dict[str, Any] = {"init": {"reference": "x", "path": "x", "weights": "x"}}

    def digest(rewards: Any, **more: Any) -> str:
        return op_digest(SelfCritical(SelfCriticalSettings.parse(base | {"rewards": rewards} | more, "test")))

    plain = digest(["answers"])
    assert plain == digest([{"uses": "answers", "weight": 1.0}])
    assert plain != digest([{"uses": "answers", "weight": 0.5}])
    assert plain != digest([{"uses": "answers", "with": {"question": "other"}}])
    assert plain != digest(["answers"], kl=0.1)


def test_pictures_are_shown_of_pairs_that_are_read_for_their_features_alone(tmp_path: Path) -> None:
    view = features_view(shapes_dataset(tmp_path, 24, 2), tmp_path)
    column = next(f"{step}.vector" for step in view.steps if "image" in step)
    read = ShardPopulation(view, [None, None], Reads(columns=(column,)))
    found = pictures_of(read, np.array([20, 3]))
    assert [picture is not None for picture in found] == [True, True]
    assert all(picture.ndim == 3 and picture.dtype == np.uint8 for picture in found if picture is not None)
    beside = read.beside(Reads(texts=("alt",)))
    assert [beside.key(number) for number in (20, 3)] == [read.key(number) for number in (20, 3)]
    assert pictures_of(world(0).population(), np.array([1])) == [None]
