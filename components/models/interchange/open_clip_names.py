"""A CLIP's tensors by their names in open_clip and in `transformers`, either way.

    to_open_clip(net.state_dict())      {"visual.conv1.weight": ..., "token_embedding.weight": ...}
    from_open_clip(load_file("open_clip_model.safetensors"))

open_clip (Ilharco et al., 2021) keeps OpenAI's layout: queries, keys and values lie under each other in one matrix, and
both projections are stored as they stand in x @ W, the transpose of a Linear's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from pairwright.components.errors import ModelError

# transformers' name -> open_clip's; a name ending in "." stands for all that begins with it.
NAMES = {
    "logit_scale": "logit_scale",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",  # as it is spelled there
    "vision_model.post_layernorm.": "visual.ln_post.",
    "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_projection.weight": "text_projection",
}
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
BLOCKS = {
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.encoder.layers.": "transformer.resblocks.",
}
IN_BLOCK = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
THREE = ("q_proj", "k_proj", "v_proj")
BUFFERS = re.compile(r"(^|\.)(position_ids|attn_mask)$")
TEXT_SIDE = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")


def to_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From a `CLIPModel`'s state dict."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if BUFFERS.search(name) or (".self_attn." in name and name.split(".")[-2] in THREE):
            continue
        found[_renamed(name, NAMES, BLOCKS, IN_BLOCK)] = value.T if name in TRANSPOSED else value
    for first in [name for name in tensors if ".self_attn.q_proj." in name]:
        kind = first.rpartition(".")[2]
        block, _, _ = first.partition("self_attn.")
        joined = torch.cat([tensors[f"{block}self_attn.{part}.{kind}"] for part in THREE])
        found[f"{_block(block, BLOCKS)}attn.in_proj_{kind}"] = joined
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As a `CLIPModel`'s state dict; the text side's names may begin with `text.`, as in its CustomTextCLIP.

    Raises:
        ModelError: a tensor has no place in a `CLIPModel`.
    """
    names, blocks, within = ({theirs: ours for ours, theirs in one.items()} for one in (NAMES, BLOCKS, IN_BLOCK))
    found: dict[str, Tensor] = {}
    for full, value in tensors.items():
        name = full.removeprefix("text.") if full.removeprefix("text.").startswith(TEXT_SIDE) else full
        if BUFFERS.search(name):
            continue
        if ".attn.in_proj_" in name:
            before, _, kind = name.partition("attn.in_proj_")
            for part, piece in zip(THREE, value.chunk(3), strict=True):
                found[f"{_block(before, blocks)}self_attn.{part}.{kind}"] = piece
            continue
        new = _renamed(name, names, blocks, within)
        found[new] = value.T if new in TRANSPOSED else value
    return {name: value.contiguous().clone() for name, value in found.items()}


def _renamed(name: str, names: Mapping[str, str], blocks: Mapping[str, str], within: Mapping[str, str]) -> str:
    for before, after in names.items():
        if name == before or (before.endswith(".") and name.startswith(before)):
            return after + name.removeprefix(before)
    for before in blocks:
        if name.startswith(before):
            number, _, rest = name.removeprefix(before).partition(".")
            for part, other in within.items():
                if rest.startswith(part):
                    return f"{blocks[before]}{number}.{other}{rest.removeprefix(part)}"
    raise ModelError(f"the tensor {name} has no place in a CLIP of both libraries; it is another architecture")


def _block(name: str, blocks: Mapping[str, str]) -> str:
    """`vision_model.encoder.layers.3.` as it is in the other library."""
    for before, after in blocks.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    raise ModelError(f"the block {name} has no place in a CLIP of both libraries; it is another architecture")
