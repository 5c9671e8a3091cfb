"""Our towers as classes of `transformers`, weight by weight: the same vectors, by a library that knows no Pairwright.

    net, processor = image_as_transformers(tower)     # an EfficientNetModel or a SiglipVisionModel, and what feeds it
    text = text_as_transformers(tower)                # a BERT or the like, or SigLIP's text side, and its tokenizer

EfficientNet-Lite (Liu, 2020) is EfficientNet without squeeze-and-excitation and with ReLU6. The library's class always
squeezes, so its gates are set to sigmoid(GATE), which is 1 in float32: no channel is scaled, and nothing is lost. A
tiny tower is SigLIP's transformer: of pictures with its pooling head set to a plain mean, of texts with the mean left
to whoever averages tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.models.interchange.byte_tokenizer import byte_tokenizer
from pairwright.components.models.towers.efficientnet import EfficientNetLite0
from pairwright.components.models.towers.sentence import SentenceTower
from pairwright.components.models.towers.tiny import BYTES, MAX_BYTES, PAD, PATCH, SIDE, TinyImage, TinyText
from pairwright.components.models.towers.tower import ImageTower, TextTower

GATE = 40.0  # 1 - sigmoid(40) is 4e-18, below what float32 tells from 0
BOX = 4  # PIL's resampling by area, the nearest a processor has to OpenCV's
EPS = 1e-5  # of torch's LayerNorm
LEAST = 8  # side of the pictures of a vision side that is there for its class's sake


def image_as_transformers(tower: ImageTower) -> tuple[Any, dict[str, Any]]:
    """The net, in evaluation mode, and its `preprocessor_config.json`.

    Raises:
        ModelError: no class there is built as this tower is.
    """
    if isinstance(tower, EfficientNetLite0):
        return _efficientnet(tower), _processor("EfficientNetImageProcessor", tower.side, 127.0 / 255.0, 128.0 / 255.0)
    if isinstance(tower, TinyImage):
        return _tiny_image(tower), _processor("SiglipImageProcessor", SIDE, 0.5, 0.5)
    raise ModelError(f"no class of transformers is built as the image tower {tower.kind} is; export it --as onnx")


class TextNet(NamedTuple):
    """The net, whose `method` gives `last_hidden_state`: its mean over a text's tokens are the features."""

    net: Any
    tokenizer: Any
    method: str
    processor: dict[str, Any] | None = None  # of pictures, where the class cannot be opened without one


def text_as_transformers(tower: TextTower) -> TextNet:
    """The net, in evaluation mode.

    Raises:
        ModelError: no class there is built as this tower is.
    """
    from transformers import PreTrainedTokenizerFast

    if isinstance(tower, SentenceTower):
        longest = tower.tokenizer.truncation["max_length"]
        pad = tower.tokenizer.padding["pad_token"]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tower.tokenizer, pad_token=pad, model_max_length=longest, padding_side="right"
        )
        return TextNet(tower.net, tokenizer, "forward")
    if isinstance(tower, TinyText):
        unused = _processor("SiglipImageProcessor", LEAST, 0.5, 0.5)
        return TextNet(_tiny_text(tower), byte_tokenizer(PAD, BYTES, MAX_BYTES), "get_text_features", unused)
    raise ModelError(f"no class of transformers is built as the text tower {tower.kind} is; export it --as onnx")


def _processor(kind: str, side: int, mean: float, deviation: float) -> dict[str, Any]:
    """Pictures squashed to the side, (x / 255 - mean) / deviation."""
    found: dict[str, Any] = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": BOX,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean] * 3,
        "image_std": [deviation] * 3,
    }
    return found | ({"include_top": False, "rescale_offset": False} if kind.startswith("EfficientNet") else {})


def _efficientnet(tower: EfficientNetLite0) -> Any:
    from transformers import EfficientNetConfig, EfficientNetModel

    config = EfficientNetConfig(
        image_size=tower.side, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=tower.width, hidden_act="relu6"
    )
    net = EfficientNetModel(config).eval().requires_grad_(False)
    theirs: Any = tower.net
    _copy(net.embeddings.convolution, theirs._conv_stem)
    _copy(net.embeddings.batchnorm, theirs._bn0)
    for block, lite in zip(net.encoder.blocks, theirs._blocks, strict=True):
        if block.expand:
            _copy(block.expansion.expand_conv, lite._expand_conv)
            _copy(block.expansion.expand_bn, lite._bn0)
        _copy(block.depthwise_conv.depthwise_conv, lite._depthwise_conv)
        _copy(block.depthwise_conv.depthwise_norm, lite._bn1)
        _copy(block.projection.project_conv, lite._project_conv)
        _copy(block.projection.project_bn, lite._bn2)
        for part in (block.squeeze_excite.reduce, block.squeeze_excite.expand):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        nn.init.constant_(block.squeeze_excite.expand.bias, GATE)
    _copy(net.encoder.top_conv, theirs._conv_head)
    _copy(net.encoder.top_bn, theirs._bn1)
    return net


