"""Cross-fitting: heads fitted on one half of the pairs judge the other, groups whole.

    class Mine(CrossFitted[MySettings]):
        def select(self, view):
            for heads, test in self.fitted(self.halves(view)): ...

2-fold cross-fitting (Chernozhukov et al., 2018) by group: no pair is judged by heads that saw it, its
near-duplicates, its caption under another picture, or its sidecar group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Columns, Selection
from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.filter.selections.folds import balanced_folds
from pairwright.components.filter.selections.groups import joined, labels_of
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.models.dual_encoders.heads import Heads


class CrossFitSettings(Settings):
    image: str = "image_features.vector"
    text: str = "text_features.vector"  # of the captions named by `source`
    source: str = "alt"  # whose equal texts share a group; a captioner step's name or a sidecar source
    near: str | None = "near_duplicates.group"  # labels of near-duplicates; None: captions and sidecar groups only
    among: dict[str, str] = {}  # keep-rules; only pairs that pass them are fitted on, all are scored
    dim: int = Field(128, ge=2, le=4096, description="of the shared space")
    steps: int = Field(300, ge=1, description="optimizer steps a fold")
    batch_size: int = Field(512, ge=2)
    seed: int = 0


@dataclass(frozen=True)
class Halves:
    """The population in two, each row (rows,): its features, its group, its fold, and whether both are known."""

    image: np.ndarray
    text: np.ndarray
    labels: np.ndarray  # equal captions, equal labels
    group: np.ndarray
    fold: np.ndarray
    known: np.ndarray
    fitting: np.ndarray


S = TypeVar("S", bound=CrossFitSettings)


class CrossFitted(Selection[S]):
    """Base of the selections that judge pairs by cross-fitted heads."""

    requires = Columns("image", "text", "near") + Captions("source")
    libraries = ("torch",)

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*super().column_names(), *among_columns(self.settings.among)]))

    def halves(self, view: ColumnsView, judged: np.ndarray | None = None) -> Halves:
        """The population halved by group, about equal in pairs with features (and `judged`, (rows,) bool)."""
        images, texts = view.column(self.settings.image), view.column(self.settings.text)
        known = valid(images) & valid(texts)
        known = known if judged is None else known & judged
        captions = caption_column(view, self.settings.source)
        group = self._groups(view, captions)
        fitting = known & participants(view, self.settings.among)
        fold = balanced_folds(group, known)
        return Halves(to_numpy(images), to_numpy(texts), labels_of(captions), group, fold, known, fitting)

    def fitted(self, halves: Halves) -> Iterator[tuple[Heads, np.ndarray]]:
        """Heads of each fold with the rows they may judge; none where a half has nothing to learn from."""
        for scored in (0, 1):
            train = np.flatnonzero(halves.fitting & (halves.fold != scored))
            test = np.flatnonzero(halves.known & (halves.fold == scored))
            if len(train) >= 2 and len(test):
                yield self._heads(halves.image[train], halves.text[train], halves.labels[train]), test

    def _groups(self, view: ColumnsView, captions: pa.ChunkedArray) -> np.ndarray:
        labellings = [labels_of(captions), labels_of(view.sidecar(["group"])["group"])]
        if self.settings.near is not None:
            labellings.append(view.column(self.settings.near).fill_null(-1).to_numpy().astype(np.int64))
        return joined(labellings)

    def _heads(self, image: np.ndarray, text: np.ndarray, labels: np.ndarray) -> Heads:
        """Heads fitted on these rows alone; equal captions, by `labels`, are positives of each other."""
        from pairwright.components.training.heads import fit_heads

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


def valid(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) bool: not null."""
    return np.asarray(column.is_valid().to_numpy(), dtype=bool)
