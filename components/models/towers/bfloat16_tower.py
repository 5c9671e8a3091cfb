"""A locked tower in bfloat16, channels last, compiled where it can be: for GPUs, which multiply halves fastest.

    tower = Bfloat16Images(load_image_tower("builtin:efficientnet-lite0", "cuda"), compiled=True)
    tower.features(pictures), tower.facts["mean_cosine"]

Multiplications are in bfloat16 (`torch.autocast`), sums and what autocast keeps are in float32. What that costs is
measured on the first pictures or texts it is given, which run both ways. Where torch.compile does not work it is said,
and the tower runs as written. No GPU has measured it: a CPU proves the numbers, not the speed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pairwright.components.errors import ModelError
from pairwright.components.models.towers.tower import ImageTower, TextTower, Tower

log = logging.getLogger(__name__)


class _Halves:
    """Runs a tower in bfloat16. `facts`: precision, compiled, and once it ran the cosine with float32."""

    def __init__(self, tower: Tower, compiled: bool) -> None:
        if isinstance(tower, ImageTower):
            tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._plain: Callable[..., Tensor] = tower.infer
        self._fast: Callable[..., Tensor] = torch.compile(tower.infer, dynamic=True) if compiled else tower.infer
        self._device = tower.device.type
        self.facts: dict[str, Any] = {"precision": "bfloat16", "compiled": compiled}

    def __call__(self, **inputs: Tensor) -> Tensor:
        found = self._halved(**inputs)
        if "mean_cosine" not in self.facts and len(found):
            cosines = cosine_similarity(found.float(), self._plain(**inputs).float())
            self.facts |= {"mean_cosine": float(cosines.mean()), "least_cosine": float(cosines.min())}
            self.facts["measured_on"] = len(found)
        return found

    def _halved(self, **inputs: Tensor) -> Tensor:
        with torch.autocast(self._device, torch.bfloat16):
            try:
                return self._fast(**inputs)
            except torch.OutOfMemoryError:
                raise  # the scan takes smaller batches then
            except Exception as error:  # whatever a compiler raises
                if not self.facts["compiled"]:
                    raise
                log.warning("the tower runs without torch.compile: %s", str(error).strip().splitlines()[0])
                self._fast, self.facts["compiled"] = self._plain, False
                return self._fast(**inputs)


class Bfloat16Images(ImageTower):
    """An image tower for features alone."""

    kind = "bfloat16-images"

    def __init__(self, tower: ImageTower, compiled: bool) -> None:
        super().__init__()
        self.tower, self.width, self.side, self.crops = tower, tower.width, tower.side, tower.crops
        self.halves = _Halves(tower, compiled)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.halves.facts

    def run(self, **inputs: Tensor) -> Tensor:
        return self.halves(**inputs)

    def config(self) -> dict[str, Any]:
        raise ModelError("a bfloat16 tower is for features alone; train with the tower it was made of")


class Bfloat16Texts(TextTower):
    """A text tower for features alone."""

    kind = "bfloat16-texts"

    def __init__(self, tower: TextTower, compiled: bool) -> None:
        super().__init__()
        self.tower, self.width = tower, tower.width
        self.halves = _Halves(tower, compiled)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.halves.facts

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self.tower.tokens(texts)

    def run(self, **inputs: Tensor) -> Tensor:
        return self.halves(**inputs)

    def config(self) -> dict[str, Any]:
        raise ModelError("a bfloat16 tower is for features alone; train with the tower it was made of")
