"""2SFT and MCIP: ArcMargin's identities, what each stage moves, and pictures of a class that come nearer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import tiny_settings
from safetensors.torch import load_file
from shapes import picture
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.benchmarks.image_retrieval import average_precision
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
from pairwright.components.models.formats import load_model
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.arc_margin import ArcMargin, ArcMarginSettings, arc_logits
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here
from pairwright.flows.recipes import load_recipe

CLASSES = 12
COLUMNS = {"alt": "text_features.vector", "keywords": "keyword_features.vector"}
ARC = {"uses": "arc_margin", "with": {"classes": "pair.label.kind"}}
MCIP = {"uses": "arc_margin", "with": {"classes": "pair.label.kind", "captions": ["alt", "keywords"]}}


def unit(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=-1)


# -- the kernel ------------------------------------------------------------------------------------


def test_without_a_margin_it_is_the_normalised_softmax_to_the_bit() -> None:
    cosines = unit(6, 8) @ unit(5, 8, seed=1).T
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    plain = F.cross_entropy(16.0 * cosines, target)
    assert torch.equal(F.cross_entropy(arc_logits(cosines, target, 0.0, 16.0), target), plain)


def test_the_targets_angle_is_widened_by_m_and_no_other() -> None:
    theta = torch.tensor([[0.4, 1.0, 2.0], [1.3, 0.2, 2.9]], dtype=torch.float64)
    found = arc_logits(theta.cos(), torch.tensor([1, 0]), 0.3, 10.0)
    wanted = 10 * torch.tensor([[math.cos(0.4), math.cos(1.3), math.cos(2.0)],
                                [math.cos(1.6), math.cos(0.2), math.cos(2.9)]], dtype=torch.float64)  # fmt: skip
    assert torch.allclose(found, wanted, atol=1e-12)


def test_it_falls_with_the_angle_over_the_whole_half_circle() -> None:
    """cos(theta + m) alone would rise again past pi - m, and draw a picture away from its class."""
    theta = torch.linspace(0.001, math.pi - 0.001, 500, dtype=torch.float64)
    phi = arc_logits(theta.cos()[:, None], torch.zeros(500, dtype=torch.long), 0.5, 1.0)[:, 0]
    assert bool((phi.diff() < 0).all())
    assert float((theta + 0.5).cos().diff().max()) > 0
    cosines = torch.tensor([[1.0, 0.2], [-1.0, 0.3]], dtype=torch.float64, requires_grad=True)
    arc_logits(cosines, torch.tensor([0, 0]), 0.5, 16.0).sum().backward()
    assert bool(cosines.grad.isfinite().all())  # type: ignore[union-attr]


# -- the objective -------------------------------------------------------------------------------------


def planted(rows: int, seed: int) -> tuple[ArrayPopulation, np.ndarray]:
    """Pairs of views of 18 facts, 6 of which are about their class; and the classes."""
    same, draw = np.random.default_rng(7), np.random.default_rng(seed)
    centre, kind = same.normal(size=(CLASSES, 6)), draw.integers(0, CLASSES, rows)
    facts = np.concatenate([centre[kind] + 0.5 * draw.normal(size=(rows, 6)), draw.normal(size=(rows, 12))], 1)
    names = ("image_features.vector", *COLUMNS.values())
    columns = {
        name: (facts @ same.normal(size=(18, 64)) + 3 * draw.normal(size=(rows, 64))).astype(np.float32)
        for name in names
    }
    return ArrayPopulation(columns, labels={"kind": [f"kind {one}" for one in kind]}), kind


def task_of(**wish: Any) -> FitDualEncoder:
    task = FitDualEncoder(tiny_settings(dim=32, batch_size=100, warmup_steps=5, text_features=COLUMNS, **wish))
    task.device = torch.device("cpu")
    task.prepare()
    return task


def batch_of(objective: dict[str, Any], rows: int = 20) -> tuple[FitDualEncoder, Batch]:
    task = task_of(objective=objective)
    task.population = planted(200, 0)[0]
    task.model = task.build()
    examples = task.population.read(np.arange(rows), 0, 0)
    return task, Batch(task.collate(examples), torch.arange(rows), examples.keys)


def test_a_class_is_a_label_and_its_centre_moves_with_its_pictures_alone() -> None:
    task, batch = batch_of(ARC)
    kinds = planted(200, 0)[1]
    classes = batch["arc_margin.class"].tolist()
    assert len(set(zip(classes, kinds[:20].tolist(), strict=True))) == len(set(classes)) == len(set(kinds[:20]))
    assert task.model["arc_margin"].weight.shape == (len(set(kinds)), 32)
    outputs = task.encode(batch)
    named = task.losses(outputs, batch)
    cosines = outputs["image"] @ F.normalize(task.model["arc_margin"].weight, dim=1).T
    target = batch["arc_margin.class"]
    assert torch.equal(named["loss"], F.cross_entropy(arc_logits(cosines, target, 0.3, 16.0), target))
    named["loss"].backward()
    got = {name for name, p in task.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.rpartition(".")[0] for name in got} == {
        "arc_margin",
        "encoder.image_projection.norm",
        "encoder.image_projection.map",
    }
    assert "text" not in outputs  # no caption is read where no loss looks at one


def test_captions_are_centres_of_their_own_picture_and_fellows_are_no_wrong_answers() -> None:
    task, batch = batch_of(MCIP)
    outputs = task.encode(batch)
    named = task.losses(outputs, batch)
    kind = batch["arc_margin.class"]
    each = []
    for source in (0, 1):
        texts, total = outputs["arc_margin.captions"][:, source], 0.0
        for i in range(20):
            theta = torch.acos((outputs["image"][i] @ texts.T).clamp(-1, 1)).double()
            own = torch.exp(16 * torch.cos(theta[i] + 0.3))
            others = torch.exp(16 * torch.cos(theta))[kind != kind[i]].sum()
            total -= float(torch.log(own / (own + others)).detach()) / 20
        each.append(total)
    assert named["captions"].item() == pytest.approx(np.mean(each), abs=1e-4)
    assert named["loss"].item() == pytest.approx((named["classes"] + named["captions"]).item(), abs=1e-6)
    assert len({*kind.tolist()}) < 20  # there were fellows to leave out


def test_captions_of_weight_0_are_the_class_loss_to_the_bit_and_are_not_read() -> None:
    settings = MCIP | {"with": MCIP["with"] | {"caption_weight": 0.0}}  # type: ignore[operator]
    (plain, batch), (left_out, same) = batch_of(ARC), batch_of(settings)
    assert batch.names == same.names
    assert torch.equal(
        plain.losses(plain.encode(batch), batch)["loss"], left_out.losses(left_out.encode(same), same)["loss"]
    )


def test_ranks_mean_is_the_joint_batchs() -> None:
    task, batch = batch_of(MCIP)
    outputs = {name: value.detach() for name, value in task.encode(batch).items()}
    parts = [
        task.losses(outputs, Batch({n: batch[n] for n in batch.names}, batch.numbers, batch.keys, own=own))["loss"]
        for own in (slice(0, 10), slice(10, 20))
    ]
    assert torch.allclose(sum(parts) / 2, task.losses(outputs, batch)["loss"], atol=1e-6)


def test_a_pair_without_its_class_is_no_example() -> None:
    objective = ArcMargin(ArcMarginSettings.parse({"classes": "pair.label.kind"}, "test"))
    reads = objective.reads()
    assert reads.labels == ("kind",)
    assert not reads.optional
    with pytest.raises(InvalidRecipe, match="nothing that makes two pairs the same"):
        ArcMarginSettings.parse({"classes": "pair.labels"}, "test")


# -- the stages ----------------------------------------------------------------------------------------


class Stages:
    """Models by name, each trained from another's folder."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed, self.learnt = root, seed, planted(800, seed)[0]
        self.held, self.kind = planted(300, seed + 100)

    def train(self, name: str, init: str = "", **wish: Any) -> Any:
        start = {"init": resolve_model(str(self.root / init)).model_dump(mode="json")} if init else {}
        task = task_of(seed=self.seed, lr=3e-3, **start, **wish)
        fit_here(task, self.learnt).save(self.root / name)
        return load_model(self.root / name, "dual_encoder")

    def vectors(self, model: Any) -> tuple[Tensor, Tensor]:
        examples = self.held.read(np.arange(300), 0, 0)
        return (
            model.encode_image_features(torch.from_numpy(examples.column("image_features.vector"))),
            model.encode_text_features(torch.from_numpy(examples.column("text_features.vector"))),
        )

    def measured(self, model: Any) -> tuple[float, float]:
        """t2i R@1 and i2i mAP."""
        image, text = self.vectors(model)
        rows = np.arange(300)
        _, t2i = retrieval_ranks(image.numpy(), text.numpy(), Positives(rows, rows, rows))
        return float((t2i == 1).mean()), float(average_precision(image.double().numpy(), self.kind).mean())


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Stages, dict[str, Any]]]:
    """Of three seeds the models by name."""
    found = []
    for seed in (0, 1, 2):
        at = Stages(tmp_path_factory.mktemp("stages"), seed)
        models = {"start": at.train("start", steps=150)}
        models["first"] = at.train("first", "start", objective=ARC, freeze=["text_projection"], steps=80)
        models["second"] = at.train("second", "first", freeze=["image_projection"], steps=150)
        models["mcip"] = at.train("mcip", "start", objective=MCIP, steps=80)
        models["mcip_second"] = at.train("mcip_second", "mcip", freeze=["image_projection"], steps=150)
        found.append((at, models))
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_stages_bring_classes_together_and_texts_back(stages: Any, seed: int) -> None:
    at, models = stages[seed]
    recall, precision = zip(*(at.measured(models[name]) for name in ("start", "first", "second")), strict=True)
    assert precision[1] > precision[0] + 0.04  # pictures of a class come nearer,
    assert recall[1] < 0.9 * recall[0]  # and texts are left behind,
    assert recall[2] >= 0.95 * recall[0]  # until they follow,
    assert torch.equal(at.vectors(models["second"])[0], at.vectors(models["first"])[0])  # to pictures that stay
    assert precision[2] == precision[1]


