"""A dual encoder as two ONNX graphs with their tokenizer: whatever runs ONNX gives its vectors, without torch.

    FOLDER/image.onnx        images uint8 (n, side, side, 3) -> unit vectors (n, dim)
    FOLDER/text.onnx         ids int64 (n, length), mask bool (n, length) -> unit vectors (n, dim)
    FOLDER/tokenizer.json    texts to ids, cut and padded as the graph wants them
    FOLDER/config.json       side, whether a picture's centre is read or the whole, dim, scale and bias of the logit

In 8 bits a convolutional picture's side is calibrated on pictures (components/models/onnx/int8.py); of a transformer,
whose activations such ranges fit badly, the weights of its matrix products are in 8 bits and activations are measured
as they come.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.errors import MissingDependency, ModelError
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.dual_encoders.encoder import CONFIG, DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import TransformersEncoder
from pairwright.components.models.interchange.byte_tokenizer import byte_tokenizer
from pairwright.components.models.onnx.graph import GRAPH, NoGraph, write_graph
from pairwright.components.models.onnx.int8 import quantise
from pairwright.components.models.towers.efficientnet import EfficientNetLite0
from pairwright.components.models.towers.sentence import SentenceTower
from pairwright.components.models.towers.tiny import BYTES, MAX_BYTES, PAD, TinyText

FORMAT = "pairwright-onnx"
IMAGE, TEXT = "image.onnx", "text.onnx"
CONVOLUTIONS, PRODUCTS = ("Conv",), ("MatMul", "Gemm")  # operators worth 8 bits


class ImageSide(nn.Module):
    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder.embed_pixels(images)


class TextSide(nn.Module):
    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.encoder.embed_tokens({"ids": ids, "mask": mask})


def write_onnx(encoder: DualEncoder, folder: Path, calibration: Sequence[np.ndarray] | None = None) -> None:
    """Write the folder.

    Args:
        calibration: pictures that 8-bit ranges are drawn from; float32 if None.

    Raises:
        ModelError: a side does not export.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fixed = isinstance(encoder, TransformersEncoder)  # its masks are made for one length, so that length is traced
    tokenizer = _tokenizer(encoder)
    image, text = ImageSide(encoder).eval(), TextSide(encoder).eval()

    def words(count: int) -> dict[str, Tensor]:
        coded = tokenizer.encode_batch(["a picture" + " and one more thing" * number for number in range(count)])
        ids = torch.tensor([one.ids for one in coded])
        return {"ids": ids, "mask": torch.tensor([one.attention_mask for one in coded]).bool()}

    def pictures(count: int) -> dict[str, Tensor]:
        draw = np.random.default_rng(count).integers(
            0, 256, (count, encoder.image_size, encoder.image_size, 3), np.uint8
        )
        return {"images": torch.from_numpy(draw)}

    try:
        if calibration is not None and _convolves(encoder):
            quantise(image, pictures, encoder.pixels(calibration), folder, CONVOLUTIONS)
            (folder / GRAPH).rename(folder / IMAGE)
        else:
            write_graph(image, pictures, {"images": (0,)}, folder / IMAGE)
        varying = (0,) if fixed else (0, 1)
        write_graph(text, words, {"ids": varying, "mask": varying}, folder / TEXT)
        if calibration is not None:
            for path in (folder / TEXT, *(() if _convolves(encoder) else (folder / IMAGE,))):
                _lighter(path)
    except ImportError as error:
        raise MissingDependency(f"ONNX needs {error.name}; run `pip install onnx onnxruntime`") from None
    except NoGraph as error:
        raise ModelError(f"this model has no ONNX graph here ({error}); export it as another form") from None
    tokenizer.save(str(folder / "tokenizer.json"))
    config = _config(encoder, "fixed" if fixed else "as long as its longest text")
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _convolves(encoder: DualEncoder) -> bool:
    return isinstance(encoder, TwoTower) and isinstance(encoder.image_tower, EfficientNetLite0)


def _config(encoder: DualEncoder, length: str) -> dict[str, Any]:
    bias = encoder.logit_bias
    return {
        "format": FORMAT,
        "format_version": 1,
        "side": encoder.image_size,
        "crops": encoder.crops,
        "dim": encoder.dim,
        "length": length,
        "scale": encoder.scale.item(),
        "bias": None if bias is None else bias.item(),
    }


def _lighter(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain = path.with_name("plain.onnx")
    path.rename(plain)
    quantize_dynamic(str(plain), str(path), weight_type=QuantType.QInt8, op_types_to_quantize=list(PRODUCTS))
    plain.unlink()


def _tokenizer(encoder: DualEncoder) -> Any:
    """The model's own as a `tokenizers.Tokenizer` that cuts and pads.

    Raises:
        ModelError: it has none of that library's.
    """
    if isinstance(encoder, TwoTower) and isinstance(encoder.text_tower, SentenceTower):
        return encoder.text_tower.tokenizer
    if isinstance(encoder, TwoTower) and isinstance(encoder.text_tower, TinyText):
        return _cut(byte_tokenizer(PAD, BYTES, MAX_BYTES), MAX_BYTES, fixed=False)
    if isinstance(encoder, TransformersEncoder):
        return _cut(encoder.exported_tokenizer(), encoder.longest, fixed=True)
    raise ModelError("its tokens are made by no tokenizer that has a file; export it as another form")


def _cut(tokenizer: Any, longest: int, *, fixed: bool) -> Any:
    found = getattr(tokenizer, "backend_tokenizer", None)
    if found is None:
        raise ModelError("its tokenizer is not one of the library `tokenizers`; export it --as transformers")
    found.enable_truncation(longest)
    pad = tokenizer.pad_token or tokenizer.eos_token
    number = tokenizer.convert_tokens_to_ids(pad)
    found.enable_padding(length=longest if fixed else None, pad_id=number, pad_token=pad)
    return found
