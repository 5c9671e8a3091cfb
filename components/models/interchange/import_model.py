"""Another library's model as a model folder of ours: the same weights, the same vectors.

    import_model("./laion-vit-b-32", "./models/vit-b-32")       # open_clip's folder: config and safetensors
    import_model("./clip-vit-base-patch32", "./models/clip")    # a CLIP or SigLIP of transformers

What is made is what training from such a folder makes: a `transformers` folder that every verb of ours takes. A
checkpoint of open_clip has to be a plain CLIP (its VisionTransformer and its own text transformer); what is built
otherwise is refused by the setting that says so.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.encoder import WEIGHTS, DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import (
    CLIP_MEAN,
    CLIP_STD,
    TransformersEncoder,
    load_transformers_encoder,
)
from pairwright.components.models.interchange import as_open_clip
from pairwright.components.models.interchange.open_clip_names import from_open_clip

# What a plain CLIP leaves as it is: setting -> the values that mean nothing was changed.
PLAIN_VISION = {
    "pool_type": ("tok", None),
    "no_ln_pre": (False, None),
    "pos_embed_type": ("learnable", None),
}
PLAIN_TEXT = {"pool_type": ("argmax", None), "proj_type": ("linear", None)}
SIZES = (
    "layers",
    "width",
    "head_width",
    "heads",
    "mlp_ratio",
    "patch_size",
    "image_size",
    "context_length",
    "vocab_size",
)
# Said of tokens, of training or of a pooling that is not in use: no weight and no vector depends on it.
SILENT = (
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "tokenizer_mode",
    "patch_dropout",
    "pad_id",
    "eos_id",
    "output_tokens",
)
DEFAULTS_VISION = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
DEFAULTS_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}


def import_model(
    source: str | Path, dest: str | Path, *, config: str | Path | None = None, tokenizer: str | Path | None = None
) -> DualEncoder:
    """Write `dest`, whole or not at all; the model that it holds.

    Args:
        source: a folder of `transformers` or of open_clip, or a safetensors file of open_clip's.
        config: open_clip's JSON, where it does not lie beside the weights; its `model_configs/NAME.json` serves.
        tokenizer: a folder with the tokenizer's files, where the source has none.

    Raises:
        ModelError: it is neither, a file is missing or damaged, or the architecture has no place here.
    """
    place, root = Path(dest), Path(source)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ModelError(f"{place} is not empty; name a folder that does not exist yet")
    if not root.exists():
        raise ModelError(f"{root} does not exist; name a model's folder, or a safetensors file of open_clip's")
    if root.is_file() or (root / as_open_clip.CONFIG).is_file():
        encoder = read_open_clip(root, config, tokenizer)
    elif (root / WEIGHTS).is_file():
        encoder = load_transformers_encoder(root)
    else:
        raise ModelError(
            f"{root} holds neither {WEIGHTS} (transformers) nor {as_open_clip.CONFIG} (open_clip); name a folder that "
            "does; pickled weights are not opened"
        )
    encoder.card = (
        encoder.card or f"# {root.name}\n\nImported; see where it was published for what it was trained on.\n"
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=place.parent) as scratch:
        encoder.save(Path(scratch) / "model")
        if place.exists():
            place.rmdir()
        os.replace(Path(scratch) / "model", place)
    return load_transformers_encoder(place)


def form_of(source: str | Path) -> str | None:
    """Whose folder it is, "open_clip" or "transformers"; None of a file alone, which no library opens by itself."""
    root = Path(source)
    if root.is_file():
        return None
    return "open_clip" if (root / as_open_clip.CONFIG).is_file() else "transformers"


def read_open_clip(
    source: Path, config: str | Path | None = None, tokenizer: str | Path | None = None
) -> TransformersEncoder:
    """A CLIP of open_clip's as one of `transformers`.

    Raises:
        ModelError: as `import_model`.
    """
    from transformers import AutoTokenizer, CLIPModel

    folder = source if source.is_dir() else source.parent
    weights = source if source.is_file() else source / as_open_clip.WEIGHTS
    said = _said(Path(config) if config else folder / as_open_clip.CONFIG)
    model: Mapping[str, Any] = said.get("model_cfg", said)
    words = Path(tokenizer) if tokenizer else folder
    try:
        tokens = AutoTokenizer.from_pretrained(words, local_files_only=True)
    except (OSError, ValueError):
        raise ModelError(
            f"{words} holds no tokenizer; name a folder that does: --tokenizer DIR, of CLIP's own words for instance "
            "a clip-vit-base-patch32 of transformers"
        ) from None
    net = CLIPModel(clip_config(model, tokens)).eval()
    try:
        tensors = from_open_clip(load_file(weights))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} is no safetensors file ({error}); save the checkpoint as one") from None
    _fill(net, tensors, weights)
    return TransformersEncoder(net, tokens, _preparation(said.get("preprocess_cfg", {})))


def clip_config(model: Mapping[str, Any], tokens: Any) -> Any:
    """open_clip's `model_cfg` as a CLIPConfig.

    Raises:
        ModelError: a setting makes it no plain CLIP.
    """
    from transformers import CLIPConfig

    vision, text = dict(model.get("vision_cfg", {})), dict(model.get("text_cfg", {}))
    _plain("vision_cfg", vision, PLAIN_VISION)
    _plain("text_cfg", text, PLAIN_TEXT)
    vision, text = DEFAULTS_VISION | vision, DEFAULTS_TEXT | text
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    both = {"hidden_act": act, "layer_norm_eps": as_open_clip.EPS}
    width = model["embed_dim"]
    end = text["vocab_size"] - 1
    return CLIPConfig(
        projection_dim=width,
        vision_config=both
        | {
            "hidden_size": vision["width"],
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision["head_width"],
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "projection_dim": width,
        },
        text_config=both
        | {
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "projection_dim": width,
            "eos_token_id": as_open_clip.HIGHEST,
            "bos_token_id": tokens.bos_token_id if tokens.bos_token_id is not None else 0,
            "pad_token_id": tokens.pad_token_id if tokens.pad_token_id is not None else end,
        },
    )


def _plain(where: str, said: Mapping[str, Any], plain: Mapping[str, tuple[Any, ...]]) -> None:
    for name, value in said.items():
        if name in SIZES or name in SILENT:
            continue
        known = plain.get(name, (False, None, {}, 0.0))
        if value not in known:
            raise ModelError(
                f"{where}.{name} is {value!r}, so it is no plain CLIP, which is what is read of open_clip; where the "
                "model is published for transformers, too, name that folder"
            )
    if isinstance(said.get("layers"), (list, tuple)) or isinstance(said.get("image_size"), (list, tuple)):
        raise ModelError(f"{where} is of a ResNet or of pictures that are not square; only a plain CLIP is read")


def _said(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"open_clip's configuration cannot be read ({error}); name its JSON: --config FILE") from None
    if not isinstance(found, dict) or "embed_dim" not in found.get("model_cfg", found):
        raise ModelError(f"{path} is no configuration of open_clip (it has no embed_dim); name its JSON: --config FILE")
    return found


def _fill(net: nn.Module, tensors: Mapping[str, Any], weights: Path) -> None:
    wanted = net.state_dict()
    for name, value in wanted.items():
        if name.endswith("position_ids"):
            continue
        if name not in tensors or tensors[name].shape != value.shape:
            there = tuple(tensors[name].shape) if name in tensors else "not there"
            raise ModelError(
                f"{weights.name}: {name} is {there}, and the configuration says {tuple(value.shape)}; name the "
                "configuration that it was trained with"
            )
    extra = [name for name in tensors if name not in wanted]
    if extra:
        raise ModelError(f"{weights.name}: {extra[0]} has no place in a plain CLIP; it is another architecture")
    net.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)


def _preparation(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "do_center_crop": said.get("resize_mode", "shortest") == "shortest",
        "image_mean": list(said.get("mean", CLIP_MEAN)),
        "image_std": list(said.get("std", CLIP_STD)),
    }
