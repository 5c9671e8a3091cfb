"""Prefix conditioning: which prefix learns from what, batches of one kind, what is read with it, and what it is for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import TINY_IMAGE, TINY_TEXT, tiny_settings
from PIL import ImageOps
from shapes import caption_text, facts_of, picture

from pairwright.components.component import FitInputs
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import feature_width, resolve_model
from pairwright.components.models.towers.minilm import pretrained as minilm
from pairwright.components.models.towers.prefixed import PrefixedText
from pairwright.components.models.towers.tiny import TinyText
from pairwright.components.models.towers.tower import TextTower
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.prefix_conditioning import PrefixConditioning, PrefixConditioningSettings
from pairwright.components.training.batch import Batch
from pairwright.components.training.gradients import joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.trainer import Trainer

FLOAT32 = Precision("float32", torch.device("cpu"))
KINDS = {"said": "caption", "filed": "class"}
FILED_AS = {"circle": "round_ones", "square": "fourSided", "triangle": "pointed/ones"}


def settings(**changes: Any) -> PrefixConditioningSettings:
    values: dict[str, Any] = {
        "image_tower": TINY_IMAGE,
        "text_tower": TINY_TEXT,
        "dim": 16,
        "steps": 6,
        "batch_size": 8,
        "lr": 3e-3,
        "warmup_steps": 2,
        "checkpoint_every": 1000,
        "trainable": "all",
        "kind": "from",
        "kinds": KINDS,
        "label": "file",
    }
    return PrefixConditioningSettings.parse(values | changes, "test")


def shapes(root: Path, pairs: int = 48, start: int = 0, name: str = "both", both: bool = True) -> Dataset:
    """Shapes with captions; every other one instead, its colours inverted, is only filed by its form."""
    with ShardWriter(f"{root}/{name}", name) as writer:
        for number in range(start, start + pairs):
            filed = both and number % 2 == 1
            stream = io.BytesIO()
            (ImageOps.invert(picture(number, 48)) if filed else picture(number, 48)).save(stream, "PNG")
            kind, form = ("from", "filed" if filed else "said"), ("file", FILED_AS[facts_of(number)[1]])
            texts = [] if filed else [caption(caption_text(number))]
            writer.add(f"{number}", [("image", "image", "png", stream.getvalue())], texts, [kind, form][: 1 + filed])
    return writer.dataset


def view(root: Path, **said: Any) -> ColumnsView:
    return ColumnsView(shapes(root, **said), ColumnStore(str(root / "columns")), {})


def built(**changes: Any) -> tuple[PrefixConditioning, Any]:
    task = PrefixConditioning(settings(**changes))
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    return task, task.model


def batch_of(task: PrefixConditioning, kinds: list[int], count: int = 6) -> Batch:
    noise = torch.Generator().manual_seed(3)
    text = task.encoder.tokens([f"the picture number {i}" for i in range(count)])
    fields = {
        "image": torch.randint(0, 256, (count, 32, 32, 3), generator=noise, dtype=torch.uint8),
        "text": text | {"kind": torch.tensor(kinds)},
        "classes": torch.arange(count),
        "groups": torch.arange(count),
    }
    return Batch(fields, torch.arange(count), [str(i) for i in range(count)])


# -- the prefix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["clip", "unicl", "siglip"])
def test_a_batch_of_one_kind_gives_no_gradient_at_all_to_the_others_prefix(objective: str) -> None:
    task, model = built(objective=objective)
    tower = task.encoder.text_tower
    for kind, other in ((0, 1), (1, 0)):
        model.zero_grad(set_to_none=True)
        batch = batch_of(task, [kind] * 6)
        for micro in (0, 2):
            joint_gradients(task, model, batch, batch, micro, FLOAT32)
        mine, others = (tower.prefixes[tower.kinds[one]].grad for one in (kind, other))
        assert float(mine.abs().sum()) > 0
        assert others is None  # not zeros, by which an optimizer would still decay it and go on as it went


@pytest.mark.parametrize("base", [TinyText, minilm])
def test_another_prefix_is_another_vector_and_padding_is_none(base: Any) -> None:
    tower = PrefixedText(base(), ("caption", "class"), tokens=2)
    texts = ["a dog", "a very much longer text about two dogs and a cat"]
    with torch.no_grad():
        said = tower(**tower.tokens(texts))
        assert torch.allclose(tower(**tower.tokens(texts[:1])), said[:1], atol=1e-5)
        tokens = tower.tokens(texts)
        mixed = tower(**(tokens | {"kind": torch.tensor([0, 1])}))
        assert torch.allclose(mixed[0], said[0], atol=1e-6)
        assert float((mixed[1] - said[1]).norm()) > 1e-4
        assert float((tower.base(**{name: tokens[name] for name in ("ids", "mask")}) - said).norm()) > 1e-3


@pytest.mark.slow
def test_a_saved_model_reads_every_text_after_the_captions_prefix(tmp_path: Path) -> None:
    PrefixConditioning(settings()).fit(FitInputs(view(tmp_path)), tmp_path / "model")
    model = load_dual_encoder(tmp_path / "model")
    tower = model.text_tower
    assert isinstance(tower, PrefixedText)
    tokens = model.tokens(["a red square"])
    assert tokens["kind"].tolist() == [tower.kinds.index("caption")]
    with torch.no_grad():  # with a gradient a projection adds up in another order
        assert torch.equal(model.encode_text(["a red square"]), model.embed_tokens(tokens))
    assert not torch.allclose(model.embed_tokens(tokens | {"kind": torch.tensor([1])}), model.embed_tokens(tokens))
    assert feature_width(resolve_model(str(tmp_path / "model")), "text") == 64


def test_a_tower_that_takes_no_prefix_and_settings_that_cannot_be_are_one_line() -> None:
    with pytest.raises(ModelError, match="takes no prefix"):
        TextTower().token_vectors()
    with pytest.raises(InvalidRecipe, match="trainable is `text` or `all`"):
        settings(trainable="heads")
    with pytest.raises(InvalidRecipe, match="one of captions"):
        settings(kinds={"filed": "class"})


# -- batches and texts ----------------------------------------------------------------------------


def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[bool]]]:
    seen: list[tuple[list[str], list[bool]]] = []
    texts = PrefixConditioning.texts

    def note(self: Any, examples: Any) -> Any:
        seen.append(texts(self, examples))
        return seen[-1]

    monkeypatch.setattr(PrefixConditioning, "texts", note)
    return seen


def test_no_batch_mixes_kinds_and_classes_are_said_in_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = view(tmp_path)
    seen = noted(monkeypatch)
    PrefixConditioning(settings(steps=12)).fit(FitInputs(data), tmp_path / "model")
    assert {len(set(is_class)) for _, is_class in seen} == {1}
    assert {is_class[0] for _, is_class in seen} == {False, True}
    prompts = {text for texts, is_class in seen for text in texts if is_class[0]}
    assert any("round ones" in text for text in prompts)
    assert any("four sided" in text for text in prompts)
    assert len({text.split()[0] for text in prompts}) > 1  # more than one template
    captions = {text for texts, is_class in seen for text in texts if not is_class[0]}
    assert captions <= {caption_text(number) for number in range(0, 48, 2)}
    seen.clear()
    PrefixConditioning(settings(steps=6, batches_of=None)).fit(FitInputs(data), tmp_path / "mixed")
    assert {len(set(is_class)) for _, is_class in seen} == {2}


def test_unicl_is_clip_where_no_class_is_there_twice_and_not_where_one_is() -> None:
    losses = {}
    for objective in ("clip", "unicl"):
        task, _ = built(objective=objective)
        batch = batch_of(task, [1] * 6)
        twice = Batch({**batch._fields, "classes": torch.tensor([0, 0, 1, 2, 3, 3])}, batch.numbers, batch.keys)
        losses[objective] = [float(task.losses(task.encode(one), one)["loss"].detach()) for one in (batch, twice)]
    assert losses["unicl"][0] == pytest.approx(losses["clip"][0], abs=1e-6)
    assert losses["clip"][0] == losses["clip"][1]
    assert abs(losses["unicl"][1] - losses["clip"][1]) > 1e-3
    task = FitDualEncoder(tiny_settings(objective="unicl"))
    with pytest.raises(InvalidRecipe, match=r"clip's positives: pair\.label\.NAME"):
        task.column_names()


def test_without_a_prefix_it_is_the_plain_dual_encoder_bit_for_bit(tmp_path: Path) -> None:
    data = view(tmp_path)
    same = {"batches_of": "pair.label.from", "captions": {"alt": 1.0}}
    plain = tiny_settings(trainable="all", steps=4, batch_size=8, warmup_steps=2, checkpoint_every=1000, **same)
    FitDualEncoder(plain).fit(FitInputs(data), tmp_path / "plain")
    mine = settings(prefix=0, steps=4, kinds={"said": "caption"}, label="nothing", **same)
    PrefixConditioning(mine).fit(FitInputs(data), tmp_path / "mine")
    plain_bytes, mine_bytes = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "mine"))
    assert plain_bytes == mine_bytes


# -- what it is for -------------------------------------------------------------------------------


WORDS = ("crane", "bat", "jam", "seal", "bark", "bolt")


def two_senses(rows: int, seed: int) -> ArrayPopulation:
    """Pictures of six things. A caption names the thing; every other pair is filed instead, under the next's name."""
    looks = np.random.default_rng(9).normal(size=(len(WORDS), 64))
    draw = np.random.default_rng(seed)
    things = draw.integers(0, len(WORDS), rows)
    seen = looks[things] + 0.5 * draw.normal(size=(rows, 64))
    filed = np.arange(rows) % 2 == 1
    said = ["" if f else WORDS[t] for t, f in zip(things, filed)]
    labels = {
        "from": ["filed" if f else "said" for f in filed],
        "file": [WORDS[(t + 1) % len(WORDS)] if f else None for t, f in zip(things, filed)],
        "thing": [WORDS[t] for t in things],
    }
    return ArrayPopulation({"image_features.vector": seen.astype(np.float32)}, {"alt": said}, labels=labels)


