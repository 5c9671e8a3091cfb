"""1-to-K contrastive learning: the identities of its loss, and MRV by planted ranks, by chance and by an oracle."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from PIL import Image
from shapes import shapes_dataset
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.benchmarks.multilingual_retrieval import (
    KS,
    MultilingualRetrieval,
    MultilingualRetrievalSettings,
    chance_mrv,
)
from pairwright.components.evaluate.metrics.ranks import chance_recall
from pairwright.components.models.dual_encoders.contrastive import softmax_loss
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.one_to_k import OneToK, OneToKSettings, one_to_k
from pairwright.components.training.batch import Batch
from pairwright.components.training.run import train

PICTURES, LANGUAGES, SCALE = 6, 4, 14.0


def unit(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=-1)


def info_nce(image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    logits, own = SCALE * image @ text.T, torch.arange(len(image))
    return F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)


def test_identical_texts_cost_a_picture_log_k_more_than_infonce_and_a_text_nothing() -> None:
    image, text = unit(PICTURES, 8), unit(PICTURES, 8, seed=1)
    to_text, to_image = info_nce(image, text)
    for languages in (2, 5):
        i2t, t2i = one_to_k(image, text[:, None].expand(-1, languages, -1), SCALE)
        assert float(i2t) == pytest.approx(float(to_text) + math.log(languages), abs=1e-12)
        assert float(t2i) == pytest.approx(float(to_image), abs=1e-12)


def test_one_language_is_clip() -> None:
    image, text = unit(PICTURES, 8), unit(PICTURES, 8, seed=1)
    i2t, t2i = one_to_k(image, text[:, None], SCALE)
    assert float((i2t + t2i) / 2) == pytest.approx(float(softmax_loss(image, text, SCALE).mean()), abs=1e-12)


def test_the_order_of_languages_means_nothing() -> None:
    image, texts = unit(PICTURES, 8), unit(PICTURES, 3, 8, seed=1)
    wanted = one_to_k(image, texts, SCALE)
    for order in itertools.permutations(range(3)):
        assert torch.allclose(torch.stack(one_to_k(image, texts[:, order], SCALE)), torch.stack(wanted), atol=1e-12)


def test_both_directions_are_the_formulas() -> None:
    image, texts = unit(PICTURES, 8), unit(PICTURES, LANGUAGES, 8, seed=1)
    i2t = t2i = 0.0
    for i, k in itertools.product(range(PICTURES), range(LANGUAGES)):
        own = math.exp(SCALE * float(image[i] @ texts[i, k]))
        every_text = sum(math.exp(SCALE * float(image[i] @ one)) for one in texts.flatten(0, 1))
        every_picture = sum(math.exp(SCALE * float(one @ texts[i, k])) for one in image)
        i2t -= math.log(own / every_text) / (PICTURES * LANGUAGES)
        t2i -= math.log(own / every_picture) / (PICTURES * LANGUAGES)
    found = one_to_k(image, texts, SCALE)
    assert [float(one) for one in found] == pytest.approx([i2t, t2i], abs=1e-10)


def test_a_pictures_own_texts_are_never_negatives_of_each_other() -> None:
    """Together they are only drawn to their picture, and what they are to each other is not in the loss."""
    image, texts = unit(3, 16), unit(3, LANGUAGES, 16, seed=1)
    # Each text moves away from its siblings, along directions no picture lies in.
    free = torch.linalg.svd(image, full_matrices=True)[2][3 : 3 + LANGUAGES]  # (K, d), orthogonal to every picture
    spread = texts + 2.0 * free[None]
    assert torch.allclose(torch.stack(one_to_k(image, spread, SCALE)), torch.stack(one_to_k(image, texts, SCALE)))
    texts.requires_grad_(True)
    sum(one_to_k(image, texts, SCALE)).backward()  # type: ignore[union-attr]
    assert texts.grad is not None
    # Raising all own cosines by the same lowers the loss: none is what another is contrasted with.
    assert ((texts.grad * image[:, None]).sum((1, 2)) < 0).all()


def test_own_rows_of_ranks_have_the_mean_of_the_joint_batch() -> None:
    image, texts = unit(PICTURES, 8), unit(PICTURES, LANGUAGES, 8, seed=1)
    ranks = [torch.stack(one_to_k(image, texts, SCALE, own)) for own in (slice(0, 3), slice(3, 6))]
    assert torch.allclose((ranks[0] + ranks[1]) / 2, torch.stack(one_to_k(image, texts, SCALE)), atol=1e-12)


@pytest.mark.parametrize("released", [False, True])
def test_the_released_loss_divides_text_to_image_by_k_once_more(released: bool) -> None:
    image, texts = unit(PICTURES, 8), unit(PICTURES, LANGUAGES, 8, seed=1)
    objective = OneToK(OneToKSettings(texts=tuple("abcd"), released=released))
    batch = Batch({}, torch.arange(PICTURES), list("abcdef"))
    named = objective.losses({"image": image, "languages": texts, "scale": SCALE}, batch)
    i2t, t2i = one_to_k(image, texts, SCALE)
    assert named["loss"].item() == pytest.approx(float((i2t + t2i / (LANGUAGES if released else 1)) / 2), abs=1e-12)
    assert (named["i2t"], named["t2i"]) == (i2t, t2i)


# -- in training ----------------------------------------------------------------------------------

TEXTS = ["alt", "keywords"]
COLUMNS = {"alt": "text_features.vector", "keywords": "keyword_features.vector"}


def test_it_trains_alike_from_features_and_from_a_tower_held_still_and_learns(tmp_path: Path) -> None:
    view = features_view(shapes_dataset(tmp_path, 32, 1), tmp_path)
    objective = {"uses": "one_to_k", "with": {"texts": TEXTS}}
    losses: list[float] = []
    wish = {"objective": objective, "text_features": COLUMNS, "steps": 40, "lr": 1e-2}
    train(tiny_config(view, tmp_path, "features", **wish), 0, 1, lambda m: losses.append(m["loss"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    pictures: list[float] = []
    still = {"objective": objective, "trainable": "all", "freeze": ("_tower",), "steps": 1}
    train(tiny_config(view, tmp_path, "pictures", **still), 0, 1, lambda m: pictures.append(m["loss"]))
    assert pictures[0] == pytest.approx(losses[0], abs=2e-2)  # features were kept as float16


def test_a_language_without_a_column_is_one_line() -> None:
    task = FitDualEncoder(tiny_settings(objective={"uses": "one_to_k", "with": {"texts": ["alt", "translation@de"]}}))
    with pytest.raises(InvalidRecipe, match=r'text features of "translation@de" .*add text_features'):
        task.column_names()


# -- MRV ------------------------------------------------------------------------------------------

COUNT = 24


class Polyglot(DualEncoder):
    """Knows a grey picture's number and reads "WORD number"; German is read as the number that follows."""

    dim, image_size = COUNT, 32

    def __init__(self, amiss: Sequence[str] = (), noise: bool = False) -> None:
        super().__init__()
        self.amiss, self.noise = amiss, noise
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        if self.noise:
            return unit(len(images), COUNT, seed=99).float()
        return F.one_hot(torch.tensor([round(float(one.mean()) / 10) for one in images]), COUNT).float()

    def text_features(self, texts: Sequence[str]) -> Tensor:
        words = [text.split() for text in texts]
        if self.noise:
            return unit(len(texts), COUNT, seed=len(words[0][0])).float()
        return F.one_hot(torch.tensor([(int(n) + (w in self.amiss)) % COUNT for w, n in words]), COUNT).float()

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(features.float(), dim=-1)

    project_text = project_image


