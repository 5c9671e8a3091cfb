"""Training that starts from another dual encoder's weights."""

from __future__ import annotations

import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from shapes import shapes_dataset

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import hash_folder, resolve_model
from pairwright.components.pretrain.build import build_model, build_objective
from pairwright.components.pretrain.loop import train
from pairwright.components.settings import ModelFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A model trained with seed 0."""
    root = tmp_path_factory.mktemp("init")
    train(tiny_config(features_view(shapes_dataset(root, 48, 2), root), root, "first"), 0, 1, lambda m: None)
    return ModelFolder(reference="step:first", path=str(root / "first"), weights=hash_folder(root / "first"))


def built(**changes: object) -> torch.nn.Module:
    settings = tiny_settings(**changes)
    return build_model(settings, build_objective(settings), CPU)


def test_it_starts_at_the_other_models_weights_and_temperature_whatever_the_seed(first: ModelFolder) -> None:
    whole = load_dual_encoder(first).state_dict()
    for seed in (0, 7):
        started = built(init=first.model_dump(), seed=seed).state_dict()
        assert started.keys() == whole.keys()
        assert all(torch.equal(started[name], whole[name]) for name in whole)
    fresh, heads = built(seed=7).state_dict(), [name for name in whole if name.startswith("image_projection")]
    assert not all(torch.equal(fresh[name], whole[name]) for name in heads)


def test_its_heads_are_trained_on_and_a_tower_of_its_own_may_be(first: ModelFolder) -> None:
    assert {n.partition(".")[0] for n, p in built(init=first.model_dump()).named_parameters() if p.requires_grad} == {
        "image_projection", "text_projection", "log_scale"
    }  # fmt: skip
    adapted = built(init=first.model_dump(), trainable="lora", lora={"rank": 2, "towers": ["text"]})
    assert any(p.requires_grad for n, p in adapted.named_parameters() if n.startswith("text_tower"))


def test_another_shape_or_another_tower_is_refused_in_one_line(first: ModelFolder) -> None:
    with pytest.raises(ModelError, match="step:first cannot be started from") as error:
        built(init=first.model_dump(), dim=8)
    assert "\n" not in str(error.value)
    other = resolve_model("builtin:efficientnet-lite0")
    with pytest.raises(ModelError, match="another image tower"):
        built(init=first.model_dump(), image_tower=other.model_dump())
