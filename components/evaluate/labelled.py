"""Pictures of a class, as vectors: what a probe learns from and is judged on, kept apart.

taught, judged = labelled(model, train, "category"), labelled(model, test, "category")
taught = apart(taught, judged)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.split import pictures_of
from pairwright.components.finite import require_finite
from pairwright.components.models.protocols import DualEncoder

TOWER, EMBEDDING = "tower", "embedding"


@dataclass(frozen=True)
class Labelled:
    """Pictures that have the label.

    Attributes:
        vectors: (n, d) float64.
        classes: n values of the label.
        groups: n names; pictures of one group are not independent.
    """

    vectors: np.ndarray
    classes: np.ndarray
    groups: np.ndarray

    def take(self, which: np.ndarray) -> Labelled:
        return Labelled(self.vectors[which], self.classes[which], self.groups[which])


def labelled(model: DualEncoder, dataset: Dataset, label: str, of: str = EMBEDDING) -> Labelled:
    """A split's labelled pictures, as the model's unit vectors or its image tower's features.

    Raises:
        DatasetError: no picture has the label.
        NotFinite: a vector is not.
    """
    split = pictures_of(model, dataset)
    which = [i for i, labels in enumerate(split.labels) if label in labels]
    if not which:
        raise DatasetError(f'{dataset.name} has no label "{label}"; name one in `label`')
    features = split.image[which]
    vectors = (features if of == TOWER else model.encode_image_features(features)).float().cpu().numpy()
    require_finite(vectors, f"the vectors of {dataset.name}'s pictures")
    values = np.asarray([split.labels[i][label] for i in which])
    return Labelled(vectors.astype(np.float64), values, np.asarray([split.groups[i] for i in which]))


def apart(taught: Labelled, judged: Labelled) -> Labelled:
    """What may be learnt from: nothing of a group that is judged.

    Raises:
        DatasetError: a class that is judged is never taught.
    """
    left = taught.take(np.flatnonzero(~np.isin(taught.groups, judged.groups)))
    unknown = sorted(set(judged.classes.tolist()) - set(left.classes.tolist()))
    if unknown:
        raise DatasetError(f'nothing teaches the class "{unknown[0]}" that is judged; name another `train` or `label`')
    return left


def balanced(hits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Values of each item whose mean is the mean over classes of their items' mean."""
    values, counts = np.unique(classes, return_counts=True)
    size = dict(zip(values, counts, strict=True))
    weights = np.array([len(classes) / (len(values) * size[one]) for one in classes])
    return hits * weights


def hits_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether each row's highest score is the right column's; of t that tie for it, 1/t: so a constant is at chance."""
    best = scores >= scores.max(axis=1, keepdims=True)
    return best[np.arange(len(right)), right] / best.sum(axis=1)
