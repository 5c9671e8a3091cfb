"""How this folder was written: by open_clip itself, in an environment of its own, so that its layout is not our belief.

    cp tokenizer.json tokenizer_config.json FOLDER/     what byte_tokenizer(257, 259, 20, end=258).save_pretrained gives
    /opt/open_clip/bin/python write.py FOLDER           open_clip 3.3.0, torch 2.13.0

A CLIP with random weights, its configuration, and its vectors of six pictures and four texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

CONFIG = {
    "model_cfg": {
        "embed_dim": 12,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8, "mlp_ratio": 2.0},
        "text_cfg": {
            "context_length": 20,
            "vocab_size": 259,
            "hf_tokenizer_name": "its own",
            "width": 16,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic"},
}
TEXTS = ["a red square", "été", "a longer caption than the model reads", "x"]

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    torch.manual_seed(20)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    pictures = np.random.default_rng(20).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    pixels = torch.stack([preprocess(Image.fromarray(one)) for one in pictures])
    with torch.no_grad():
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS), normalize=True)
    np.savez(folder / "vectors.npz", pictures=pictures, texts=np.array(TEXTS), image=image, text=text)
