"""No Detail Left Behind: bags that are alike and grow, captions boosted without loss, and how bags are judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from knowing import pictures_by_bytes
from paid import captions_of, retriever, settings, start, tuned, world
from small_encoders import ours
from speaking import Speaker
from things import scenes_datasets

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.benchmarks.caption_bags import similar_bags
from pairwright.components.evaluate.benchmarks.truematch import TrueMatch, TrueMatchSettings, found_in
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.text_backends import Completion
from pairwright.components.models.text_backends.protocol import evidence_of
from pairwright.components.pretrain.caption_rewards.bags import BagRetrieval, BagSettings
from pairwright.components.pretrain.self_critical.task import SelfCritical
from pairwright.components.recaption.captioners.boost_caption import BoostCaption, BoostCaptionSettings, distinct
from pairwright.components.recaption.mentions import lost, words_in
from pairwright.components.training.batch import Batch

SEEDS = (0, 1, 2)
SIZE = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paid")
    retriever(root / "retriever")
    return root


def reward(place: Path, **wish: Any) -> BagRetrieval:
    said = {"model": resolve_model(str(place / "retriever")), "features": "x.vector"}
    made = BagRetrieval(BagSettings.parse(said | wish, "test"))
    made.population, made.device = world(0).population(), torch.device("cpu")
    made.modules()
    return made


def asked(place: Path, *rewards: dict[str, Any]) -> tuple[SelfCritical, dict[str, torch.Tensor], Batch]:
    """A task before its first step, and what it encoded of 36 pictures of different kinds."""
    model = {"model": place / "retriever", "features": "x.vector"}
    said = [one | {"with": model | one.get("with", {})} for one in rewards]
    task = SelfCritical(settings(start(place, 0), said))
    task.population, task.device = world(0).population(), "cpu"
    task.model = task.build()
    examples = task.population.read(np.arange(36), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(36), examples.keys)
    with torch.no_grad():
        return task, task.encode(batch), batch


def scored(task: SelfCritical, name: str, outputs: dict[str, torch.Tensor], batch: Batch, at: float) -> torch.Tensor:
    own = {key.removeprefix(f"{name}."): value for key, value in outputs.items() if key.startswith(f"{name}.")}
    return task.rewards[name].score(own, batch.of(name), at)


def test_pictures_of_a_bag_are_more_alike_than_pictures_drawn(place: Path) -> None:
    made = reward(place, sizes=[2, SIZE])
    picture = made.pictures(torch.from_numpy(world(0).features))
    assert made.pool is not None
    near = made.pool.nearest(picture, torch.arange(len(picture)), SIZE - 1)["near"]
    within = torch.einsum("nd,nkd->nk", picture, near)
    at_random = (picture @ picture.T)[~torch.eye(len(picture), dtype=torch.bool)]
    assert float(within.mean()) > float(at_random.mean()) + 0.3
    assert bool((within.diff(dim=1) <= 1e-6).all()), (
        "the nearest come first: a small bag is the hardest part of a large"
    )


def test_bags_only_grow_from_the_first_size_to_the_last(place: Path) -> None:
    made = reward(place, sizes=[2, 9], ramp=0.5)
    sizes = [made.size(at / 100) for at in range(101)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[50], sizes[100]) == (2, 9, 9)
    assert set(sizes) == set(range(2, 10))
    with pytest.raises(InvalidRecipe, match="never get smaller"):
        BagSettings.parse({"model": "x", "sizes": [4, 3]}, "test")


@pytest.mark.slow
def test_at_the_start_bags_pay_less_than_pictures_drawn_and_larger_bags_still_less(place: Path) -> None:
    task, outputs, batch = asked(
        place, {"uses": "self_retrieval"}, {"uses": "bag_retrieval", "with": {"sizes": [2, SIZE], "ramp": 1.0}}
    )
    drawn = scored(task, "self_retrieval", outputs, batch, 0.0)
    bags = [float(scored(task, "bag_retrieval", outputs, batch, at).mean()) for at in (0.0, 0.5, 1.0)]
    assert float(drawn.mean()) > bags[0] > bags[1] > bags[2]


def test_a_bag_of_one_is_plain_self_retrieval(place: Path) -> None:
    task, outputs, batch = asked(
        place, {"uses": "self_retrieval"}, {"uses": "bag_retrieval", "with": {"sizes": [1, 1]}}
    )
    assert torch.equal(
        scored(task, "self_retrieval", outputs, batch, 0.7), scored(task, "bag_retrieval", outputs, batch, 0.7)
    )


def test_there_are_as_many_candidates_however_large_the_bag(place: Path) -> None:
    """With captions that fit all alike, the reward is -log of how many there are; one met twice counts once."""
    task, outputs, batch = asked(place, {"uses": "bag_retrieval", "with": {"sizes": [1, SIZE], "ramp": 1.0}})
    outputs = outputs | {"bag_retrieval.said": torch.zeros_like(outputs["bag_retrieval.said"])}
    for at in (0.0, 0.5, 1.0):
        found = scored(task, "bag_retrieval", outputs, batch, at).exp().reciprocal()
        size = task.rewards["bag_retrieval"].size(at)  # type: ignore[attr-defined]
        assert float(found.max()) == pytest.approx(36, abs=1e-2)
        assert float(found.min()) >= 36 - (size - 1) - 1e-2


def bag_hits(place: Path, captions: Sequence[str], features: np.ndarray) -> float:
    """TrueMatch on planted pictures: share of captions that find theirs in a bag, by the retriever."""
    model = load_dual_encoder(resolve_model(str(place / "retriever")))
    image = model.encode_image_features(features).double().numpy()
    keys = [str(at) for at in range(len(image))]
    bags = similar_bags(image, keys, keys, SIZE).bags
    return float(found_in(model.encode_text(list(captions)).double().numpy(), image, bags).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_tuned_on_bags_captions_find_their_picture_in_bags_more_often(place: Path, seed: int) -> None:
    """Six pictures alike, of which several are of one kind: chance is 1/6, and all that can be told is far from 1."""
    first, shown = start(place, seed), world(seed + 500).features[:72]  # two pictures of each kind
    model = {"model": place / "retriever", "features": "x.vector"}
    trainer = tuned(first, [{"uses": "bag_retrieval", "with": model | {"sizes": [2, 8]}}], seed)
    found = {
        name: bag_hits(place, captions_of(which, shown), shown)
        for name, which in (("start", first), ("bags", trainer.task.captioner))
    }
    assert found["bags"] > found["start"] + 0.04, found


def told_apart(size: int, count: int = 400) -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(size)
    vectors = random.normal(size=(size * count, 16))
    bags = [np.arange(at * size, (at + 1) * size) for at in range(count)]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), bags


@pytest.mark.parametrize("size", [3, 5, 7])
def test_truematch_at_random_is_1_in_the_bags_size_and_of_one_caption_for_all_exactly(size: int) -> None:
    image, bags = told_apart(size)
    text = np.roll(image, 1, axis=0)[np.random.default_rng(1).permutation(len(image))]
    sigma = (1 / size * (1 - 1 / size) / len(image)) ** 0.5
    assert abs(found_in(text, image, bags).mean() - 1 / size) < 4 * sigma
    assert found_in(np.repeat(image[:1], len(image), axis=0), image, bags).mean() == pytest.approx(1 / size)
    assert found_in(image, image, bags).mean() == 1
    assert found_in(text, np.repeat(image[:1], len(image), axis=0), bags).tolist() == [1 / size] * len(image)


def test_truematch_asks_a_captioner_of_pictures_alike_and_says_who_may_not_judge(tmp_path: Path) -> None:
    scenes = scenes_datasets(tmp_path / "scenes", 6, 36)[1]
    ours().save(tmp_path / "scorer")
    wish = TrueMatchSettings.parse(
        {
            "scorer": resolve_model(str(tmp_path / "scorer")),
            "sizes": [2, 3],
            "tower": resolve_model("builtin:tiny-image"),
        },
        "test",
    )
    rows = pictures_by_bytes(scenes)
    for tuned_on in ((), (str(wish.scorer.weights),)):
        measured = TrueMatch(wish).measure(Speaker(rows, lambda row, led: "a picture", tuned_on=tuned_on), scenes)
        assert [metric.name for metric in measured.metrics] == ["r1_2", "r1_3"]
        for metric, size in zip(measured.metrics, (2, 3), strict=True):
            assert metric.value == pytest.approx(1 / size)
            assert f"chance 1/{size}" in metric.definition
            assert ("NOT A JUDGEMENT" in metric.definition) == bool(tuned_on)
            assert re.search(r"mean cosine -?\d\.\d\d within, -?\d\.\d\d at random", metric.definition)


class Answering:
    """A text model by a function of the evidence."""

    def __init__(self, answer: Callable[[dict[str, Any]], str | None]) -> None:
        self.answer, self.asked = answer, []

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        evidence = [evidence_of(prompt) or {} for prompt in prompts]
        self.asked += evidence
        said = [self.answer(one) for one in evidence]
        return [Completion(text, None if text is not None else "unreachable") for text in said]


HUMANS = ["Max, a dog on a lawn", "a red dog with a ball", "Golden Gate Bridge at night", "two cats near the old tower"]
OTHERS = ["a dog plays in the park", "", "a bridge over water", "cats"]
DETAIL = "a small animal with a long tail, in red and green, next to a wooden fence"


def boosted(answer: Any = None, details: Sequence[str | None] = (DETAIL,) * 4) -> tuple[list[Any], Any]:
    step = BoostCaption(BoostCaptionSettings.parse({"humans": ["alt", "other"], "detail": "dense"}, "test"))
    step.setup("cpu")
    if answer is not None:
        step.text_model = Answering(answer)
    texts = {"alt": HUMANS, "other": OTHERS, "dense": list(details)}
    sidecar = [
        {
            "captions": [
                {"source": name, "ordinal": 0, "text": some[at], "lang": "en", "producer": None}
                for name, some in texts.items()
                if some[at]
            ]
        }
        for at in range(4)
    ]
    keys = [str(at) for at in range(4)]
    return list(step.caption(PairBatch(np.arange(4), keys, sidecar))), step.text_model


def test_every_word_of_the_people_and_of_the_detail_is_in_the_boosted_caption() -> None:
    made, _ = boosted()
    for human, other, caption in zip(HUMANS, OTHERS, made, strict=True):
        assert caption.note is None
        assert not lost([human, other], caption.text), caption.text
        assert words_in("animal tail fence wooden") <= words_in(caption.text)
        assert words_in(caption.text) <= words_in(f"{human} {other} {DETAIL}"), "and nothing that neither says"


def test_an_answer_that_loses_an_entity_gives_way_to_the_blend_and_the_reason_is_kept() -> None:
    """Detail that drowns the person's caption is what the paper is against."""
    made, model = boosted(lambda facts: None if "captions" in facts else f"{DETAIL}, a dog")
    for human, other, caption in zip(HUMANS, OTHERS, made, strict=True):
        assert caption.note is not None
        assert caption.note.startswith(("lost_name", "lost_noun"))
        assert not lost([human, other], caption.text)
    asked = [facts for facts in model.asked if "captions" in facts]
    assert [sorted(facts["captions"]) for facts in asked] == [
        sorted([human, other]) for human, other in zip(HUMANS, OTHERS, strict=True) if other
    ], "one person's caption is not blended with itself"


def test_the_blend_is_what_detail_is_added_to_and_without_detail_it_stands() -> None:
    made, model = boosted(
        lambda facts: ", and ".join(facts["captions"]) if "captions" in facts else f"{facts['caption']}, by a fence"
    )
    assert made[0].text == "Max, a dog on a lawn, and a dog plays in the park, by a fence"
    assert all(caption.note is None for caption in made)
    assert model.asked[3]["caption"] == "Max, a dog on a lawn, and a dog plays in the park"
    alone, _ = boosted(details=[None] * 4)
    assert [caption.note for caption in alone] == ["no_evidence"] * 4
    assert not any(lost([human], caption.text) for human, caption in zip(HUMANS, alone, strict=True))
    assert distinct([None, " ", "a b", "c", "a b"]) == ["a b", "c"]