def _copy(target: nn.Module, source: nn.Module) -> None:
    """Every tensor of `target` from `source`; the batch norms' epsilon too."""
    target.load_state_dict({name: source.state_dict()[name] for name in target.state_dict()})
    if isinstance(source, nn.BatchNorm2d):
        target.eps = source.eps  # type: ignore[assignment]


def _tiny_image(tower: TinyImage) -> Any:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(**_sizes(tower), image_size=SIDE, patch_size=PATCH)
    net: Any = SiglipVisionModel(config).eval().requires_grad_(False)
    net.embeddings.patch_embedding.load_state_dict(tower.patches.state_dict())
    net.embeddings.position_embedding.weight.copy_(tower.position[0].detach())
    _copy_blocks(net.encoder.layers, tower.blocks)
    net.post_layernorm.load_state_dict(tower.norm.state_dict())
    _averaging(net.head, tower.width)
    return net


def _averaging(head: Any, width: int) -> None:
    """SigLIP's attention pooling as a plain mean: no query prefers a patch, values pass as they are, no MLP."""
    for value in head.parameters():
        nn.init.zeros_(value)
    head.attention.in_proj_weight[2 * width :].copy_(torch.eye(width))
    head.attention.out_proj.weight.copy_(torch.eye(width))


def _tiny_text(tower: TinyText) -> Any:
    """A whole SigLIP, for `AutoModel` opens no text side alone; its vision side is the least there can be."""
    from transformers import SiglipConfig, SiglipModel

    text = {
        **_sizes(tower),
        "vocab_size": BYTES,
        "max_position_embeddings": MAX_BYTES,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": None,
        "projection_size": tower.width,
    }
    least = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    whole: Any = SiglipModel(
        SiglipConfig(text_config=text, vision_config=least | {"image_size": LEAST, "patch_size": LEAST})
    )
    for value in whole.eval().requires_grad_(False).parameters():
        nn.init.zeros_(value)  # what nobody reads is the same in every export
    net = whole.text_model
    net.embeddings.token_embedding.load_state_dict(tower.embed.state_dict())
    net.embeddings.position_embedding.weight.copy_(tower.position[0].detach())
    _copy_blocks(net.encoder.layers, tower.blocks)
    net.final_layer_norm.load_state_dict(tower.norm.state_dict())
    return whole


def _sizes(tower: TinyImage | TinyText) -> dict[str, Any]:
    block: Any = tower.blocks[0]
    return {
        "hidden_size": tower.width,
        "intermediate_size": block.up.out_features,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": block.heads,
        "hidden_act": "gelu",
        "layer_norm_eps": EPS,
    }


def _copy_blocks(layers: Any, blocks: Any) -> None:
    for layer, block in zip(layers, blocks, strict=True):
        layer.layer_norm1.load_state_dict(block.norm1.state_dict())
        layer.layer_norm2.load_state_dict(block.norm2.state_dict())
        _copy_attention(layer.self_attn, block.qkv.weight, block.qkv.bias)
        layer.self_attn.out_proj.load_state_dict(block.out.state_dict())
        layer.mlp.fc1.load_state_dict(block.up.state_dict())
        layer.mlp.fc2.load_state_dict(block.down.state_dict())


def _copy_attention(attention: Any, weight: Tensor, bias: Tensor) -> None:
    """Queries, keys and values lie under each other in one matrix (3 width, width)."""
    for part, (w, b) in zip(("q_proj", "k_proj", "v_proj"), zip(weight.chunk(3), bias.chunk(3)), strict=True):
        getattr(attention, part).load_state_dict({"weight": w.detach(), "bias": b.detach()})


def save_transformers(net: Any, folder: Path, processor: dict[str, Any] | None = None, tokenizer: Any = None) -> None:
    """A folder that `AutoModel` and `AutoImageProcessor` or `AutoTokenizer` open."""
    import json

    net.save_pretrained(folder)
    if processor is not None:
        text = json.dumps(processor, indent=1, sort_keys=True)
        (folder / "preprocessor_config.json").write_text(text + "\n", encoding="utf-8")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
