"""A dual encoder as a folder that `transformers` opens with its own classes, and no code of ours.

    model = AutoModel.from_pretrained(folder)          # a CLIPModel or SiglipModel
    AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)

That holds of models trained from a CLIP or SigLIP of that library. One of our own two towers averages its tokens and
standardises what each tower gives before it is projected, which no class there does: `refusal` says so, and what can.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairwright.components.models.dual_encoders.encoder import CONFIG, DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import OURS, PROCESSOR, TransformersEncoder

BICUBIC = 3  # PIL's, as CLIP's and SigLIP's own processors resize
PROCESSORS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor", "siglip2": "SiglipImageProcessor"}


def refusal(encoder: DualEncoder) -> str | None:
    """Why it cannot be had in this form, and in which it can; None if it can."""
    if isinstance(encoder, TransformersEncoder):
        return None
    return (
        "no class of transformers averages a text's tokens and standardises features before they are projected, as "
        "this model does, and code of its own would be needed; export it --as sentence-transformers or --as onnx"
    )


def write_transformers(encoder: TransformersEncoder, folder: Path) -> None:
    """The model with everything its library asks for, which our own folders need not hold."""
    encoder.net.save_pretrained(folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config.pop(OURS, None)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    text = json.dumps(processor_of(encoder), indent=1, sort_keys=True)
    (folder / PROCESSOR).write_text(text + "\n", encoding="utf-8")
    encoder.exported_tokenizer().save_pretrained(folder)


def processor_of(encoder: TransformersEncoder) -> dict[str, Any]:
    """`preprocessor_config.json`: the same crop, mean and deviation; bicubic, where we resize by area."""
    side = encoder.image_size
    square = {"height": side, "width": side}
    size = {"size": {"shortest_edge": side}, "crop_size": square} if encoder.crops else {"size": square}
    return size | {
        "image_processor_type": PROCESSORS[encoder.family],
        "do_center_crop": encoder.crops,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": encoder.processor["image_mean"],
        "image_std": encoder.processor["image_std"],
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
    }
