"""PDQ: a 256-bit perceptual hash of each picture (Davis and Rosen, Facebook, 2019).

    pairwright score data/raw pdq

Two pictures within Hamming distance 31 show the same thing resized, recompressed or lightly
edited; `near_duplicates` reads these hashes. Below a quality of about 50 (a flat or nearly
featureless picture) the hash means little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.media.pdq import pdq_hash
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SIDE = 128  # pixels; twice the 64 x 64 grid the hash is taken from


class PdqSettings(Settings):
    pass


@scorer("pdq")
class Pdq(Scorer[PdqSettings]):
    """Columns: `hash` 32 bytes, `quality` int32 0 (featureless) to 100; null where the picture does not decode."""

    requires = Pixels(size=SIDE)
    libraries = ("opencv-python-headless",)
    columns = {"hash": pa.binary(32), "quality": pa.int32()}

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        hashed = [pdq_hash(image) for image in pairs.images if image is not None]
        assert len(hashed) == len(pairs), "pdq sees only decoded pictures"
        return {"hash": [bits.tobytes() for bits, _ in hashed], "quality": [quality for _, quality in hashed]}
