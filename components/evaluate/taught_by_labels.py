"""What benchmarks share that learn classes from one dataset's labelled pictures and judge them on the split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.labelled import Labelled, apart, balanced, labelled
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import DualEncoder


class LabelSettings(Settings):
    undigested = frozenset(("train",))  # its bytes are digested, by `datasets`

    train: str = Field(description="the dataset that teaches, e.g. data/raw")
    label: str = Field("category", description="the sidecar label that is predicted, of both datasets")
    of: Literal["embedding", "tower"] = Field(
        "embedding", description="which vectors: of the shared space, or of the image tower before its projection"
    )
    seed: int = Field(0, ge=0, description="of the bootstrap, and of what is held out")


L = TypeVar("L", bound=LabelSettings)


class TaughtByLabels(Benchmark[L]):
    """Metrics: `accuracy` (over pictures), `balanced_accuracy` (mean over classes).

    Items are the split's pictures that have the label, hits as 0 or 1, shared out where classes tie.
    """

    def datasets(self) -> tuple[str, ...]:
        return (self.settings.train,)

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label(self.settings.label):
            raise InvalidRecipe(f"{lacks}; name one in `label`")

    def both(self, model: DualEncoder, dataset: Dataset) -> tuple[Labelled, Labelled]:
        """What teaches, without the groups that are judged, and what is judged."""
        from pairwright.components.dataset.dataset import open_dataset

        wish = self.settings
        judged = labelled(model, dataset, wish.label, wish.of)
        return apart(labelled(model, open_dataset(wish.train), wish.label, wish.of), judged), judged

    def told(self, hits: np.ndarray, judged: Labelled, definitions: Mapping[str, str]) -> Measured:
        """Both metrics by their definitions, with intervals over the pictures' groups."""
        items = {"accuracy": hits, "balanced_accuracy": balanced(hits, judged.classes)}
        metrics = []
        for name, text in definitions.items():
            found = bootstrap_mean(items[name], list(judged.groups), seed=self.settings.seed)
            metrics.append(Metric(name, found.value, len(hits), found.low, found.high, text))
        return Measured(metrics, items | {"groups": judged.groups})
