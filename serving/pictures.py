"""Files of pictures -> decoded pictures, for every model that looks at them.

Files whose header says that they decode slowly have a queue apart, with one worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairwright.components.environment import usable_cores
from pairwright.serving.limits import QUICK_IMAGE_SECONDS, Refusal, SlowImage, decode_image
from pairwright.serving.outcomes import outcome_of
from pairwright.serving.turns import Turns


class Pictures:
    """Decodes files, encoded ones that JSON holds among them; `min_side` px is the least a model needs to see."""

    def __init__(self, min_side: int) -> None:
        self.min_side = min_side
        self._files = Turns[Any, Any]("decode", self._decode_quick, workers=usable_cores())
        self._slow_files = Turns[Any, Any]("decode-slow", self._decode)

    async def decoded(self, images: Sequence[str | bytes]) -> list[np.ndarray | Refusal]:
        """RGB uint8 (h, w, 3) of each, or the reason there is none.

        Raises:
            Refusal: 429 where too much is under way.
        """
        decoded = await self._files.ask(images)
        slow = [number for number, one in enumerate(decoded) if one is None]
        for number, one in zip(slow, await self._slow_files.ask([images[n] for n in slow]), strict=True):
            decoded[number] = one
        return decoded

    def _decode(self, images: list[str | bytes]) -> list[np.ndarray | Refusal]:
        return [outcome_of(decode_image, image, self.min_side) for image in images]

    def _decode_quick(self, images: list[str | bytes]) -> list[np.ndarray | Refusal | None]:
        """None for a picture whose header says that it takes longer than others should wait for it."""
        outcomes: list[np.ndarray | Refusal | None] = []
        for image in images:
            try:
                outcomes.append(outcome_of(decode_image, image, self.min_side, QUICK_IMAGE_SECONDS))
            except SlowImage:
                outcomes.append(None)
        return outcomes