def numbers(root: Path, name: str = "numbers", without: int | None = None, each: int = 1) -> Dataset:
    """Grey pictures of COUNT numbers, `each` of everyone, named in three languages; one may lack its German name."""
    with ShardWriter(f"{root}/{name}", name, licence="CC0-1.0") as writer:
        for number in range(COUNT * each):
            stream = io.BytesIO()
            Image.new("L", (32, 32), number % COUNT * 10).convert("RGB").save(stream, "PNG")
            said = [caption(f"one {number % COUNT}", lang="en")]
            for lang, word in (("de", "eins"), ("fr", "numéro")):
                if not (lang == "de" and number == without):
                    said.append(caption(f"{word} {number % COUNT}", source="translation", lang=lang))
            writer.add(str(number), [("image", "image", "png", stream.getvalue())], said, group=f"g{number}")
    return writer.dataset


ASKED = MultilingualRetrieval(
    MultilingualRetrievalSettings(languages={"en": "alt", "de": "translation@de", "fr": "translation@fr"})
)


def values(model: DualEncoder, dataset: Dataset) -> dict[str, float]:
    measured = ASKED.measure(model, dataset)
    for metric in measured.metrics:
        assert metric.low <= metric.value <= metric.high
        assert metric.n == len(measured.items[metric.name]) == len(measured.items["groups"])
        assert np.isclose(measured.items[metric.name].mean(), metric.value)
        assert len(metric.definition) > 80
        assert metric.higher_is_better == ("mrv" not in metric.name)
    return {metric.name: metric.value for metric in measured.metrics}


