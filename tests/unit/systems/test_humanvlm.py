"""HumanVLM: who is told of and why not, parts and their nouns in a budget, and bases that two steps leave alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import tiny_language_model

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.lora import locked_hash, merge
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.text_backends.rules import RuleWriter
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask, measure
from pairwright.components.recaption.experts.foreground import Foreground, ForegroundSettings, box_of
from pairwright.components.recaption.humans.human_router import HumanRouter, HumanRouterSettings
from pairwright.components.recaption.humans.merge_parts import (
    BY_RULES,
    WORDS,
    MergeParts,
    MergePartsSettings,
    merged,
    nouns_of,
)
from pairwright.components.recaption.humans.part_caption import PartCaption, PartCaptionSettings
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

SIDE = 1000  # pixels of a picture
COLUMNS = {"boxes": "seen.boxes", "labels": "seen.labels", "scores": "seen.scores"}


# The router


def routed(*seen: tuple[str, float, list[float]] | None, side: int = SIDE, **wish: Any) -> dict[str, Any]:
    """Of one picture in which these labels, scores and boxes were seen; None: nobody looked. As columns hold them."""
    looked = seen != (None,)
    some = [one for one in seen if one is not None]
    kinds = (pa.list_(pa.list_(pa.float32())), pa.list_(pa.string()), pa.list_(pa.float32()))
    values = ([one[2] for one in some], [one[0] for one in some], [one[1] for one in some])
    columns = {
        name: pa.array([value if looked else None], kind).to_pylist()
        for name, value, kind in zip(COLUMNS.values(), values, kinds, strict=True)
    }
    facts = [{"width": side, "height": side}]
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], images=[None], facts=facts, columns=columns)
    found = HumanRouter(HumanRouterSettings.parse(COLUMNS | wish, "test")).score(pairs)
    return {name: values[0] for name, values in found.items()}


FACE, BODY = ("face", 0.999, [0.4, 0.1, 0.6, 0.3]), ("person", 0.99, [0.3, 0.05, 0.7, 0.9])


def test_a_person_with_a_face_before_a_ground_has_all_three_parts() -> None:
    found = routed(FACE, BODY)
    assert found["face"] == [pytest.approx(FACE[2])]
    assert found["body"] == [pytest.approx(BODY[2])]
    assert found["background"] == pytest.approx(1 - 0.4 * 0.85, abs=0.03)
    assert found["missing"] == []
    assert found["reason"] is None


@pytest.mark.parametrize(
    ("seen", "missing"),
    [
        ([FACE], ["body"]),
        ([BODY], ["face"]),
        ([("person", 0.99, [0.0, 0.0, 1.0, 1.0])], ["face", "background"]),
        ([("face", 0.99, [0.0, 0.0, 1.0, 0.95])], ["body", "background"]),
        ([BODY, ("face", 0.5, FACE[2])], ["face"]),  # not sure enough to be told of
    ],
)
def test_what_a_picture_lacks_is_recorded(seen: list[Any], missing: list[str]) -> None:
    found = routed(*seen)
    assert found["missing"] == missing
    assert found["reason"] is None
    there = {name for name in ("face", "body", "background") if found[name]}
    assert there | set(missing) == {"face", "body", "background"}
    assert not there & set(missing)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([], "no_detection"),
        ([("dog", 0.99, [0.1, 0.1, 0.9, 0.9])], "no_detection"),
        ([None], "no_boxes"),
        ([("face", 0.9, FACE[2])], "unsure"),
        ([("face", 0.99, [0.1, 0.1, 0.2, 0.9])], "small"),
    ],
)
def test_a_picture_without_a_face_or_a_body_is_skipped_with_the_reason(seen: list[Any], reason: str) -> None:
    assert routed(*seen) == {
        "face": [],
        "body": [],
        "background": None,
        "missing": ["face", "body", "background"],
        "reason": reason,
    }


@pytest.mark.parametrize(("pixels", "reason"), [(127, "small"), (128, "small"), (129, None)])
@pytest.mark.parametrize("start", [0, 100, 333, 601])
def test_a_crop_of_exactly_128_pixels_is_refused(pixels: int, start: int, reason: str | None) -> None:
    wide = [start / SIDE, 0.1, (start + pixels) / SIDE, 0.9]
    assert routed(("face", 0.99, wide))["reason"] == reason
    assert routed(("face", 0.99, [wide[1], wide[0], wide[3], wide[2]]))["reason"] == reason  # in its height, too


@pytest.mark.parametrize(("score", "reason"), [(0.97, "unsure"), (0.98, "unsure"), (0.9801, None)])
def test_a_score_of_exactly_098_is_refused(score: float, reason: str | None) -> None:
    assert routed(("face", score, FACE[2]))["reason"] == reason


def test_of_several_people_the_surest_is_told_of_and_the_ground_is_behind_all() -> None:
    found = routed(("person", 0.985, [0.0, 0.0, 0.4, 1.0]), ("person", 0.995, [0.6, 0.0, 1.0, 1.0]))
    assert found["body"] == [pytest.approx([0.6, 0.0, 1.0, 1.0])]
    assert found["background"] == pytest.approx(0.2, abs=0.02)


def test_a_thing_on_a_plain_ground_is_boxed_and_called_by_its_label() -> None:
    picture = np.full((96, 96, 3), 250, np.uint8)
    picture[24:72, 12:60] = (200, 120, 40)
    rows = [{"labels": [{"name": "group", "value": value}]} for value in ("person-role", "tool")]
    images = [picture, np.full((96, 96, 3), 250, np.uint8)]
    pairs = PairBatch(np.arange(2), ["0", "1"], rows, images=images)
    step = Foreground(ForegroundSettings(label="group", names={"person": "person", "per": "share"}))
    found = step.score(pairs)
    assert found["labels"] == [["person"], []]
    assert found["boxes"][0][0] == pytest.approx([0.125, 0.25, 0.625, 0.75])
    assert found["scores"][0] == [1.0]
    striped = picture.copy()
    striped[::2, :6] = 0
    assert box_of(striped, 16)[1] < 0.98  # a border that is not plain is no sure ground


# Parts and their merging


def told(**wish: Any) -> list[str | None]:
    columns = {
        "route.face": [[[0.4, 0.1, 0.6, 0.3]], [], None],
        "colours.names": [[["yellow", "brown"]], [], None],
        "route.background": [0.5, None, 0.3],
        "ground.background": ["white", "white", ""],
    }
    rows = [{"captions": [{"source": "alt", "text": "grinning face", "lang": "en", "ordinal": 0}]} for _ in range(3)]
    pairs = PairBatch(np.arange(3), ["0", "1", "2"], rows, columns=columns)
    step = PartCaption(PartCaptionSettings.parse(wish, "test"))
    step.setup("cpu")
    return [one and one.text for one in step.caption(pairs)]


def test_a_part_is_told_of_where_there_is_one_with_attributes_of_its_own() -> None:
    face = {"of": "route.face", "noun": "face"}
    assert told(**face, said="alt", attributes="colours.names") == ["grinning yellow and brown face", None, None]
    body = {"of": "route.face", "noun": "person", "said": "alt"}
    assert told(**body, attributes="colours.names") == ["grinning face, in yellow and brown", None, None]
    assert told(**face, attributes="colours.names") == ["a yellow and brown face", None, None]
    ground = {"of": "route.background", "noun": "background", "attributes": "ground.background"}
    assert told(**ground) == ["a white background", None, "a background"]


def merging(parts: dict[str, str | None], answer: str | None = None, **wish: Any) -> Any:
    step = MergeParts(MergePartsSettings.parse({"parts": list(parts)} | wish, "test"))
    step.setup("cpu")
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], extra_captions={name: [text] for name, text in parts.items()})
    return step.caption(pairs)[0]


PARTS = {"face": "a round face with brown eyes", "body": "a woman in a red coat", "background": "a street with trees"}


def test_the_merged_caption_holds_each_parts_nouns_and_nothing_else() -> None:
    text = merging(PARTS).text
    assert text == "A round face with brown eyes. A woman in a red coat. A street with trees."
    assert (
        nouns_of(" . ".join(PARTS.values())) == {"face", "eyes", "woman", "coat", "street", "trees"} == nouns_of(text)
    )


def test_a_part_that_is_missing_is_left_out_and_without_any_there_is_no_caption() -> None:
    assert merging(PARTS | {"body": None}).text == "A round face with brown eyes. A street with trees."
    assert merging({"face": None, "body": None}) is None


words = st.sampled_from(
    ["a", "red", "coat", "of", "wool", "with", "buttons", "and", "two", "dogs", "near", "old", "gate"]
)
parts_of_any_length = st.lists(st.lists(words, min_size=1, max_size=200).map(" ".join), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(parts_of_any_length, st.sampled_from(sorted(WORDS.values())))
def test_each_format_obeys_its_budget_and_keeps_every_noun(parts: list[str], budget: int) -> None:
    text = merged(parts, budget)
    assert len(text.split()) <= budget
    assert nouns_of(" . ".join(parts)) <= nouns_of(text) | {word.strip(".,").casefold() for word in text.split()}
    if sum(len(part.split()) for part in parts) <= budget:
        assert len(text.split()) == sum(len(part.split()) for part in parts)


@pytest.mark.parametrize(("name", "most"), [("short", 70), ("detailed", 300), ("hq", 500)])
def test_the_formats_are_the_papers(name: str, most: int) -> None:
    long = {part: " ".join(f"{text} and" for _ in range(60)) for part, text in PARTS.items()}
    assert most - 10 <= len(merging(long, format=name).text.split()) <= most


@pytest.mark.parametrize("answer", ["A woman in a red coat.", "word " * 80, "I'm sorry, I cannot help with that.", ""])
def test_a_language_models_answer_that_loses_a_noun_or_is_too_long_gives_way_to_the_rules(answer: str) -> None:
    step = MergeParts(
        MergePartsSettings.parse({"parts": list(PARTS), "format": "short", "text_model": written_by(answer)}, "test")
    )
    step.words, step.text_model = WORDS["short"], RuleWriter(lambda _: answer)
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], extra_captions={name: [text] for name, text in PARTS.items()})
    (one,) = step.caption(pairs)
    assert one is not None
    assert one.note == BY_RULES
    assert one.text == merged(list(PARTS.values()), WORDS["short"])


def test_by_rules_every_row_is_ok() -> None:
    one = merging(PARTS)
    assert (one.status, one.note) == ("ok", None)


def written_by(_: str) -> dict[str, str]:
    """Settings of a model that writes; what it writes is planted by the test."""
    return {"uses": "openai", "url": "http://localhost:9/v1", "model": "planted"}


# Align, then tune

FEATURES, PAIRS = 12, 96
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "width": 32,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "max_words": 8,
    "least": 1,
    "steps": 60,
    "batch_size": 32,
    "warmup_steps": 5,
    "lr": 5e-3,
}
NOUNS = ("dog", "cat", "bus", "tree")


def population() -> ArrayPopulation:
    draw = np.random.default_rng(0)
    kind = draw.integers(len(NOUNS), size=PAIRS)
    vectors = draw.normal(size=(len(NOUNS), FEATURES))[kind] + 0.2 * draw.normal(size=(PAIRS, FEATURES))
    texts = {
        "short": [f"a {NOUNS[k]}" for k in kind],
        "detailed": [f"an old {NOUNS[k]} on a small red bus" for k in kind],
    }
    return ArrayPopulation({"x.vector": vectors.astype(np.float32)}, texts)


def trained(folder: Path, **wish: Any) -> CaptionerTask:
    task = CaptionerTask(CaptionerSettings.parse(SMALL | wish, "test"))
    trainer = Trainer(task, population())
    trainer.train(lambda _: None)
    trainer.save(folder)
    return task


def base_of(task: CaptionerTask) -> str:
    """The hash of what a step must leave alone: the decoder without its adapters."""
    return locked_hash(task.model.decoder)


def built(**wish: Any) -> CaptionerTask:
    task = CaptionerTask(CaptionerSettings.parse(SMALL | wish, "test"))
    task.population, task.device = population(), torch.device("cpu")
    torch.manual_seed(0)
    task.model = task.build()
    return task


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return resolve_model(str(tiny_language_model(tmp_path_factory.mktemp("llama"))))


def moved(task: CaptionerTask, steps: int = 3) -> tuple[set[str], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Names of weights that a few steps of training change, and all weights before and after."""
    trainer = Trainer(task, population())
    before = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    trainer.train(lambda _: None)
    after = trainer.model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}, before, after


