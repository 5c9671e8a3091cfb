"""The model behind the routes: many items in, a vector or a refusal for each, never one for all.

Warm start: nothing heavy is imported before an `Encoder` is made.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from components.artifact import check_committed
from components.errors import ModelError
from serving.limits import Refusal, check_text, decode_image

T = TypeVar("T")
P = TypeVar("P")
MIN_SIDE = 224  # px; pictures are decoded no smaller than this, or than the model's own input if that is larger
DECODE_THREADS = 4  # decoding leaves the interpreter's lock

logger = logging.getLogger("bentoml.pairwright")


class Encoder:
    """A dual encoder with per-item errors.

    Raises:
        ModelError: the folder holds no dual encoder.
        WorkspaceError: a file of it is not what was committed.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        import torch

        from components.models.dual_encoder import load_dual_encoder

        check_committed(folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_dual_encoder(str(folder), device)
        tower = getattr(self.model, "image_tower", None)  # a transformers model prepares pictures itself
        self.min_side = max(MIN_SIDE, int(getattr(tower, "side", MIN_SIDE)))
        self._decoders = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        self._labels = lru_cache(maxsize=32)(self._label_vectors)
        self._labels_lock = threading.Lock()

    def texts(self, texts: Sequence[str]) -> list[np.ndarray | Refusal]:
        """One unit vector (d,) float32, or the reason there is none, for each text."""
        return self._each([_outcome(check_text, text) for text in texts], self.model.encode_text)

    def images(self, images: Sequence[str | bytes]) -> list[np.ndarray | Refusal]:
        """One unit vector (d,) float32, or the reason there is none, for each picture file."""
        decoded = self._decoders.map(lambda image: _outcome(decode_image, image, self.min_side), images)
        return self._each(list(decoded), self.model.encode_image)

    def text(self, text: str) -> np.ndarray:
        """(d,) float32.

        Raises:
            Refusal: the text is empty or too long.
        """
        return _or_raise(self.texts([text])[0])

    def all_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float32, in one batch.

        Raises:
            Refusal: one of the texts is empty or too long.
        """
        return np.stack([_or_raise(vector) for vector in self.texts(texts)])

    def image(self, image: str | bytes) -> np.ndarray:
        """(d,) float32.

        Raises:
            Refusal: the picture is too big or none at all.
        """
        return _or_raise(self.images([image])[0])

    def classify(
        self, image: str | bytes, labels: Sequence[str], templates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Zero-shot classification with a prompt ensemble (CLIP, section 3.1.4).

        Returns:
            cosines (n,) to each label's mean prompt vector, and their softmax at the model's temperature.
        """
        picture = self.image(image)
        with self._labels_lock:
            cosines = self._labels(tuple(labels), tuple(templates)) @ picture
        logits = self.temperature * cosines
        odds = np.exp(logits - logits.max())
        return cosines, odds / odds.sum()

    @property
    def temperature(self) -> float:
        """What a cosine is multiplied by before the softmax, as learnt."""
        return float(self.model.scale)

    def _label_vectors(self, labels: tuple[str, ...], templates: tuple[str, ...]) -> np.ndarray:
        """(n, d): each label's prompts averaged, then brought back to unit norm."""
        prompts = [template.replace("{}", label) for label in labels for template in templates]
        vectors = self.all_texts(prompts)
        means = vectors.reshape(len(labels), len(templates), -1).mean(axis=1)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)

    def _each(self, items: list[Any], encode: Callable[[list[Any]], Any]) -> list[np.ndarray | Refusal]:
        """Encode the items that are not refusals, in one batch if the model takes it, else one by one."""
        good = [i for i, item in enumerate(items) if not isinstance(item, Refusal)]
        results: list[Any] = list(items)
        try:
            vectors = list(_numpy(encode([items[i] for i in good]))) if good else []
        except Exception:
            logger.exception("a batch of %d failed; its items are tried one by one", len(good))
            vectors = [_outcome(lambda item: _numpy(encode([item]))[0], items[i]) for i in good]
        for i, vector in zip(good, vectors, strict=True):
            results[i] = vector
        return results


def _numpy(vectors: Any) -> np.ndarray:
    array = vectors.detach().float().cpu().numpy()
    if not np.isfinite(array).all():
        raise ModelError("the model gave a vector that is not finite")
    return array


def _outcome(function: Callable[..., T], *arguments: Any) -> T | Refusal:
    try:
        return function(*arguments)
    except Refusal as refusal:
        return refusal
    except Exception as error:
        logger.exception("an item failed")
        return Refusal(500, f"the model failed on this item ({type(error).__name__})")


def _or_raise(outcome: np.ndarray | Refusal) -> np.ndarray:
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome
