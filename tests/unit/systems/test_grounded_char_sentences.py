"""Sentences grounded in pictures, from characters: the tower, the hinge, the sum of a cyclic training's snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from safetensors.torch import load_file
from shapes import shapes_dataset
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.benchmarks.caption_pairs import CaptionPairs, CaptionPairsSettings, nearer
from pairwright.components.evaluate.benchmarks.retrieval import Retrieval, RetrievalSettings
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.formats import load_model
from pairwright.components.models.resolve import feature_width, resolve_model
from pairwright.components.models.snapshot_ensemble import SnapshotEnsemble
from pairwright.components.models.towers.characters import CharacterTower
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.objectives.hinge import Hinge, HingeSettings
from pairwright.components.pretrain.snapshot_ensemble import (
    FitSnapshotEnsemble,
    SnapshotEnsembleSettings,
    cycles_done,
)
from pairwright.components.training.batch import Batch
from pairwright.components.training.gradients import joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.run import train
from pairwright.components.training.trainer import Trainer

FLOAT32 = Precision("float32", torch.device("cpu"))
CHARACTERS = resolve_model("builtin:characters")


# -- the tower ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tower() -> CharacterTower:
    return CharacterTower(hidden=24)


def vector(tower: CharacterTower, *texts: str) -> torch.Tensor:
    with torch.no_grad():
        return tower(**tower.tokens(texts))


def test_a_word_never_seen_is_read_and_the_order_of_letters_is(tower: CharacterTower) -> None:
    dog, dgo, wug, accent = vector(tower, "dog", "dgo", "wug", "dög")
    for one, other in ((dog, dgo), (dog, wug), (dog, accent)):
        assert float((one - other).norm()) > 1e-3
    assert torch.isfinite(vector(tower, "", "x" * 5000, "日本語")).all()


def test_attention_sums_to_1_over_time_for_every_dimension_of_its_own(tower: CharacterTower) -> None:
    tokens = tower.tokens(["a dog", "a very long sentence about a dog"])
    with torch.no_grad():
        h = tower.states(**tokens)
        a = tower.attention(h, tokens["mask"])
    assert a.shape == h.shape == (2, 32, 48)
    assert torch.allclose(a.sum(1), torch.ones(2, 48), atol=1e-6)
    assert (a[0, 5:] == 0).all()  # no share of padding
    assert float((a[1].std(1)).max()) > 1e-4  # dimensions look at other characters
    assert torch.allclose((a * h).sum(1), vector(tower, "a dog", "a very long sentence about a dog"), atol=1e-6)


def test_padding_leaves_a_vector_as_it_is_where_the_released_softmax_does_not(tower: CharacterTower) -> None:
    alone, beside = vector(tower, "a dog")[0], vector(tower, "a dog", "w" * 150)[0]
    assert torch.allclose(alone, beside, atol=1e-6)
    tokens = tower.tokens(["a dog", "w" * 150])
    with torch.no_grad():
        h = tower.states(**tokens)
        released = (tower.v(torch.tanh(tower.w(h))).softmax(1) * h).sum(1)[0]
    assert float((released - alone).norm()) > 0.1 * float(alone.norm())


@pytest.mark.parametrize(("name", "width"), [("characters", 512), ("characters-1024", 2048)])
def test_it_is_a_tower_by_name(name: str, width: int) -> None:
    found = load_text_tower(f"builtin:{name}")
    assert found.width == feature_width(resolve_model(f"builtin:{name}"), "text") == width
    assert found.features(["a dog", "two dogs"]).shape == (2, width)


# -- the hinge ------------------------------------------------------------------------------------


def hinge(image: torch.Tensor, text: torch.Tensor, own: slice = slice(None)) -> float:
    batch = Batch({}, torch.arange(len(image)), [str(i) for i in range(len(image))], own=own)
    return float(Hinge(HingeSettings()).losses({"image": image, "text": text, "scale": 14.0}, batch)["loss"])


def test_two_pairs_cost_what_a_hand_reckons() -> None:
    image = torch.eye(2, dtype=torch.float64)
    text = torch.tensor([[0.9, (1 - 0.81) ** 0.5], [0.8, 0.6]], dtype=torch.float64)  # s = .9 .8 / .436 .6
    s = [[0.9, 0.8], [(1 - 0.81) ** 0.5, 0.6]]
    by_hand = (0.2 + 0.8 - 0.9) + (0.2 + s[1][0] - 0.6) + (0.2 + 0.8 - 0.6) + max(0, 0.2 + s[1][0] - 0.9)
    assert hinge(image, text) == pytest.approx(by_hand / 4, abs=1e-12)


def test_it_is_0_once_margins_hold_and_not_a_hair_before() -> None:
    image = torch.eye(6, dtype=torch.float64)
    assert hinge(image, image) == pytest.approx(0, abs=1e-15)
    text = image.clone()
    text[0] = 0.0
    text[0, 0], text[0, 1] = 0.6, 0.8  # s_00 = .6, s_10 = .8 against s_00 and s_11
    assert hinge(image, text) == pytest.approx((0.2 + 0.8 - 0.6) / 36, abs=1e-12)
    text[0, 1], text[0, 2] = 0.4 - 1e-3, 0.0
    assert hinge(image, text) == pytest.approx(0, abs=1e-15)


def test_all_impostors_count_and_ranks_have_the_mean_of_the_joint_batch() -> None:
    noise = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(6, 4, generator=noise, dtype=torch.float64), dim=-1) for _ in range(2))
    s, total = (image @ text.T).numpy(), 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                total += max(0, 0.2 + s[i, j] - s[i, i]) + max(0, 0.2 + s[i, j] - s[j, j])
    assert hinge(image, text) == pytest.approx(total / 36, abs=1e-9)
    halves = [hinge(image, text, own) for own in (slice(0, 3), slice(3, 6))]
    assert sum(halves) / 2 == pytest.approx(total / 36, abs=1e-9)


# -- snapshots ------------------------------------------------------------------------------------


def settings(**changes: Any) -> SnapshotEnsembleSettings:
    values = tiny_settings(text_tower=CHARACTERS, objective="hinge", trainable="text").model_dump()
    return SnapshotEnsembleSettings.parse({**values, "schedule": "cyclic", "cycles": 3, **changes}, "test")


def config(view: ColumnsView, root: Path, name: str, **changes: Any) -> dict[str, Any]:
    made = FitSnapshotEnsemble(settings(**changes)).train_config(
        dataset=view.dataset,
        store_root=view.store.root,
        steps=view.steps,
        pairs=None,
        checkpoints=root / f"{name}.checkpoints",
        folder=root / name,
    )
    return made | {"threads": 1}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 48, 1), root)


@pytest.fixture(scope="module")
def trained(view: ColumnsView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    train(config(view, root, "whole", steps=14, warmup_steps=2), 0, 1, lambda m: None)
    return root / "whole"


@pytest.mark.parametrize(("steps", "warmup", "cycles"), [(14, 2, 3), (17, 2, 4), (5, 0, 5), (100, 10, 7)])
def test_a_snapshot_is_of_the_end_of_each_cycle_where_the_rate_is_lowest(steps: int, warmup: int, cycles: int) -> None:
    from pairwright.components.training.schedule import learning_rate

    said = {"peak": 1.0, "warmup_steps": warmup, "steps": steps, "schedule": "cyclic", "cycles": cycles}
    rates = [learning_rate(step, **said) for step in range(steps)]  # type: ignore[arg-type]
    done = [cycles_done(taken, warmup, steps, cycles) for taken in range(steps + 1)]
    ends = [taken for taken in range(1, steps + 1) if done[taken] > done[taken - 1]]
    assert len(ends) == cycles
    for end in ends[:-1]:
        assert rates[end] > rates[end - 1] or steps - warmup == cycles  # the next cycle starts from the peak again
    assert ends[-1] == steps


def test_there_are_as_many_members_as_cycles_and_their_vectors_are_summed(trained: Path) -> None:
    model = load_model(trained, "dual_encoder")
    assert isinstance(model, SnapshotEnsemble)
    assert len(model.members) == 3
    text, image = model.text_features(["a red circle", "a dog"]), torch.randn(4, 64)
    x = sum(one.project_image(image) for one in model.members)
    y = sum(one.encode_text(["a red circle", "a dog"]) for one in model.members)
    assert torch.allclose(model.sum_of_images(image) @ model.sum_of_texts(text).T, x @ y.T, atol=1e-5)
    cosines = model.encode_image_features(image) @ model.encode_text(["a red circle", "a dog"]).T
    norms = x.norm(dim=1)[:, None] * y.norm(dim=1)[None, :]
    assert torch.allclose(cosines * norms, x @ y.T, atol=1e-4)
    vectors = [one.encode_text(["a dog"]) for one in model.members]
    assert all(not torch.allclose(vectors[0], other, atol=1e-4) for other in vectors[1:])
    assert model.members[0].image_tower is model.members[2].image_tower
    base = load_dual_encoder(trained / "base")  # whole by itself, and the last snapshot
    assert torch.allclose(base.encode_text(["a dog"]), vectors[2], atol=1e-6)


def test_saved_again_it_is_the_same(trained: Path, tmp_path: Path) -> None:
    model = load_model(trained, "dual_encoder")
    model.save(tmp_path / "again")
    again = load_model(tmp_path / "again", "dual_encoder")
    assert torch.equal(model.encode_text(["a dog"]), again.encode_text(["a dog"]))
    tokens, pixels = model.tokens(["a dog"]), torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    assert torch.allclose(model.embed_tokens(tokens), model.encode_text(["a dog"]), atol=1e-6)
    assert torch.allclose(model.embed_pixels(pixels), model.encode_image(pixels.numpy()), atol=1e-6)


def test_one_cycle_is_the_plain_dual_encoder(view: ColumnsView, tmp_path: Path) -> None:
    same = {"text_tower": CHARACTERS, "objective": "hinge", "trainable": "text", "steps": 6}
    train(tiny_config(view, tmp_path, "plain", **same), 0, 1, lambda m: None)
    train(config(view, tmp_path, "one", cycles=1, steps=6), 0, 1, lambda m: None)
    plain, one = (tmp_path / name / "model.safetensors" for name in ("plain", "one/base"))
    assert plain.read_bytes() == one.read_bytes()
    texts = ["a red circle", "a dog"]
    vectors = [load_model(tmp_path / name, "dual_encoder").encode_text(texts) for name in ("plain", "one")]
    assert torch.allclose(*vectors, atol=1e-6)


@pytest.mark.slow
def test_killed_in_a_later_cycle_it_ends_with_the_same_members(
    view: ColumnsView, trained: Path, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 11:
            raise Stopped

    said = config(view, tmp_path, "stopped", steps=14, warmup_steps=2)
    with pytest.raises(Stopped):
        train(said, 0, 1, stop)
    train(said, 0, 1, lambda m: None)
    first, second = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "stopped"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_what_snapshots_cannot_be_of_is_one_line() -> None:
    for changes, says in (
        ({"schedule": "cosine"}, "ends of cycles"),
        ({"trainable": "all"}, "locked image tower"),
        ({"average": 0.9}, "summed, not averaged"),
    ):
        with pytest.raises(InvalidRecipe, match=says):
            settings(**changes)


def test_gradient_reaches_the_text_tower_and_the_projections_alone_and_the_cache_gives_it() -> None:
    task = FitSnapshotEnsemble(settings())
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    fields = {"image": torch.randn(6, 64), "text": task.encoder.tokens([f"number {i}" for i in range(6)])}
    batch = Batch(fields | {"groups": torch.arange(6)}, torch.arange(6), list("abcdef"))
    found = []
    for micro in (0, 2):
        joint_gradients(task, task.model, batch, batch, micro, FLOAT32)
        found.append({name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None})
        task.model.zero_grad(set_to_none=True)
    assert {name.partition(".")[0] for name in found[0]} == {"text_tower", "image_projection", "text_projection"}
    for name, value in found[0].items():
        assert (found[1][name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


# -- the probe ------------------------------------------------------------------------------------


def test_the_probe_is_half_by_chance_and_one_by_an_oracle_and_asks_only_other_groups() -> None:
    groups = np.array([0, 0, 1, 2])
    assert nearer(np.eye(4), groups).tolist() == [1, 1, 1, 1]
    assert nearer(np.zeros((4, 4)), groups).tolist() == [0.5] * 4
    worse = np.eye(4)
    worse[0, 1] = 2.0  # nearer, but of its own group
    worse[2, 3] = 2.0
    assert nearer(worse, groups) == pytest.approx([1, 1, 2 / 3, 1])
    noise = np.random.default_rng(0).normal(size=(300, 300))
    assert nearer(noise, np.arange(300)).mean() == pytest.approx(0.5, abs=0.06)


class Counting(DualEncoder):
    """Texts "WORD number" -> the number, whatever the word."""

    dim, image_size = 12, 32

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def text_features(self, texts: Any) -> torch.Tensor:
        return F.one_hot(torch.tensor([int(text.split()[1]) for text in texts]), 12).float()

    def project_text(self, features: Any) -> torch.Tensor:
        return F.normalize(features, dim=-1)


def test_the_probe_reads_two_captions_of_a_picture(tmp_path: Path) -> None:
    with ShardWriter(f"{tmp_path}/pairs", "pairs") as writer:
        for n in range(12):
            texts = [caption(f"one {n}"), *([caption(f"eins {n}", source="keywords")] if n != 5 else [])]
            writer.add(str(n), [], texts, group=f"g{n}")
    (metric,) = CaptionPairs(CaptionPairsSettings()).evaluate(Counting(), writer.dataset)
    assert (metric.value, metric.n) == (1.0, 11)
    with pytest.raises(DatasetError, match='captions "alt" and "title"'):
        CaptionPairs(CaptionPairsSettings(second="title")).evaluate(Counting(), writer.dataset)


# -- planted: characters and snapshots against what they are for ----------------------------------

COLOURS, THINGS, PLACES = ("red", "green", "blue", "grey"), ("cat", "dog", "cow", "pig", "owl"), ("hut", "sea", "hill")


def planted(rows: int, seed: int) -> ArrayPopulation:
    """Pictures of a thing of a colour at a place, said in one of three ways."""
    looks = np.random.default_rng(9).normal(size=(3, 5, 64))
    draw = np.random.default_rng(seed)
    facts = np.stack([draw.integers(0, n, rows) for n in (4, 5, 3)], 1)
    seen = sum(looks[k, facts[:, k]] for k in range(3)) + 1.5 * draw.normal(size=(rows, 64))
    ways = ("a {} {} by the {}", "the {2}, and a {0} {1}", "{1}: {0}, {2}")
    said = [
        ways[at].format(COLOURS[a], THINGS[b], PLACES[c]) for at, (a, b, c) in zip(draw.integers(0, 3, rows), facts)
    ]
    return ArrayPopulation(
        {"image_features.vector": seen.astype(np.float32)}, {"alt": said}, groups=facts @ [1, 10, 100]
    )


def finds(model: Any, rows: int = 150) -> float:
    """Share of new captions whose first picture is a right one."""
    new = planted(rows, 777).read(np.arange(rows), 0, 0)
    image = model.encode_image_features(new.column("image_features.vector"))
    scores = (model.encode_text(new.texts("alt")) @ image.T).numpy()
    first = new.groups[scores.argmax(1)]
    return float((first == new.groups).mean())


@pytest.mark.slow
def test_the_sum_of_snapshots_finds_more_than_a_snapshot_does_on_average(tmp_path: Path) -> None:
    for seed in range(3):
        wish = settings(steps=54, cycles=3, lr=4e-3, batch_size=24, dim=32, warmup_steps=6, seed=seed)
        task = FitSnapshotEnsemble(wish)
        task.device = torch.device("cpu")
        task.prepare()
        trainer = Trainer(task, planted(200, seed), checkpoints=None)
        trainer.train()
        trainer.save(tmp_path / str(seed))
        model = load_model(tmp_path / str(seed), "dual_encoder")
        each = [finds(member) for member in model.members]
        print(finds(model), each)
        assert finds(model) > np.mean(each)


def test_it_is_measured_like_any_dual_encoder(trained: Path, view: ColumnsView) -> None:
    found = Retrieval(RetrievalSettings()).evaluate(load_model(trained, "dual_encoder"), view.dataset)
    assert all(metric.n == 48 for metric in found if metric.name == "i2t_r1")
