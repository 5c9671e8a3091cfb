"""An image classifier of `transformers`: its probabilities, or its number where it regresses.

    model = load_classifier(folder, "cpu")
    model.probabilities(images)      # (n, labels), or (n, 1) raw values of a regression

Aesthetics, safety and content filters are published as such folders; which one, and what its labels
mean, the recipe says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.errors import ModelError

REGRESSION, MULTI_LABEL = "regression", "multi_label_classification"


class Classifier:
    """A model and its image processor, in evaluation mode on a device.

    Attributes:
        labels: their names, in the order of the columns. regresses: whether it gives one number, not classes.
    """

    def __init__(self, processor: Any, model: Any, device: str) -> None:
        self.processor, self.model, self.device = processor, model, device
        config = model.config
        self.labels = [str(config.id2label[number]) for number in range(config.num_labels)]
        self.regresses = config.problem_type == REGRESSION or config.num_labels == 1
        self.multi_label = config.problem_type == MULTI_LABEL

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """RGB uint8 pictures of any sizes -> float32 (n, labels): softmax, sigmoid where labels may
        hold together, the raw value where the model regresses."""
        import torch

        inputs = self.processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            logits = self.model(pixel_values=inputs["pixel_values"].to(self.device)).logits.float()
        if self.multi_label:
            logits = logits.sigmoid()
        elif not self.regresses:
            logits = logits.softmax(-1)
        found: np.ndarray = logits.cpu().numpy()
        return found


def load_classifier(folder: str | Path, device: str = "cpu") -> Classifier:
    """The image classifier in a folder. Only safetensors weights and no code of the folder's are loaded.

    Raises:
        ModelError: the folder holds none.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **safe)
        model = AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **safe
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no image classifier that transformers can load: {reason}") from None
    return Classifier(processor, model.eval().to(torch.device(device)), device)
