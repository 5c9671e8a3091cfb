"""An object detector of `transformers`: what is where in a picture, and how surely.

    detector = load_detector(folder, "cpu")
    detector.find(images, least=0.5)     # for each picture [Found(box, label, score), ...], the surest first

DETR, YOLOS, RT-DETR and their kin are published as such folders; each decodes its outputs by its own image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairwright.components.errors import ModelError


class Found(NamedTuple):
    """One thing: its box (x0, y0, x1, y1) as shares of the picture's width and height, its class, its probability."""

    box: tuple[float, float, float, float]
    label: str
    score: float


class Detector:
    """A model and its image processor, in evaluation mode on a device."""

    def __init__(self, processor: Any, model: Any, device: str) -> None:
        self.processor, self.model, self.device = processor, model, device

    def find(self, images: Sequence[np.ndarray], least: float) -> list[list[Found]]:
        """RGB uint8 pictures of any sizes -> what is found in each with more than this probability.

        Pictures of one shape go together, so that none is padded and what is found in one depends on no other.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(position)
        found: dict[int, list[Found]] = {}
        for positions in by_shape.values():
            found |= zip(positions, self._find([images[i] for i in positions], least), strict=True)
        return [found[position] for position in range(len(images))]

    def _find(self, images: list[np.ndarray], least: float) -> list[list[Found]]:
        import torch

        inputs = self.processor(images=images, return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            outputs = self.model(**inputs.to(self.device))
        return [self._named(one) for one in self.processor.post_process_object_detection(outputs, threshold=least)]

    def _named(self, found: dict[str, Any]) -> list[Found]:
        labels = self.model.config.id2label
        boxes = found["boxes"].float().clamp(0, 1).tolist()
        things = [
            Found((x0, y0, x1, y1), str(labels[label]), score)
            for (x0, y0, x1, y1), label, score in zip(
                boxes, found["labels"].tolist(), found["scores"].tolist(), strict=True
            )
            if x0 < x1 and y0 < y1  # a box outside the picture holds nothing of it
        ]
        return sorted(things, key=lambda one: -one.score)


def load_detector(folder: str | Path, device: str = "cpu") -> Detector:
    """The object detector in a folder. Only safetensors weights and no code of the folder's are loaded.

    Raises:
        ModelError: the folder holds none.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **safe)
        model = AutoModelForObjectDetection.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **safe)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no object detector that transformers can load: {reason}") from None
    return Detector(processor, model.eval().to(torch.device(device)), device)