def test_aligning_moves_the_projection_alone_and_tuning_only_adapters_beside_it(language_model: Any) -> None:
    short = {"source": "short", "decoder": language_model, "steps": 3}
    align, _, _ = moved(CaptionerTask(CaptionerSettings.parse(SMALL | short, "test")))
    assert align
    assert all(name.startswith("prefix.") for name in align)
    long = short | {"source": "detailed", "lora_rank": 4}
    tune, _, _ = moved(CaptionerTask(CaptionerSettings.parse(SMALL | long, "test")))
    assert {name.rpartition(".")[2] for name in tune if not name.startswith("prefix.")} == {"lora_a", "lora_b"}


def test_the_base_has_the_same_hash_before_aligning_and_after_tuning(language_model: Any, tmp_path: Path) -> None:
    base = base_of(built(source="short", decoder=language_model))
    aligned = trained(tmp_path / "align", source="short", decoder=language_model, steps=5)
    assert base_of(aligned) == base
    start = {"init": resolve_model(str(tmp_path / "align")), "decoder": language_model, "steps": 5}
    tuned = CaptionerTask(CaptionerSettings.parse(SMALL | start | {"source": "detailed", "lora_rank": 4}, "test"))
    trainer = Trainer(tuned, population())
    trainer.train(lambda _: None)
    adapted = {name.replace(".lora_a", "") for name in tuned.model.state_dict() if name.endswith("lora_a")}
    assert adapted
    plain = {name: value for name, value in tuned.model.decoder.state_dict().items() if "lora_" not in name}
    same = built(source="short", decoder=language_model).model.decoder.state_dict()
    assert plain.keys() == same.keys()
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    trainer.save(tmp_path / "tune")
    assert json.loads((tmp_path / "tune" / "adapter.json").read_text())["layers"]


