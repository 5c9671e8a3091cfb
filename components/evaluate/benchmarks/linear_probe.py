"""Linear probe: a linear classifier on picture vectors, fitted on one dataset, judged on the split.

    benchmarks:
      probe: {uses: linear_probe, with: {train: data/raw, label: category}}

Radford et al. (2021, section 3.2, appendix A.3): multinomial logistic regression by L-BFGS on frozen features, the
strength of its L2 penalty chosen on a part of the training pictures that is held out, here by group. Pictures of
a group that is judged do not teach, and the split's own labels choose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Measured
from pairwright.components.evaluate.labelled import Labelled, hits_of
from pairwright.components.evaluate.taught_by_labels import LabelSettings, TaughtByLabels
from pairwright.components.registry import benchmark

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder

HELD_OUT = 5  # one group in so many chooses the penalty


class LinearProbeSettings(LabelSettings):
    strengths: tuple[float, ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0), min_length=1, description="C, the inverse of the penalty; the best one is taken"
    )


@benchmark("linear_probe")
class LinearProbe(TaughtByLabels[LinearProbeSettings]):
    """Metrics: `accuracy` (over pictures), `balanced_accuracy` (mean over classes)."""

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        wish = self.settings
        taught, judged = self.both(model, dataset)
        hits, strength = probed(taught, judged, wish.strengths, wish.seed)
        about = (
            f"logistic regression on {len(taught.classes):,} pictures of {wish.train} ({wish.of}, L2, C = "
            f"{strength:g} / n chosen on a held-out fifth of them) says their {wish.label}, of "
            f"{len(set(judged.classes))} classes"
        )
        texts = {
            "accuracy": f"Share of pictures of which a {about}; classes that tie share a hit.",
            "balanced_accuracy": f"Mean over classes of the share of their pictures of which a {about}.",
        }
        return self.told(hits, judged, texts)


def probed(taught: Labelled, judged: Labelled, strengths: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, float]:
    """Each judged picture's hit (n,), and the strength that was chosen on a part of `taught`."""
    if len(strengths) > 1:
        _, group = np.unique(taught.groups, return_inverse=True)
        held = np.random.default_rng(seed).permutation(group.max() + 1)[group] % HELD_OUT == 0
        part, rest = taught.take(np.flatnonzero(~held)), taught.take(np.flatnonzero(held))
        known = rest.take(np.flatnonzero(np.isin(rest.classes, part.classes)))
        means = [_hits(part, known, c).mean() if len(known.classes) else 0.0 for c in strengths]
        strengths = (strengths[int(np.argmax(means))],)
    return _hits(taught, judged, strengths[0]), strengths[0]


def _hits(taught: Labelled, judged: Labelled, c: float) -> np.ndarray:
    from pairwright.components.evaluate.statistics.logistic import fit_logistic

    classes, y = np.unique(taught.classes, return_inverse=True)
    mean, deviation = taught.vectors.mean(axis=0), taught.vectors.std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, 1.0)  # what does not vary says nothing
    weights, bias = fit_logistic((taught.vectors - mean) / scale, y.reshape(-1), len(classes), c / len(y))
    scores = ((judged.vectors - mean) / scale) @ weights.T + bias
    return hits_of(scores, np.searchsorted(classes, judged.classes))
