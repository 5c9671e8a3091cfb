"""What objectives share: each option against a formula written out, off bit for bit, over ranks and by the cache."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from safetensors.torch import load_file
from shapes import shapes_dataset
from torch import Tensor

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.digest import op_digest
from pairwright.components.errors import ColumnError, InvalidRecipe, NotFinite
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.training.batch import Batch
from pairwright.components.training.gradients import joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.run import train

FLOAT32 = Precision("float32", torch.device("cpu"))
COUNT = 8
CAPTIONS = ["A red square", "a blue circle", "the red square!", "a cat", "a dog", "a green star", "a cow", "a cat"]
HARD = ["a blue square", "a red circle", "a blue square", "a dog", "a cat", "a red star", "a red square", "a pig"]
SAME = {(0, 2), (2, 0), (3, 7), (7, 3)}  # whose captions say the same
WEIGHTS = np.array([1, 2, 0, 0.5, 1, 1, 3, 1], np.float32)
FEATURES = {"alt": "text_features.vector", "hard": "hard.vector"}
EVERYTHING = {
    "positives": "pair.label.kind",
    "ignore": "pair.caption.alt",
    "smoothing": 0.1,
    "soft": {"column": "teacher.vector", "share": 0.4},
    "hard_texts": ["hard"],
    "weights": "w.weight",
}


def population(**columns: Any) -> ArrayPopulation:
    draw = np.random.default_rng(0)
    names = ("image_features.vector", "text_features.vector", "hard.vector", "teacher.vector")
    vectors = {name: draw.normal(size=(COUNT, 64)).astype(np.float32) for name in names}
    labels = {"kind": ["x", "y", None, "x", None, "z", "z", "w"], "own": list("abcdefgh")}
    return ArrayPopulation({**vectors, "w.weight": WEIGHTS, **columns}, {"alt": CAPTIONS, "hard": HARD}, labels=labels)


def built(objective: Any, **changes: Any) -> tuple[FitDualEncoder, Any, Batch]:
    """The task, its model, and a batch of eight pairs."""
    task = FitDualEncoder(tiny_settings(objective=objective, text_features=FEATURES, **changes))
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    examples = population().read(np.arange(COUNT), 0, 0)
    return task, task.model, Batch(task.collate(examples), torch.arange(COUNT), examples.keys)


def clip(**said: Any) -> dict[str, Any]:
    return {"uses": "clip", "with": said}


def loss(objective: Any) -> Tensor:
    task, _, batch = built(objective)
    return task.losses(task.encode(batch), batch)["loss"]


def cosines(said: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
    """Logits of pictures to captions and to hard texts in float64, by the model of these settings."""
    task, model, batch = built(clip(**said))
    found = {name.removeprefix("clip."): value for name, value in task.encode(batch).items()}
    image, text = found["image"].detach().double().numpy(), found["text"].detach().double().numpy()
    hard = found["hard"].detach().double().numpy()[:, 0] if "hard" in found else np.zeros((0, image.shape[1]))
    scale = float(model["encoder"].scale.detach() if hasattr(model, "keys") else model.scale.detach())
    return scale * image @ text.T, scale * image @ hard.T, found


def cross_entropy(logits: np.ndarray, q: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """-sum q log p of each row, p over the columns that are not out."""
    each = []
    for row in range(len(logits)):
        seen = [j for j in range(logits.shape[1]) if out is None or not out[row, j]]
        whole = math.log(sum(math.exp(logits[row, j]) for j in seen))
        each.append(-sum(q[row, j] * (logits[row, j] - whole) for j in seen))
    return np.array(each)


EYE = np.eye(COUNT)
ALIKE = np.array([[i == j or (i, j) in SAME for j in range(COUNT)] for i in range(COUNT)])


@pytest.mark.parametrize("uses", ["clip", "siglip"])
@pytest.mark.parametrize(
    "off",
    [{"smoothing": 0.0}, {"soft": {"column": "teacher.vector", "share": 0.0}}, {"hard_texts": []}, {"weights": None}],
)
def test_an_option_that_is_off_is_the_plain_loss_bit_for_bit(uses: str, off: dict[str, Any]) -> None:
    if uses == "siglip" and "soft" in off:
        return
    assert torch.equal(loss(uses), loss({"uses": uses, "with": off}))
    assert torch.equal(loss(uses), loss([{"uses": uses}, {"uses": uses, "called": "more", "weight": 0}]))


def test_no_column_of_an_option_that_is_off_is_read() -> None:
    task, _, _ = built(clip(soft={"column": "teacher.vector", "share": 0}))
    assert set(task.column_names()) == {"image_features.vector", "text_features.vector"}
    task, _, _ = built(clip(**EVERYTHING))
    assert {"teacher.vector", "w.weight", "hard.vector"} <= set(task.column_names())


def test_smoothing_is_torchs() -> None:
    logits, _, _ = cosines({"smoothing": 0.1})
    wanted = [
        torch.nn.functional.cross_entropy(torch.tensor(one), torch.arange(COUNT), label_smoothing=0.1)
        for one in (logits, logits.T)
    ]
    assert float(loss(clip(smoothing=0.1)).detach()) == pytest.approx(float(sum(wanted) / 2), abs=1e-5)


def test_identical_captions_are_right_for_each_others_pictures_or_no_wrong_ones() -> None:
    logits, _, _ = cosines({})
    shared = ALIKE / ALIKE.sum(1, keepdims=True)
    wanted = (cross_entropy(logits, shared) + cross_entropy(logits.T, shared)).mean() / 2
    assert float(loss(clip(positives="pair.caption.alt")).detach()) == pytest.approx(wanted, abs=1e-5)
    out = ALIKE & ~EYE.astype(bool)
    masked = (cross_entropy(logits, EYE, out) + cross_entropy(logits.T, EYE, out)).mean() / 2
    assert float(loss(clip(ignore="pair.caption.alt")).detach()) == pytest.approx(masked, abs=1e-5)
    plain = float(loss("clip").detach())
    assert masked < plain - 1e-4  # fewer wrong answers
    assert abs(wanted - plain) > 1e-4
    both = clip(positives="pair.caption.alt", ignore="pair.caption.alt")
    assert float(loss(both).detach()) == pytest.approx(wanted, abs=1e-5)  # a right answer is never left out


def test_siglip_counts_or_leaves_out_identical_captions() -> None:
    task, _, batch = built("siglip")
    found = task.encode(batch)
    logits = 10.0 * found["image"].detach().double() @ found["text"].detach().double().T - 10.0
    each = torch.nn.functional.softplus(-torch.where(torch.tensor(ALIKE), logits, -logits))
    counted = float(loss({"uses": "siglip", "with": {"positives": "pair.caption.alt"}}).detach())
    assert counted == pytest.approx(float(each.sum() / COUNT), abs=1e-4)
    plain = torch.nn.functional.softplus(torch.where(torch.eye(COUNT) > 0, -logits, logits))
    plain[torch.tensor(ALIKE) & ~torch.eye(COUNT, dtype=torch.bool)] = 0
    left_out = float(loss({"uses": "siglip", "with": {"ignore": "pair.caption.alt"}}).detach())
    assert left_out == pytest.approx(float(plain.sum() / COUNT), abs=1e-4)
    with pytest.raises(InvalidRecipe, match="a softmax's"):
        built({"uses": "siglip", "with": {"smoothing": 0.1}})


def test_unicl_is_clip_where_every_label_is_another_and_shares_a_labels_answers() -> None:
    found = loss(clip(positives="pair.label.own"))
    assert float(found.detach()) == pytest.approx(float(loss("clip").detach()), abs=1e-6)
    logits, _, _ = cosines({})
    alike = EYE.copy()
    for i, j in ((0, 3), (5, 6)):
        alike[i, j] = alike[j, i] = 1
    shared = alike / alike.sum(1, keepdims=True)
    wanted = (cross_entropy(logits, shared) + cross_entropy(logits.T, shared)).mean() / 2
    assert float(loss(clip(positives="pair.label.kind")).detach()) == pytest.approx(wanted, abs=1e-5)


def test_a_teacher_has_its_share_of_the_answers() -> None:
    soft = {"column": "teacher.vector", "share": 0.4, "temperature": 0.5}
    logits, _, _ = cosines({})
    teacher = population()._columns["teacher.vector"].astype(np.float64)
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    answers = np.exp(teacher @ teacher.T / 0.5)
    q = 0.6 * EYE + 0.4 * answers / answers.sum(1, keepdims=True)
    wanted = (cross_entropy(logits, q) + cross_entropy(logits.T, q)).mean() / 2
    assert float(loss(clip(soft=soft)).detach()) == pytest.approx(wanted, abs=1e-4)


def test_hard_texts_are_wrong_for_every_picture_but_where_they_say_its_own_caption() -> None:
    logits, hard, _ = cosines({"hard_texts": ["hard"]})
    whole = np.concatenate([logits, hard], 1)
    out = np.zeros((COUNT, 2 * COUNT), bool)
    own = {(0, 6), (2, 6), (3, 4), (4, 3), (7, 4)}  # picture, whose hard text says its caption
    for i, j in own:
        out[i, COUNT + j] = True
    q = np.concatenate([EYE, np.zeros((COUNT, COUNT))], 1)
    wanted = (cross_entropy(whole, q, out) + cross_entropy(logits.T, EYE)).mean() / 2
    assert float(loss(clip(hard_texts=["hard"])).detach()) == pytest.approx(wanted, abs=1e-5)
    assert wanted > float(loss("clip").detach()) + 1e-4


def test_a_pair_counts_for_its_weight() -> None:
    logits, _, _ = cosines({})
    each = (cross_entropy(logits, EYE) + cross_entropy(logits.T, EYE)) / 2
    wanted = (each * WEIGHTS).sum() / WEIGHTS.sum()
    assert float(loss(clip(weights="w.weight")).detach()) == pytest.approx(wanted, abs=1e-5)
    assert abs(wanted - each.mean()) > 1e-3


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        (np.array([1, -0.5] + [1] * 6, np.float32), ColumnError, r"-0\.5; a weight is a number from 0"),
        (np.array([1, np.inf] + [1] * 6, np.float32), NotFinite, "weights"),
        (np.ones((COUNT, 2), np.float32), ColumnError, "holds no numbers"),
        (list("abcdefgh"), ColumnError, "holds no numbers"),
    ],
)
def test_weights_that_are_none_are_refused(values: Any, error: type[Exception], says: str) -> None:
    task, _, _ = built(clip(weights="w.weight"))
    with pytest.raises(error, match=says):
        task.collate(population(**{"w.weight": values}).read(np.arange(COUNT), 0, 0))


@pytest.mark.parametrize("uses", ["clip", "siglip"])
def test_own_rows_of_ranks_have_the_mean_of_the_joint_batch(uses: str) -> None:
    said = {name: value for name, value in EVERYTHING.items() if uses == "clip" or name not in ("smoothing", "soft")}
    task, _, batch = built({"uses": uses, "with": said})
    outputs = task.encode(batch)
    whole = task.losses(outputs, batch)["loss"]
    fields = {name: batch[name] for name in batch.names if isinstance(batch[name], Tensor) and batch[name].ndim == 1}
    ranks = [
        task.losses(outputs, Batch(fields, batch.numbers, batch.keys, own=own))["loss"]
        for own in (slice(0, 4), slice(4, 8))
    ]
    assert float(sum(ranks).detach() / 2) == pytest.approx(float(whole.detach()), abs=1e-5)


COMBINED = {
    "clip": {"with": EVERYTHING},
    "matryoshka": {"weight": 0.5, "with": {"of": clip(smoothing=0.2), "widths": {4: 0.5, 16: 1}}},
    "siglip": {"weight": 0.3, "with": {"hard_texts": ["hard"], "ignore": "pair.caption.alt"}},
    "one_to_k": {"weight": 0.2, "with": {"texts": ["alt", "hard"]}},
}


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("micro", [3, 1])
def test_the_gradient_cache_has_the_big_batchs_gradient_with_everything_on(micro: int) -> None:
    task, model, batch = built(COMBINED)
    whole = joint_gradients(task, model, batch, batch, 0, FLOAT32)
    wanted = gradients(model)
    cached = joint_gradients(task, model, batch, batch, micro, FLOAT32)
    found = gradients(model)
    assert float(cached["loss"].detach()) == pytest.approx(float(whole["loss"].detach()), abs=1e-5)
    assert found.keys() == wanted.keys()
    assert any("text_projection" in name for name in wanted)
    for name, value in wanted.items():
        assert (found[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


def test_objectives_are_weighed_and_named() -> None:
    task, _, batch = built(COMBINED)
    named = task.losses(task.encode(batch), batch)
    wanted = sum(COMBINED[name].get("weight", 1) * named[f"{name}.loss"] for name in COMBINED)
    assert float(named["loss"].detach()) == pytest.approx(float(wanted.detach()), abs=1e-6)


# -- Matryoshka -----------------------------------------------------------------------------------


def matryoshka(of: Any, widths: dict[int, float]) -> dict[str, Any]:
    return {"uses": "matryoshka", "with": {"of": of, "widths": widths}}


@pytest.mark.parametrize("of", ["clip", {"uses": "one_to_k", "with": {"texts": ["alt", "hard"]}}, {"uses": "dbl"}])
def test_the_whole_width_alone_is_the_objective_bit_for_bit(of: Any) -> None:
    assert torch.equal(loss(of), loss(matryoshka(of, {16: 1})))
    assert torch.equal(loss(of), loss(matryoshka(of, {16: 1, 8: 0})))
    assert not torch.equal(loss(of), loss(matryoshka(of, {16: 1, 8: 0.1})))


def test_each_width_is_the_loss_of_vectors_cut_short_and_normalised_again() -> None:
    task, model, batch = built(matryoshka("clip", {4: 0.5, 16: 2}))
    outputs = task.encode(batch)
    wanted = 0.0
    for width, c in ((4, 0.5), (16, 2)):
        image, text = (outputs[side].detach().double().numpy()[:, :width] for side in ("image", "text"))
        image, text = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (image, text))
        logits = float(model.scale.detach()) * image @ text.T
        wanted += c * (cross_entropy(logits, EYE) + cross_entropy(logits.T, EYE)).mean() / 2
    named = task.losses(outputs, batch)
    assert float(named["loss"].detach()) == pytest.approx(wanted, abs=1e-4)
    assert {"at_4", "at_16"} <= named.keys()


def test_a_width_beyond_the_space_is_one_line() -> None:
    with pytest.raises(InvalidRecipe, match=r"widths \[16, 32\] of a space of 16"):
        loss(matryoshka("clip", {16: 1, 32: 1}))


# -- several objectives, and what they read -------------------------------------------------------


def test_two_of_one_name_are_refused_and_called_otherwise_both_count() -> None:
    twice = [{"uses": "one_to_k", "with": {"texts": ["alt"]}}, {"uses": "one_to_k", "with": {"texts": ["hard"]}}]
    with pytest.raises(InvalidRecipe, match='two called "one_to_k"; give one a name'):
        built(twice)
    first, second = (float(loss(one).detach()) for one in twice)
    assert first != second
    found = float(loss([twice[0], {**twice[1], "called": "also", "weight": 0.5}]).detach())
    assert found == pytest.approx(first + 0.5 * second, abs=1e-5)  # neither read the other's texts


def test_a_plain_caption_is_read_only_where_an_objective_looks_at_it() -> None:
    texts = {"uses": "one_to_k", "with": {"texts": ["hard"]}}
    task, _, batch = built(texts)
    assert "text" not in batch
    assert "text" not in task.encode(batch)
    assert task.column_names() == ("image_features.vector", "hard.vector")
    assert task.caption_sources() == ("hard",)
    task, _, batch = built([texts, {"uses": "clip", "weight": 0.1}])
    assert "text" in batch
    assert task.caption_sources() == ("alt", "hard")


def test_what_a_choice_says_beside_its_settings_is_in_the_digest() -> None:
    def digest(objective: Any) -> str:
        return op_digest(FitDualEncoder(tiny_settings(objective=objective, text_features=FEATURES)))

    one = digest({"clip": 1, "siglip": 0.5})
    assert one == digest({"clip": 1, "siglip": 0.5})
    assert one != digest({"clip": 1, "siglip": 0.25})
    assert digest(matryoshka("clip", {16: 1})) != digest(matryoshka(clip(smoothing=0.1), {16: 1}))


# -- batches --------------------------------------------------------------------------------------


def test_trained_batches_are_without_duplicates_or_of_one_kind_as_asked(tmp_path: Path) -> None:
    view = features_view(shapes_dataset(tmp_path, 48, 2), tmp_path)
    batches: list[list[set[str]]] = []
    collate = FitDualEncoder.collate

    def noted(self: Any, examples: Any) -> Any:
        batches[-1].append({said.split(",")[0] for said in examples.texts("keywords")})
        return collate(self, examples)

    texts = {"alt": "text_features.vector", "keywords": "keyword_features.vector"}
    two = {"uses": "one_to_k", "with": {"texts": ["alt", "keywords"]}}
    wish = {"trainable": "all", "objective": two, "steps": 4, "batch_size": 4, "text_features": texts}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitDualEncoder, "collate", noted)
        for name, said in {
            "plain": {},
            "apart": {"distinct": "pair.label.colour"},
            "together": {"batches_of": "pair.label.colour"},
        }.items():
            batches.append([])
            train(tiny_config(view, tmp_path, name, **wish, **said), 0, 1, lambda m: None)
    plain, apart, together = ([len(colours) for colours in one[:4]] for one in batches)
    assert apart == [4, 4, 4, 4]
    assert together == [1, 1, 1, 1]
    assert any(1 < count < 4 for count in plain)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "apart"))
    assert any(not torch.equal(value, b[name]) for name, value in a.items())