def test_a_tuned_model_says_from_its_folder_what_it_said_with_adapters(tmp_path: Path) -> None:
    speak = {"source": "detailed", "steps": 40}
    trained(tmp_path / "speak", **speak)
    tune = {"source": "detailed", "lora_rank": 4, "init": resolve_model(str(tmp_path / "speak")), "steps": 40}
    task = CaptionerTask(CaptionerSettings.parse(SMALL | tune, "test"))
    trainer = Trainer(task, population())
    trainer.train(lambda _: None)
    pictures = {"image": torch.from_numpy(np.asarray(population().read(np.arange(16), 0, 0).column("x.vector")))}
    before = task.model.eval().generate(pictures)
    trainer.save(tmp_path / "tune")
    assert load_captioner(tmp_path / "tune").generate(pictures) == before
    assert any("old" in texts[0] for texts in before)


def test_a_model_that_goes_on_from_another_keeps_its_words_whatever_it_reads(tmp_path: Path) -> None:
    trained(tmp_path / "speak", source="detailed", steps=2)
    later = built(source="short", init=resolve_model(str(tmp_path / "speak")))
    assert later.model.tokens.words == load_captioner(tmp_path / "speak").tokens.words
    assert "red" in later.model.tokens.words  # which no short caption has


def test_adapters_of_rank_zero_are_none_and_train_to_the_same_bits() -> None:
    plain = fitted(source="short")
    zero = fitted(source="short", lora_rank=0, lora_alpha=3.0)
    assert plain.keys() == zero.keys()
    assert all(torch.equal(plain[name], zero[name]) for name in plain)


