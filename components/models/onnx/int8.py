"""An image tower in 8-bit integers: on a CPU four to five times as fast as torch, at a price that is measured and said.

Static quantisation (Jacob et al., 2018) by ONNX Runtime: activations unsigned, with the range that a sample of pictures
gives each tensor; weights signed, with a scale for each channel (with one a tensor the mean cosine of
EfficientNet-Lite0 falls from 0.985 to 0.72). What it costs is the mean cosine to the float32 features, on pictures the
ranges were not drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pairwright.components.errors import MissingDependency, ModelError
from pairwright.components.hashing import sha256_text
from pairwright.components.models.onnx.graph import GRAPH, Example, Graph, NoGraph, cached, key_of, write_graph
from pairwright.components.models.towers.tower import ImageTower

CALIBRATION = 160  # pictures that ranges are drawn from; as many more say what it costs
LEAST = 16
CHUNK = 8
COSINE = "mean_cosine"


def quantised(tower: ImageTower, pictures: np.ndarray) -> Graph:
    """The locked tower's int8 graph, from the cache or made now (some 15 s); `facts[COSINE]` is its price.

    Args:
        pictures: (n, side, side, 3) uint8; every other one calibrates, the others judge.

    Raises:
        ModelError: fewer than LEAST pictures, or the tower has no graph.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    assert tower.weights is not None
    if len(pictures) < LEAST:
        raise ModelError(f"int8 is calibrated on pictures, {LEAST} at least, not on {len(pictures)}; name a larger set")
    sample = sha256_text(np.ascontiguousarray(pictures).tobytes().hex())

    def make(folder: Path) -> dict[str, Any]:
        quantise(tower, tower.example, pictures[::2], folder)
        found = Graph(str(folder / GRAPH), {})
        return {COSINE: _mean_cosine(tower, found, pictures[1::2]), "calibrated_on": len(pictures[::2])}

    try:
        import onnx  # noqa: F401  said before anything is made

        return cached(key_of(tower, tower.weights, int8=sample), make)
    except ImportError as error:
        raise MissingDependency(f"int8 needs {error.name}; run `pip install onnx onnxruntime`") from None
    except NoGraph as error:
        raise ModelError(f"{tower.kind} has no int8 form here ({error}); leave `precision` at float32") from None


def quantise(
    module: nn.Module, example: Example, pictures: np.ndarray, folder: Path, operators: Sequence[str] | None = None
) -> None:
    """Write the int8 graph of a module that reads `images`, its ranges drawn from pictures, as folder/GRAPH.

    Args:
        operators: ONNX operators in 8 bits; all that can be if None.

    Raises:
        NoGraph: the module does not export.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[np.ndarray] = (pictures[at : at + CHUNK] for at in range(0, len(pictures), CHUNK))

        def get_next(self) -> dict[str, np.ndarray] | None:
            chunk = next(self.left, None)
            return None if chunk is None else {"images": chunk}

    plain, fused = folder / "plain.onnx", folder / "fused.onnx"
    write_graph(module, example, {"images": (0,)}, plain)
    quant_pre_process(str(plain), str(fused), skip_symbolic_shape=True)  # norms into convolutions, shapes known
    quantize_static(
        str(fused),
        str(folder / GRAPH),
        Pictures(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=operators,
    )
    for file in (plain, fused):
        file.unlink()


def _mean_cosine(tower: ImageTower, graph: Graph, pictures: np.ndarray) -> float:
    cosines = []
    for at in range(0, len(pictures), CHUNK):
        images = torch.from_numpy(np.ascontiguousarray(pictures[at : at + CHUNK]))
        with torch.inference_mode():
            cosines.append(torch.cosine_similarity(tower.run(images=images), graph(images=images)))
    return float(torch.cat(cosines).mean())
