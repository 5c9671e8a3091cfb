"""Cross-fitted alignment: how well captions fit their pictures, where no public dual encoder is given.

    selection: {uses: crossfit_alignment, with: {image: image_features.vector, text: text_features.vector}}
    keep:      {well_aligned: "crossfit_alignment.score >= quantile(crossfit_alignment.score, 0.3)"}

The pairs are halved by group; projection heads on the locked towers' features are fitted on one half
and score the other (2-fold cross-fitting, Chernozhukov et al., 2018), so no pair is scored by heads
that saw it, its near-duplicates, its caption under another picture, or its sidecar group. A warning
from this corpus: such a score likes what is easy and repeated; show a random selection beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.component import Captions, Columns, Selection
from components.dataset.columns import ColumnsView, to_numpy
from components.filter.caption_column import caption_column
from components.filter.duplicates import among_columns, participants
from components.filter.groups import joined, labels_of
from components.registry import selection
from components.settings import Settings

if TYPE_CHECKING:
    from components.models.heads import Heads


class CrossfitAlignmentSettings(Settings):
    image: str = "image_features.vector"
    scored_image: str | None = None  # features scored instead of those fitted on, e.g. without rendered text
    text: str = "text_features.vector"  # of the captions named by `source`
    source: str = "alt"  # whose equal texts share a group; a captioner step's name or a sidecar source
    near: str | None = "near_duplicates.group"  # labels of near-duplicates; None: captions and sidecar groups only
    among: dict[str, str] = {}  # keep-rules; only pairs that pass them are fitted on, all are scored
    dim: int = Field(128, ge=2, le=4096, description="of the shared space")
    steps: int = Field(300, ge=1, description="optimizer steps a fold")
    batch_size: int = Field(512, ge=2)
    seed: int = 0


@selection("crossfit_alignment")
class CrossfitAlignment(Selection[CrossfitAlignmentSettings]):
    """Columns over every pair; null where it has no features, or its fold could not be scored.

    Columns:
        score: cosine in [-1, 1] by the heads fitted on the other fold.
        fold: 0 or 1, the half the pair is in.
        group: row number, in the dataset's order, of its group's first pair; a group is in one fold.
    """

    requires = Columns("image", "scored_image", "text", "near") + Captions("source")
    libraries = ("torch",)
    columns = {"score": pa.float32(), "fold": pa.int8(), "group": pa.int64()}

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        images, texts = view.column(wish.image), view.column(wish.text)
        judged = images if wish.scored_image is None else view.column(wish.scored_image)
        known = _valid(images) & _valid(texts) & _valid(judged)
        captions = caption_column(view, wish.source)
        group = self._groups(view, captions)
        fold = balanced_folds(group, known)
        fitting = known & participants(view, wish.among)
        labels = labels_of(captions)
        score = np.full(view.rows, np.nan, np.float32)
        image, text = to_numpy(images), to_numpy(texts)
        seen = image if judged is images else to_numpy(judged)
        for scored in (0, 1):
            train = np.flatnonzero(fitting & (fold != scored))
            test = np.flatnonzero(known & (fold == scored))
            if len(train) >= 2 and len(test):
                heads = self._fitted(image[train], text[train], labels[train])
                cosines = (heads.image(seen[test]) * heads.text(text[test])).sum(-1)
                score[test] = np.asarray(cosines.clamp(-1, 1), dtype=np.float32)
        return {
            "score": pa.array(score, pa.float32(), mask=np.isnan(score)),
            "fold": pa.array(fold, pa.int8(), mask=~known),
            "group": pa.array(group, pa.int64()),
        }

    def _groups(self, view: ColumnsView, captions: pa.ChunkedArray) -> np.ndarray:
        labellings = [labels_of(captions), labels_of(view.sidecar(["group"])["group"])]
        if self.settings.near is not None:
            labellings.append(view.column(self.settings.near).fill_null(-1).to_numpy().astype(np.int64))
        return joined(labellings)

    def _fitted(self, image: np.ndarray, text: np.ndarray, labels: np.ndarray) -> Heads:
        """Heads fitted on these rows alone; equal captions, by `labels`, are positives of each other."""
        from components.models.heads import fit_heads

        alone = labels < 0  # a pair without a caption is only its own
        positives = np.where(alone, labels.max(initial=0) + 1 + np.arange(len(labels)), labels)
        return fit_heads(
            image,
            text,
            dim=self.settings.dim,
            steps=self.settings.steps,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            groups=positives,
        )


def balanced_folds(group: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(rows,) 0 or 1: groups whole, both halves about equal in known pairs.

    Groups go in the order of their size to folds 0, 1, 1, 0, 0, 1, 1, 0, ...: the halves differ by at
    most the largest group.
    """
    labels, inverse = np.unique(group, return_inverse=True)
    size = np.bincount(inverse, weights=known, minlength=len(labels))
    place = np.empty(len(labels), np.int64)
    place[np.lexsort((labels, -size))] = np.arange(len(labels))
    return np.asarray(((place + 1) // 2 % 2)[inverse], dtype=np.int8)


def _valid(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.is_valid().to_numpy(), dtype=bool)
