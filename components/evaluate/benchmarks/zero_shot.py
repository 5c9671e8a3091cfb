"""Zero-shot classification (Radford et al., 2021, section 3.1): the class whose prompts fit best.

A class's vector is the mean of its prompts' unit vectors, normalised again; a picture takes the
class of the highest cosine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.dataset.captions.spoken import spoken
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import DualEncoder

TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "a photo of {}", "clip art of {}", "something from {}")


class ZeroShotSettings(Settings):
    label: str = Field("category", description="the sidecar label that is predicted")
    templates: list[str] = Field(list(TEMPLATES), min_length=1, description="prompts, {} is the class's name")
    names: dict[str, str] = Field({}, description="label -> words to say for it, where the label reads badly")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("zero_shot")
class ZeroShot(Benchmark[ZeroShotSettings]):
    """Metrics: `accuracy` (over pictures), `balanced_accuracy` (mean over classes), `top3`."""

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label(self.settings.label):
            raise InvalidRecipe(f"{lacks}; name one in `label`")

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are the pictures that have the label, hits as 0 or 1; no caption is asked for."""
        items, truth, groups, classes = self._predict(model, dataset)
        what = (
            f"the class whose {len(self.settings.templates)} averaged prompts have the highest cosine is its "
            f"{self.settings.label}, of {len(classes)} classes"
        )
        texts = {
            "accuracy": f"Share of pictures for which {what}.",
            "top3": f"Share of pictures whose {self.settings.label} is among the 3 classes of the highest cosine.",
            "balanced_accuracy": f"Mean over classes of the share of their pictures for which {what}.",
        }
        # Weighing each picture by 1 / its class's size makes the mean over pictures one over classes.
        items["balanced_accuracy"] = items["accuracy"] * class_weights(truth)
        metrics = []
        for name, text in texts.items():
            found = bootstrap_mean(items[name], groups, seed=self.settings.seed)
            bounds = found.low, found.high
            metrics.append(
                Metric(name, found.value, len(truth), *bounds, text, templates=tuple(self.settings.templates))
            )
        return Measured(metrics, items | {"groups": np.asarray(groups)})

    def _predict(
        self, model: DualEncoder, dataset: Dataset
    ) -> tuple[dict[str, np.ndarray], np.ndarray, list[str], list[str]]:
        """(hits by metric, class numbers, groups, class names) of the pictures that have the label."""
        from pairwright.components.evaluate.split import pictures_of

        split = pictures_of(model, dataset)
        labelled = [i for i, labels in enumerate(split.labels) if self.settings.label in labels]
        if not labelled:
            raise DatasetError(f'{dataset.name} has no label "{self.settings.label}"; name one in `label`')
        values = [split.labels[i][self.settings.label] for i in labelled]
        classes, truth = np.unique(np.asarray(values), return_inverse=True)
        image = model.encode_image_features(split.image[labelled])
        scores = (image @ self.class_vectors(model, list(classes)).T).float().cpu().numpy()
        require_finite(scores, "the similarities of pictures and classes")
        right = scores[np.arange(len(truth)), truth][:, None]
        # Ties count against, as in retrieval.
        rank = 1 + ((scores >= right).sum(axis=1) - 1)
        items = {"accuracy": (rank <= 1).astype(np.float32), "top3": (rank <= 3).astype(np.float32)}
        return items, truth.reshape(-1), [split.groups[i] for i in labelled], list(classes)

    def class_vectors(self, model: DualEncoder, classes: list[str]) -> Tensor:
        """(classes, dim) unit vectors: each class's prompts averaged and normalised again."""
        from torch.nn import functional as F  # noqa: N812

        templates = self.settings.templates
        prompts = [t.format(self.settings.names.get(name, spoken(name))) for name in classes for t in templates]
        vectors = model.encode_text(prompts).view(len(classes), len(templates), -1)
        return F.normalize(vectors.mean(dim=1), dim=-1)


def class_weights(truth: np.ndarray) -> np.ndarray:
    """Weight of each item whose mean is 1 over all and equal over classes: n / (classes * class size)."""
    sizes = np.bincount(truth)
    weights: np.ndarray = len(truth) / ((sizes > 0).sum() * sizes[truth])
    return weights.astype(np.float32)
