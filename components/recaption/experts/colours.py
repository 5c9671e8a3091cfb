"""Dominant colours of a picture, in the basic colour terms of English.

A border of one plain colour is background: it is named apart, and only what stands on it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.colour_terms import TERMS, terms_of, to_lab
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings


class ColoursSettings(Settings):
    side: int = Field(48, ge=8, le=512, description="pixels; pictures are shrunk to this square first")
    min_share: float = Field(0.12, ge=0, le=1, description="share of the foreground below which a colour is not named")
    plain_border: float = Field(
        0.8, gt=0, le=1, description="share of border pixels of one colour that makes background"
    )


@scorer("colours")
class Colours(Scorer[ColoursSettings]):
    """Columns: `names` by falling share, `shares` of the foreground, `background` ("" if it is not plain)."""

    columns: Mapping[str, pa.DataType] = {  # type: ignore[misc]
        "names": pa.list_(pa.string()),
        "shares": pa.list_(pa.float32()),
        "background": pa.string(),
    }
    requires = Pixels(size=48)
    libraries = ("opencv-python-headless",)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        described = [self._describe(picture) for picture in pairs.squares(self.settings.side)]
        names, shares, background = zip(*described, strict=True) if described else ((), (), ())
        return {"names": list(names), "shares": list(shares), "background": list(background)}

    def _describe(self, picture: np.ndarray) -> tuple[list[str], list[float], str]:
        """(side, side, 3) uint8 RGB -> names, shares, background."""
        terms = terms_of(to_lab(picture))
        border = np.concatenate([terms[0], terms[-1], terms[1:-1, 0], terms[1:-1, -1]])
        counts = np.bincount(border, minlength=len(TERMS))
        plain = counts.max() >= self.settings.plain_border * len(border)
        foreground = np.ones(terms.shape, dtype=bool)
        if plain:
            foreground = terms != counts.argmax()
            # White paint on a white page cannot be told from the page; a picture of one colour is that colour.
            if foreground.mean() < 0.02:
                foreground[:] = True
        shares = np.bincount(terms[foreground], minlength=len(TERMS)) / max(int(foreground.sum()), 1)
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= max(self.settings.min_share, 1e-9)]
        return [TERMS[i] for i in order], [float(shares[i]) for i in order], TERMS[counts.argmax()] if plain else ""