def right(task: PrefixConditioning, asked: Any, kind: int) -> float:
    """Share of pictures whose nearest word, read after a kind's prefix, is what captions call it."""
    tokens = task.encoder.tokens(list(WORDS))
    if "kind" in tokens:
        tokens["kind"] = torch.full_like(tokens["kind"], kind)
    with torch.no_grad():
        image = task.encoder.encode_image_features(asked.column("image_features.vector"))
        nearest = (task.encoder.embed_tokens(tokens) @ image.T).argmax(0).tolist()
    return float(np.mean([WORDS[at] == thing for at, thing in zip(nearest, asked.labels("thing"), strict=True)]))


@pytest.mark.slow
def test_a_word_means_what_captions_say_after_their_prefix_and_not_after_the_classes_or_without_one() -> None:
    asked = two_senses(200, 1000).read(np.arange(200), 0, 0)
    found: dict[str, list[float]] = {"caption": [], "class": [], "none": []}
    for seed in range(3):
        for prefix in (1, 0):
            same = {"objective": "unicl", "templates": ["{}"], "steps": 80, "batch_size": 16, "lr": 3e-3, "seed": seed}
            task = PrefixConditioning(settings(prefix=prefix, trainable="text", **same))
            task.device = torch.device("cpu")
            task.prepare()
            Trainer(task, two_senses(128, seed)).train()
            for name, kind in (("caption", 0), ("class", 1)) if prefix else (("none", 0),):
                found[name].append(right(task, asked, kind))
    for other in ("class", "none"):
        assert min(np.subtract(found["caption"], found[other])) > 0.2, found
