"""Towers with real weights: right preprocessing, right labels, the same numbers every way."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.towers.efficientnet import IMAGENET_LABELS, classifier, pretrained, tags
from pairwright.components.models.towers.pixels import squash
from pairwright.components.models.towers.shared_towers import load_tower
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower

HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    found = decode(HOPPER.read_bytes(), 224).image
    assert found is not None
    return found


def test_a_real_photograph_gets_its_tag(hopper: np.ndarray) -> None:
    tower = load_image_tower("builtin:efficientnet-lite0")
    (likely,) = tags(tower.features([hopper]), top=3)
    assert likely[0][0] == "military uniform"  # Rear Admiral Hopper, in hers
    assert 0.3 < likely[0][1] <= 1
    assert len(set(IMAGENET_LABELS)) == len(IMAGENET_LABELS) == len(classifier()[0]) == 1000


def test_the_folded_tower_equals_the_plain_one(hopper: np.ndarray) -> None:
    tower = pretrained()
    images = torch.from_numpy(squash([hopper, hopper[::-1], hopper[:, ::-1]], 224).copy())
    with torch.no_grad():
        plain = tower(images)
    tower.requires_grad_(False)
    folded = tower.features(images.numpy())
    assert (plain - folded).abs().max() < 1e-4
    assert tower._folded is not None


def test_a_picture_has_one_feature_in_any_company(hopper: np.ndarray) -> None:
    tower = load_image_tower("builtin:efficientnet-lite0")
    alone = tower.features([hopper])
    crowd = tower.features([hopper[::-1]] * 11 + [hopper])[-1]
    assert F.cosine_similarity(alone[0], crowd, dim=0) > 0.99999


def test_sentences_that_mean_the_same_are_near() -> None:
    tower = load_text_tower("builtin:minilm")
    vectors = F.normalize(tower.features(["a kitten", "a small cat", "stock market crash", ""]), dim=-1)
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > 0.6 > 0.3 > far
    assert torch.isfinite(vectors).all()


def test_minilm_equals_transformers_own_mean_pooling() -> None:
    from transformers import AutoModel, AutoTokenizer

    from pairwright.components.models.towers.minilm import minilm_folder

    texts = ["A Red-Tailed Hawk, flying!", "naïve café", "two"]
    tokenizer, net = AutoTokenizer.from_pretrained(minilm_folder()), AutoModel.from_pretrained(minilm_folder())
    coded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = net(**coded).last_hidden_state
    mask = coded["attention_mask"].unsqueeze(-1).float()
    expected = (hidden * mask).sum(1) / mask.sum(1)
    assert (load_text_tower("builtin:minilm").features(texts) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["builtin:tiny-text", "builtin:minilm"])
def test_padding_and_order_change_no_text(name: str) -> None:
    tower = load_text_tower(name)
    texts = ["a", "a much longer caption of a red square on the left", "été", "x" * 500]
    together = tower.features(texts)
    alone = torch.cat([tower.features([text]) for text in texts])
    assert (together - alone).abs().max() < 1e-4


def test_a_tower_is_loaded_once_unless_it_is_to_be_trained() -> None:
    assert load_tower("builtin:tiny-image") is load_tower("builtin:tiny-image")
    own = load_tower("builtin:tiny-image", shared=False)
    assert own is not load_tower("builtin:tiny-image")
    assert all(p.requires_grad for p in own.parameters())
    assert not any(p.requires_grad for p in load_tower("builtin:tiny-image").parameters())


def test_the_wrong_kind_of_tower_is_one_line() -> None:
    with pytest.raises(ModelError, match="no image tower"):
        load_image_tower("builtin:minilm")
    with pytest.raises(ModelError, match="no text tower"):
        load_text_tower("builtin:tiny-image")


def test_squash_is_what_scorers_see(hopper: np.ndarray) -> None:
    images = [hopper, hopper[:100], hopper[::2, ::3]]
    batch = PairBatch(np.arange(3), ["a", "b", "c"], [{}] * 3, list(images))
    assert np.array_equal(batch.squares(224), squash(images, 224))
    assert squash([], 32).shape == (0, 32, 32, 3)
