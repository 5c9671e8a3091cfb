"""Rotation stability: of several captions of a picture, the one whose rank turning it changes least.

    recaption:
      stable: {uses: rotation_stability, with: {model: org/clip, sources: [alt, first_caption, second_caption]}}
      best:   {uses: chosen, with: {choice: stable.source, sources: [alt, first_caption, second_caption]}}

RS5M (Zhang et al., 2024): each candidate is scored against the picture turned by 0, 90, 180 and 270
degrees, ranked within each turn, and the candidate of the smallest rank variance is chosen, the higher
mean score among equals. Mechanism verified by test, the paper's figures are not reproduced. Offline,
where no public dual encoder is given, use `crossfit_rotation_stability`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.selections.rank_stability import ROTATIONS, most_stable, rank_variance, shortlisted
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

COLUMNS: Mapping[str, pa.DataType] = {
    "source": pa.string(),
    "variance": pa.float32(),
    "score": pa.float32(),
    "candidates": pa.int32(),
}


class RotationStabilitySettings(Settings):
    model: ModelFolder
    sources: tuple[str, ...] = Field(min_length=2, description="candidates: sidecar sources or captioner steps")
    shortlist: int | None = Field(None, ge=1, description="only so many of the best by mean score compete; None: all")


@scorer("rotation_stability")
class RotationStability(Scorer[RotationStabilitySettings]):
    """Columns are null where the picture does not decode or there is no candidate.

    Columns:
        source: of the caption chosen.
        variance: of its rank over the four rotations, among those that compete.
        score: its mean cosine over them.
        candidates: how many captions there were; an empty one is none.
    """

    requires = Pixels(size=224)
    libraries = TOWER_LIBRARIES
    columns = COLUMNS
    sees_failures = True  # a pair that lacks one of the sources still has the others
    runs_model = True

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.model))

    def caption_sources(self) -> tuple[str, ...]:
        return self.settings.sources

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        decoded = [i for i, image in enumerate(pairs.images) if image is not None]
        images = [image for image in pairs.images if image is not None]
        scores = np.full((len(pairs), len(ROTATIONS), len(self.settings.sources)), np.nan, np.float32)
        if decoded:
            turned = [np.rot90(image, turns) for turns in range(len(ROTATIONS)) for image in images]
            vectors = self.model.encode_image(turned).unflatten(0, (len(ROTATIONS), len(images)))  # (4, n, d)
            for place, source in enumerate(self.settings.sources):
                captions = pairs.captions(source)
                has = [at for at, i in enumerate(decoded) if (captions[i] or "").strip()]
                if has:
                    texts = self.model.encode_text([captions[decoded[at]] or "" for at in has])
                    scores[[decoded[at] for at in has], :, place] = (vectors[:, has] * texts).sum(-1).T.cpu().numpy()
        return chosen_columns(scores, self.settings.sources, self.settings.shortlist)


def chosen_columns(scores: np.ndarray, sources: tuple[str, ...], shortlist: int | None) -> dict[str, list[Any]]:
    """The columns, from (n, 4, sources) cosines, NaN where there is no such caption."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for mine in scores:
        winner = most_stable(mine, shortlist)
        found = winner >= 0
        competing = shortlisted(mine, shortlist)
        variance = rank_variance(mine[:, competing])
        columns["source"].append(sources[winner] if found else None)
        columns["variance"].append(float(variance[competing == winner][0]) if found else None)
        columns["score"].append(float(mine[:, winner].mean()) if found else None)
        columns["candidates"].append(int((~np.isnan(mine).any(axis=0)).sum()) if found else None)
    return columns
