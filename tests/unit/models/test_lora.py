"""LoRA: what is trained and what is not, and that merging changes nothing but the layers' form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pairwright.components.errors import ModelError
from pairwright.components.models.lora import (
    ATTENTION_LAYERS,
    LoraLinear,
    adapt,
    adapted,
    load_adapter,
    locked_hash,
    merge,
    save_adapter,
    trained_share,
)
from pairwright.components.models.towers.tiny import TinyImage, TinyText

TEXTS = ["a red square on the left", "", "blue"]
PICTURES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))


def trained_a_little(module: nn.Module, scale: float = 0.1) -> nn.Module:
    """The adapters moved away from their start, as training would."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for _, layer in adapted(module):
            layer.lora_a.copy_(scale * torch.randn_like(layer.lora_a))
            layer.lora_b.copy_(scale * torch.randn_like(layer.lora_b))
    return module


def clip_of(width: int, layers: int, **shape: int) -> Any:
    from transformers import CLIPConfig, CLIPModel

    side = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64 or 1,
    }
    vision = {"image_size": 224, "patch_size": 32, **side}
    text = {"vocab_size": 49408, "max_position_embeddings": 77, **side}
    return CLIPModel(CLIPConfig(text_config=text | shape, vision_config=vision | shape, projection_dim=min(width, 512)))


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rank=st.integers(1, 8),
    alpha=st.floats(0, 32, width=32),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_merged_layer_answers_as_the_adapted_one(
    shape: tuple[int, int], rank: int, alpha: float, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = LoraLinear(nn.Linear(*shape, bias=bias), rank, alpha)
    with torch.no_grad():
        layer.lora_b.copy_(0.02 * torch.randn_like(layer.lora_b))
    x = torch.randn(5, shape[0])
    plain = layer.merged()
    assert type(plain) is nn.Linear
    assert (plain(x) - layer(x)).abs().max() < 1e-5


def test_merged_equals_unmerged_through_whole_towers() -> None:
    for tower, inputs in ((TinyImage(), {"images": PICTURES}), (TinyText(), TinyText().tokens(TEXTS))):
        before = tower(**inputs)
        adapt(tower, rank=4, alpha=8.0)
        assert torch.equal(tower(**inputs), before)  # B is zero: the start is the model itself
        unmerged = trained_a_little(tower)(**inputs)
        assert (unmerged - before).abs().max() > 1e-3  # an adapter that did nothing would pass the next line
        merged = merge(tower)(**inputs)
        assert (merged - unmerged).abs().max() < 1e-5
        assert not list(adapted(tower))


def test_a_merged_clip_equals_the_adapted_one_and_keeps_its_parameters_names() -> None:
    torch.manual_seed(0)
    net = clip_of(64, 2, vocab_size=300).eval()
    names = set(net.state_dict())
    for side in (net.vision_model, net.text_model):
        adapt(side, rank=4, alpha=8.0)
    assert names < set(net.state_dict())
    pixels, ids = torch.randn(2, 3, 224, 224), torch.randint(0, 299, (2, 9))
    trained_a_little(net)

    def embed() -> torch.Tensor:
        with torch.no_grad():
            image, text = net.get_image_features(pixel_values=pixels), net.get_text_features(input_ids=ids)
        return torch.cat([getattr(one, "pooler_output", one) for one in (image, text)])

    unmerged = embed()
    merge(net)
    assert (embed() - unmerged).abs().max() < 1e-5
    assert set(net.state_dict()) == names


def test_an_alpha_or_a_rank_of_zero_is_the_model_itself_bit_for_bit() -> None:
    plain = TinyText()
    tokens = plain.tokens(TEXTS)
    silent = TinyText()
    adapt(silent, rank=4, alpha=0.0)
    trained_a_little(silent)
    assert torch.equal(silent(**tokens), plain(**tokens))
    assert torch.equal(merge(silent)(**tokens), plain(**tokens))
    none = TinyText().requires_grad_(False)
    assert adapt(none, rank=0, alpha=8.0) == []
    assert locked_hash(none) == locked_hash(plain.requires_grad_(False))


def test_the_gradient_reaches_the_adapters_alone_and_the_base_keeps_its_hash() -> None:
    tower = TinyText().requires_grad_(False)
    base = locked_hash(tower)
    names = adapt(tower, rank=2, alpha=4.0)
    assert names == ["blocks.0.qkv", "blocks.1.qkv"]
    assert locked_hash(tower) == base
    trained = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(names)
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    before = [parameter.detach().clone() for parameter in trained]
    for _ in range(3):
        optimizer.zero_grad()
        tower(**tower.tokens(TEXTS)).square().sum().backward()
        optimizer.step()
    assert all((parameter != old).any() for parameter, old in zip(trained, before, strict=True))
    assert locked_hash(tower) == base
    with torch.no_grad():  # the hash would see one changed bit
        tower.norm.bias[0] += 1e-7
    assert locked_hash(tower) != base


def test_under_two_percent_of_a_clip_of_its_published_size_is_trained() -> None:
    with torch.device("meta"):
        net = clip_of(768, 12)
    net.requires_grad_(False)
    for projection in (net.visual_projection, net.text_projection, net.logit_scale):
        projection.requires_grad_(True)
    for side in (net.vision_model, net.text_model):
        with torch.device("meta"):
            adapt(side, rank=8, alpha=16.0)
    assert len(list(adapted(net))) == 2 * 2 * 12  # queries and values of both towers
    assert 0 < trained_share(net) < 0.02


def test_an_adapter_goes_back_beside_the_base_it_was_trained_on(tmp_path: Path) -> None:
    tower = TinyImage().requires_grad_(False)
    adapt(tower, rank=3, alpha=6.0, layers=("qkv", "up"), seed=1)
    trained_a_little(tower)
    save_adapter(tower, tmp_path)
    again = load_adapter(TinyImage().requires_grad_(False), tmp_path)
    assert torch.equal(again(PICTURES), tower(PICTURES))
    assert torch.equal(merge(again)(PICTURES), merge(tower)(PICTURES))
    other = TinyImage().requires_grad_(False)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ModelError, match="its locked weights are others"):
        load_adapter(other, tmp_path)
    with pytest.raises(ModelError, match="no adapter of this model"):
        load_adapter(nn.Linear(4, 4), tmp_path)
    with pytest.raises(ModelError, match="no adapter of this model"):
        load_adapter(TinyImage(), tmp_path / "nowhere")


def test_the_same_seed_draws_the_same_adapters_and_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    towers = [TinyText() for _ in range(3)]
    for tower, seed in zip(towers, (0, 0, 1), strict=True):
        adapt(tower, rank=2, alpha=1.0, seed=seed)
    assert torch.equal(torch.rand(1), expected)
    first, second, other = ([layer.lora_a for _, layer in adapted(tower)] for tower in towers)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_tower_without_such_layers_is_refused_with_what_it_has() -> None:
    with pytest.raises(ModelError, match='did you mean "qkv"'):
        adapt(TinyText(), rank=2, alpha=1.0, layers=("qkw",))
    with pytest.raises(ModelError, match="no linear layer"):
        adapt(nn.Sequential(nn.Conv2d(3, 3, 1)), rank=2, alpha=1.0, layers=ATTENTION_LAYERS)