def test_an_oracle_of_every_language_has_all_recall_and_no_variance(tmp_path: Path) -> None:
    found = values(Polyglot(), numbers(tmp_path))
    assert found.pop("i2t_mrv") == found.pop("t2i_mrv") == 0
    assert len(found) == 6
    assert set(found.values()) == {1.0}


def test_equal_ranks_have_no_variance_however_bad(tmp_path: Path) -> None:
    found = values(Polyglot(amiss=("one", "eins", "numéro")), numbers(tmp_path))
    assert found["i2t_mrv"] == found["t2i_mrv"] == 0
    assert found["de_t2i_recall"] == found["en_i2t_recall"] == 0


def test_one_language_read_amiss_is_numpys_variance_of_planted_ranks(tmp_path: Path) -> None:
    # The right answer scores 0, as do all others but one, which scores 1, and ties count against: the last rank.
    found = values(Polyglot(amiss=("eins",)), numbers(tmp_path))
    assert found["i2t_mrv"] == found["t2i_mrv"] == pytest.approx(np.var([1, COUNT, 1]))
    assert (found["de_i2t_recall"], found["en_i2t_recall"], found["fr_t2i_recall"]) == (0, 1, 1)


def test_random_vectors_are_at_chance(tmp_path: Path) -> None:
    found = values(Polyglot(noise=True), numbers(tmp_path))
    ones = np.ones(COUNT)
    recall = np.mean([chance_recall(ones, COUNT, k) for k in KS])
    for name in ("en_i2t_recall", "de_t2i_recall"):
        assert abs(found[name] - recall) < 3.5 * np.sqrt(recall * (1 - recall) / COUNT)
    chance = chance_mrv(ones, COUNT, 3)
    assert 0.5 * chance < found["i2t_mrv"] < 1.6 * chance


def test_chances_variance_is_that_of_drawn_ranks() -> None:
    draw = np.random.default_rng(0)
    for right in (1, 3):
        ranks = np.argsort(draw.random((40_000, 2, 20)), axis=2)[..., :right].min(2) + 1  # two languages
        assert np.var(ranks, axis=1).mean() == pytest.approx(chance_mrv(np.array([right]), 20, 2), rel=0.03)


def test_pictures_of_one_name_share_it_and_those_without_a_language_are_left_out(tmp_path: Path) -> None:
    twice = values(Polyglot(), numbers(tmp_path, "twice", each=2))
    assert twice["t2i_mrv"] == 0
    assert twice["en_t2i_recall"] == 1  # the other picture of a number is right, too
    assert ASKED.measure(Polyglot(), numbers(tmp_path, "lacking", without=5)).metrics[0].n == COUNT - 1
    unknown = MultilingualRetrieval(MultilingualRetrievalSettings(languages={"en": "alt", "xx": "translation@xx"}))
    with pytest.raises(DatasetError, match='each of "alt", "translation@xx"'):
        unknown.measure(Polyglot(), numbers(tmp_path))
