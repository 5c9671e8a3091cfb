"""The model behind the routes: many items in, a vector or a refusal for each, never one for all.

Texts, pictures' files (serving/pictures.py) and decoded pictures each have a queue (serving/turns.py) that all routes
share: what `classify` asks for goes in turns with what `embed_text` does.

Warm start: nothing heavy is imported before an `Encoder` is made.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from pairwright.components.artifact import check_committed
from pairwright.components.errors import ModelError
from pairwright.serving.limits import BULK_ABOVE, Refusal, check_prompts, check_text
from pairwright.serving.outcomes import outcome_of, result_of
from pairwright.serving.pictures import Pictures
from pairwright.serving.turns import Turns

MIN_SIDE = 224  # px; pictures are decoded no smaller than this, or than the model's own input if that is larger
# A batch is short, since a request that comes while it runs waits for its end.
TEXT_BATCH = 64
TEXT_BATCH_CHARS = 8192
CHARS_READ = 512  # of a text at most, by the towers; what a longer one costs more is cutting it
IMAGE_BATCH = 32
KEPT_LABEL_SETS = 32

logger = logging.getLogger("bentoml.pairwright")


class Prompts(Sequence[str]):
    """Every label in every template, made when asked for: label 0 in all templates, label 1 in all, ..."""

    def __init__(self, labels: Sequence[str], templates: Sequence[str]) -> None:
        self._labels, self._templates = labels, templates

    def __len__(self) -> int:
        return len(self._labels) * len(self._templates)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...
    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        label, template = divmod(number, len(self._templates))
        return self._templates[template].replace("{}", self._labels[label])


class Encoder:
    """A dual encoder with per-item errors.

    Args:
        most: items in a batch at most; 1 answers each by itself.
        observe: told the queue's name and the size of each batch of the model.

    Raises:
        ModelError: the folder holds no dual encoder.
        WorkspaceError: a file of it is not what was committed.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        most: int = TEXT_BATCH,
        observe: Callable[[str, int], Any] = lambda queue, size: None,
    ) -> None:
        import torch

        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        check_committed(folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_dual_encoder(str(folder), device)
        tower = getattr(self.model, "image_tower", None)  # a transformers model prepares pictures itself
        self.pictures = Pictures(max(MIN_SIDE, int(getattr(tower, "side", MIN_SIDE))))
        self._texts = Turns[str, Any](
            "text",
            self._encode_texts,
            most_items=most,
            weight=lambda text: min(len(text), CHARS_READ),
            most_weight=TEXT_BATCH_CHARS,
            bulk_above=BULK_ABOVE,
            observe=lambda size: observe("text", size),
        )
        self._images = Turns[Any, Any](
            "image",
            self._encode_images,
            most_items=min(most, IMAGE_BATCH),
            observe=lambda size: observe("image", size),
        )
        self._label_sets: OrderedDict[str, np.ndarray] = OrderedDict()

    async def texts(self, texts: Sequence[str]) -> list[np.ndarray | Refusal]:
        """One unit vector (d,) float32, or the reason there is none, for each text.

        Raises:
            Refusal: 429 where too much is under way.
        """
        return await self._texts.ask(texts)

    async def images(self, images: Sequence[str | bytes]) -> list[np.ndarray | Refusal]:
        """One unit vector (d,) float32, or the reason there is none, for each picture file.

        Raises:
            Refusal: 429 where too much is under way.
        """
        return await self._images.ask(await self.pictures.decoded(images))

    async def text(self, text: str) -> np.ndarray:
        """(d,) float32.

        Raises:
            Refusal: the text is empty or too long.
        """
        return result_of((await self.texts([text]))[0])

    async def all_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float32.

        Raises:
            Refusal: one of the texts is empty or too long.
        """
        for text in texts:  # before the good ones are paid for
            check_text(text)
        return np.stack([result_of(vector) for vector in await self.texts(texts)])

    async def image(self, image: str | bytes) -> np.ndarray:
        """(d,) float32.

        Raises:
            Refusal: the picture is too big or none at all.
        """
        return result_of((await self.images([image]))[0])

    async def classify(
        self, image: str | bytes, labels: Sequence[str], templates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Zero-shot classification with a prompt ensemble (CLIP, section 3.1.4).

        Returns:
            cosines (n,) to each label's mean prompt vector, and their softmax at the model's temperature.

        Raises:
            Refusal: the picture, a label or a template is none, or together they are too many.
        """
        check_prompts(labels, templates)
        picture = await self.image(image)
        cosines = await self._label_vectors(labels, templates) @ picture
        logits = self.temperature * cosines
        odds = np.exp(logits - logits.max())
        return cosines, odds / odds.sum()

    @property
    def temperature(self) -> float:
        """What a cosine is multiplied by before the softmax, as learnt."""
        return float(self.model.scale)

    async def _label_vectors(self, labels: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        """(n, d): each label's prompts averaged, then brought back to unit norm; the last few sets are kept."""
        name = hashlib.sha256(json.dumps([labels, templates]).encode()).hexdigest()
        means = self._label_sets.pop(name, None)
        if means is None:
            vectors = np.stack([result_of(one) for one in await self.texts(Prompts(labels, templates))])
            means = vectors.reshape(len(labels), len(templates), -1).mean(axis=1)
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        self._label_sets[name] = means
        while len(self._label_sets) > KEPT_LABEL_SETS:
            self._label_sets.popitem(last=False)
        return means

    def _encode_texts(self, texts: list[str]) -> list[np.ndarray | Refusal]:
        return self._each([outcome_of(check_text, text) for text in texts], self.model.encode_text)

    def _encode_images(self, decoded: list[Any]) -> list[np.ndarray | Refusal]:
        return self._each(decoded, self.model.encode_image)

    def _each(self, items: list[Any], encode: Callable[[list[Any]], Any]) -> list[np.ndarray | Refusal]:
        """Encode the items that are not refusals, in one batch if the model takes it, else one by one."""
        good = [i for i, item in enumerate(items) if not isinstance(item, Refusal)]
        results: list[Any] = list(items)
        try:
            vectors = list(_numpy(encode([items[i] for i in good]))) if good else []
        except Exception:
            logger.exception("a batch of %d failed; its items are tried one by one", len(good))
            vectors = [outcome_of(lambda item: _numpy(encode([item]))[0], items[i]) for i in good]
        for i, vector in zip(good, vectors, strict=True):
            results[i] = vector
        return results


def _numpy(vectors: Any) -> np.ndarray:
    array = vectors.detach().float().cpu().numpy()
    if not np.isfinite(array).all():
        raise ModelError("the model gave a vector that is not finite")
    return array