def test_captions_as_centres_bring_classes_together_and_leave_texts_less_far_behind(stages: Any) -> None:
    """Over three seeds; seed by seed texts are as far behind as without."""
    names = ("start", "first", "mcip", "mcip_second")
    found = np.array([[at.measured(models[name]) for name in names] for at, models in stages])
    recall, precision = found[..., 0], found[..., 1]
    assert (precision[:, 2] > precision[:, 0] + 0.04).all()
    assert recall[:, 2].mean() > recall[:, 1].mean() + 0.02
    assert (recall[:, 3] >= 0.95 * recall[:, 0]).all()


def test_a_folder_has_the_bases_tensors_and_no_others(stages: Any) -> None:
    for at, models in stages:
        saved = {name: load_file(at.root / name / "model.safetensors") for name in models}
        assert all(one.keys() == saved["start"].keys() for one in saved.values())
        moved = {name for name in saved["start"] if not torch.equal(saved["start"][name], saved["first"][name])}
        assert moved
        assert all(name.startswith("image_projection") for name in moved)


def test_a_picture_is_one_vector_in_the_index(tmp_path: Path) -> None:
    at = Stages(tmp_path, 0)
    model = at.train("one", objective=MCIP, steps=4)
    pictures = [np.asarray(picture(number)) for number in range(5)]
    assert model.encode_image(pictures).shape == (5, 32)


def test_average_precision_is_its_definition_and_ties_count_against() -> None:
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.9, math.sqrt(0.19)]])
    assert average_precision(vectors, np.array([0, 0, 1, 1]))[0] == pytest.approx(1 / 2)  # the right one is second
    assert average_precision(vectors, np.array([0, 0, 0, 1]))[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision(np.ones((4, 2)), np.array([0, 0, 1, 1])).tolist() == pytest.approx([1 / 3] * 4)
    draw = np.random.default_rng(0)
    kind = np.repeat(np.arange(10), 20)
    by_chance = average_precision(F.normalize(torch.from_numpy(draw.normal(size=(200, 16))), dim=1).numpy(), kind)
    assert by_chance.mean() == pytest.approx(19 / 199, abs=0.03)
    assert average_precision(np.eye(10)[kind], kind).min() == 1  # an oracle


def test_the_recipe_freezes_what_each_stage_must_not_move() -> None:
    train = load_recipe("optimizing_clip_retrieval").train
    assert train["realigned"].init == "step:classes"
    assert train["realigned"].with_["freeze"] == ["image_projection"]
    assert train["classes"].with_["freeze"] == ["text_projection"]
    assert train["classes"].with_["objective"]["with"]["classes"] == "pair.label.subgroup"
