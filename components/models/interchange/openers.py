"""An exported model's folder opened by the library it is for, and by nothing of ours: vectors of pictures and texts.

    python -I openers.py open_clip FOLDER INPUTS.npz VECTORS.npz     by the Python of any environment that has open_clip

This file imports nothing of Pairwright, so that what it gives is what a stranger gets. INPUTS holds `picture_0`,
`picture_1`, ... (RGB uint8, (h, w, 3), of any size) and `texts`; VECTORS the unit vectors `image` and `text`, float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

Vectors = tuple[np.ndarray, np.ndarray]


def by_transformers(folder: str, pictures: list[np.ndarray], texts: list[str]) -> Vectors:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    pixels = processor(images=[Image.fromarray(one) for one in pictures], return_tensors="pt")
    padding = "max_length" if model.config.model_type.startswith("siglip") else True  # as SigLIP was trained
    ids = tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
    with torch.no_grad():
        image, text = model.get_image_features(**pixels), model.get_text_features(**ids)
    return _unit(getattr(image, "pooler_output", image).numpy()), _unit(getattr(text, "pooler_output", text).numpy())


def by_open_clip(folder: str, pictures: list[np.ndarray], texts: list[str]) -> Vectors:
    import open_clip
    import torch
    from PIL import Image

    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    pixels = torch.stack([preprocess(Image.fromarray(one)) for one in pictures])
    with torch.no_grad():
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokenizer(texts), normalize=True)
    return image.numpy(), text.numpy()


def by_sentence_transformers(folder: str, pictures: list[np.ndarray], texts: list[str]) -> Vectors:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    image = model.encode([Image.fromarray(one) for one in pictures], show_progress_bar=False)
    return image, model.encode(texts, show_progress_bar=False)


def by_onnx(folder: str, pictures: list[np.ndarray], texts: list[str]) -> Vectors:
    import onnxruntime
    from PIL import Image
    from tokenizers import Tokenizer

    root = Path(folder)
    config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    squares = np.stack([_square(Image.fromarray(one), config["side"], config["crops"]) for one in pictures])
    coded = Tokenizer.from_file(str(root / "tokenizer.json")).encode_batch(texts)
    inputs = {
        "ids": np.array([one.ids for one in coded], np.int64),
        "mask": np.array([one.attention_mask for one in coded], bool),
    }

    def run(file: str, given: dict[str, np.ndarray]) -> np.ndarray:
        session = onnxruntime.InferenceSession(str(root / file), providers=["CPUExecutionProvider"])
        names = {one.name for one in session.get_inputs()}  # a side that needs no mask has none
        return np.asarray(session.run(None, {name: value for name, value in given.items() if name in names})[0])

    return run("image.onnx", {"images": squares}), run("text.onnx", inputs)


def _square(picture: Any, side: int, crops: bool) -> np.ndarray:
    """By area, the centre or the whole."""
    from PIL import Image

    if crops:
        edge = min(picture.size)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        picture = picture.crop((left, top, left + edge, top + edge))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


OPENERS = {
    "transformers": by_transformers,
    "open_clip": by_open_clip,
    "sentence-transformers": by_sentence_transformers,
    "onnx": by_onnx,
}

if __name__ == "__main__":
    form, where, given, wanted = sys.argv[1:]
    with np.load(given) as inputs:
        shown = [inputs[f"picture_{number}"] for number in range(sum(name != "texts" for name in inputs.files))]
        asked = [str(text) for text in inputs["texts"]]
    image_vectors, text_vectors = OPENERS[form](where, shown, asked)
    np.savez(wanted, image=image_vectors, text=text_vectors)