def fitted(**wish: Any) -> dict[str, torch.Tensor]:
    task = CaptionerTask(CaptionerSettings.parse(SMALL | {"steps": 4} | wish, "test"))
    fit_here(task, population())
    return dict(task.model.state_dict())


def test_an_adapted_model_begins_as_the_one_it_adapts() -> None:
    plain, adapted = built(source="short"), built(source="short", lora_rank=4)
    pictures = {"image": torch.randn(4, FEATURES)}
    tokens = plain.model.tokens.encode(["a dog"] * 4, 8)
    with torch.no_grad():
        assert torch.equal(plain.model.logits(pictures, tokens), adapted.model.logits(pictures, tokens))
        assert torch.equal(merge(adapted.model).logits(pictures, tokens), plain.model.logits(pictures, tokens))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A decoder taught sentences of detailed words before it sees what is planted, as a language model has been."""
    folder = tmp_path_factory.mktemp("speak")
    trained(folder, source="detailed", steps=20)
    return resolve_model(str(folder))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adapters_learn_what_the_projection_alone_does_not_at_equal_steps(seed: int, spoken: Any) -> None:
    draw = np.random.default_rng(seed)
    kind, size = draw.integers(len(NOUNS), size=PAIRS), draw.integers(2, size=PAIRS)
    vectors = np.concatenate([np.eye(len(NOUNS))[kind], np.eye(2)[size]], axis=1)
    vectors = np.pad(vectors, ((0, 0), (0, FEATURES - vectors.shape[1]))) + 0.1 * draw.normal(size=(PAIRS, FEATURES))
    texts = [f"{('small', 'old')[s]} {NOUNS[k]} on {('old', 'small')[s]} {NOUNS[k]}" for k, s in zip(kind, size)]
    planted = ArrayPopulation({"x.vector": vectors.astype(np.float32)}, {"alt": texts})
    wish = {"source": "alt", "init": spoken, "seed": seed, "steps": 60}
    costs = []
    for adapted in ({"lora_rank": 8}, {"freeze": [r"^decoder\."]}):
        task = CaptionerTask(CaptionerSettings.parse(SMALL | wish | adapted, "test"))
        fit_here(task, planted)
        costs.append(measure(task.model, planted, task.settings)["nats_per_word"])
    assert costs[0] < 0.8 * costs[1], costs
