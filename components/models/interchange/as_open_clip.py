"""A CLIP as a folder that open_clip opens: `open_clip.create_model_and_transforms("local-dir:FOLDER")`.

    FOLDER/open_clip_config.json            its architecture and how pictures are prepared
    FOLDER/open_clip_model.safetensors      its weights, by open_clip's names
    FOLDER/tokenizer.json ...               its tokenizer, by `open_clip.get_tokenizer("local-dir:FOLDER")`

Only CLIP's own architecture is built there from sizes alone. A SigLIP there is a named tower of timm; our own towers'
features are standardised before they are projected, which none of its towers does. `refusal` says which form has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import TransformersEncoder
from pairwright.components.models.interchange.open_clip_names import to_open_clip

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
EPS = 1e-5  # of its layer norms
ACTIVATIONS = {"gelu": False, "quick_gelu": True}
HIGHEST = 2  # as eos_token_id of a CLIPModel: it pools where the highest id stands, as open_clip does


def refusal(encoder: DualEncoder) -> str | None:
    """Why it cannot be had in this form, and in which it can; None if it can."""
    if not isinstance(encoder, TransformersEncoder):
        return (
            "no tower of open_clip standardises its features before they are projected, as this model does; "
            "export it --as sentence-transformers or --as onnx"
        )
    if encoder.family != "clip":
        return "open_clip builds a SigLIP from a named tower of timm only; export it --as transformers or --as onnx"
    vision, text = encoder.config.vision_config, encoder.config.text_config
    acts = {vision.hidden_act, text.hidden_act}
    if len(acts) > 1 or not acts <= set(ACTIVATIONS):
        named = ", ".join(sorted(acts))
        return f"open_clip has one of gelu and quick_gelu for both towers, not {named}; export it --as transformers"
    if {vision.layer_norm_eps, text.layer_norm_eps} != {EPS}:
        return f"open_clip's layer norms have an epsilon of {EPS:g}; export it --as transformers"
    if text.eos_token_id not in (HIGHEST, text.vocab_size - 1):
        return "open_clip pools where the highest token stands, and its end is another; export it --as transformers"
    if vision.hidden_size % vision.num_attention_heads:
        return "its heads do not divide its width; export it --as transformers"
    return None


def write_open_clip(encoder: TransformersEncoder, folder: Path) -> None:
    """Raises:
    ModelError: a tensor has no place there.
    """
    problem = refusal(encoder)
    if problem is not None:
        raise ModelError(problem)
    folder.mkdir(parents=True, exist_ok=True)
    encoder.exported_tokenizer().save_pretrained(folder)
    save_file(to_open_clip(encoder.net.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config_of(encoder), indent=1) + "\n", encoding="utf-8")


def config_of(encoder: TransformersEncoder) -> dict[str, Any]:
    """`open_clip_config.json`: sizes, tokenizer, preparation."""
    vision, text = encoder.config.vision_config, encoder.config.text_config
    return {
        "model_cfg": {
            "embed_dim": encoder.dim,
            "quick_gelu": ACTIVATIONS[vision.hidden_act],
            "vision_cfg": {
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "width": vision.hidden_size,
                "layers": vision.num_hidden_layers,
                "head_width": vision.hidden_size // vision.num_attention_heads,
                "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            },
            "text_cfg": {
                "context_length": text.max_position_embeddings,
                "vocab_size": text.vocab_size,
                "hf_tokenizer_name": "its own",  # of a local folder it takes the folder itself, whatever the name
                "width": text.hidden_size,
                "heads": text.num_attention_heads,
                "layers": text.num_hidden_layers,
                "mlp_ratio": text.intermediate_size / text.hidden_size,
            },
        },
        "preprocess_cfg": {
            "mean": encoder.processor["image_mean"],
            "std": encoder.processor["image_std"],
            "interpolation": "bicubic",
            "resize_mode": "shortest" if encoder.crops else "squash",
        },
    }
