"""Bags of pictures that look alike: is a caption told from its neighbours', a picture from its?

    benchmarks:
      truematch: {uses: caption_bags, with: {size: 5}}                   # bags made of the split
      winoground: {uses: caption_bags, with: {label: bag}}               # bags that the data has

TrueMatch (No Detail Left Behind, Gaur et al., 2024) asks within bags of similar pictures what whole galleries ask
loosely: a random scorer is right once in a bag's size. A bag is made of a picture and those nearest to it by a tower
that is the same for every model judged, one picture of a group and one of a caption. Bags the data has are Winoground's
(Thrush et al., 2022), whose three scores they give: text (each picture finds its caption), image (each caption finds
its picture) and group (both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.labelled import hits_of
from pairwright.components.evaluate.metrics.positives import normalised
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.evaluate.split import SplitFeatures
    from pairwright.components.models.protocols import DualEncoder

TEXTS = {
    "i2t_r1": "Share of pictures whose own caption scores highest of their bag's",
    "t2i_r1": "Share of captions whose own picture scores highest of their bag's",
    "text_score": "Share of bags in which every picture finds its own caption",
    "image_score": "Share of bags in which every caption finds its own picture",
    "group_score": "Share of bags in which every picture finds its caption and every caption its picture",
}


class CaptionBagsSettings(Settings):
    label: str | None = Field(None, description="the label whose values are bags; none: bags are made of the split")
    size: int = Field(5, ge=2, description="pictures in a bag that is made")
    source: str = Field("alt", description="the captions; of several the first")
    tower: ModelFolder = Field(
        default_factory=lambda: ModelFolder(reference="builtin:efficientnet-lite0"),
        description="the image tower that says which pictures look alike; the same for every model judged",
    )
    seed: int = Field(0, ge=0, description="of the bootstrap, and of the pictures that bags are made around")


@benchmark("caption_bags")
class CaptionBags(Benchmark[CaptionBagsSettings]):
    """Metrics `i2t_r1`, `t2i_r1` (items: pictures) and `text_score`, `image_score`, `group_score` (items: bags)."""

    def check_data(self, facts: DataFacts) -> None:
        if self.settings.label is not None and (lacks := facts.lacks_label(self.settings.label)):
            raise InvalidRecipe(f"{lacks}; name one in `label`, or none to have bags made")

    def caption_sources(self) -> tuple[str, ...]:
        return (self.settings.source,)

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.split import features_of

        split = features_of(model, dataset, self.settings.source)
        first = np.searchsorted(split.picture, np.arange(len(split.groups)))
        image = model.encode_image_features(split.image).double().cpu().numpy()
        text = model.encode_text_features(split.text[first]).double().cpu().numpy()
        require_finite(image, "the vectors of the pictures")
        require_finite(text, "the vectors of the captions")
        bags, told = self._bags(split, [split.captions[i] for i in first], dataset)
        metrics, items = [], told_apart(image, text, bags)
        names = np.array([f"bag {number}" for number in range(len(bags))])
        items |= {"groups": np.repeat(names, [len(bag) for bag in bags])}
        for name, text_of in TEXTS.items():
            pictures = name.endswith("_r1")
            groups = items["groups"] if pictures else names
            found = bootstrap_mean(items[name], list(groups), seed=self.settings.seed)
            words = f"{text_of}. {told} Answers that tie share a hit; random scores: {_chance(name, bags)}."
            metrics.append(Metric(name, found.value, len(items[name]), found.low, found.high, words))
            if not pictures:
                items[f"{name}.groups"] = names
        return Measured(metrics, items)

    def _bags(self, split: SplitFeatures, captions: list[str], dataset: Dataset) -> tuple[list[np.ndarray], str]:
        label = self.settings.label
        if label is not None:
            values = np.array([labels.get(label, "") for labels in split.labels])
            found = [np.flatnonzero(values == value) for value in dict.fromkeys(values) if value]
            bags = [bag for bag in found if len(bag) > 1]
            if not bags:
                raise DatasetError(f'{dataset.name} has no two pictures of one "{label}"; name another label')
            return bags, f"{len(bags):,} bags of {_sizes(bags)} pictures, those of one {label}."
        features = self._alike(dataset, split)
        made = similar_bags(features, split.groups, captions, self.settings.size, self.settings.seed)
        if not made.bags:
            raise DatasetError(
                f"{dataset.name} has too few pictures for a bag of {self.settings.size}; say a smaller size"
            )
        return made.bags, (
            f"{len(made.bags):,} bags of {self.settings.size} pictures that look alike by "
            f"{self.settings.tower.reference}: mean cosine {made.within:.2f} within, {made.at_random:.2f} at random."
        )

    def _alike(self, dataset: Dataset, split: SplitFeatures) -> np.ndarray:
        """(n, width) unit vectors of the split's pictures by the tower that makes bags."""
        from pairwright.components.evaluate.split import tower_features_of
        from pairwright.components.models.towers.towers import load_image_tower

        found = tower_features_of(load_image_tower(self.settings.tower), dataset, split.rows)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Bags:
    """Bags of picture numbers, and the mean cosine of two of a bag and of any two of those in bags."""

    bags: list[np.ndarray]
    within: float
    at_random: float


def similar_bags(vectors: np.ndarray, groups: list[str], captions: list[str], size: int, seed: int = 0) -> Bags:
    """Disjoint bags of pictures that lie near each other, no two of one group or of one caption in all bags.

    Args:
        vectors: (n, d) unit vectors.
    """
    order = np.random.default_rng(seed).permutation(len(vectors))
    groups_seen: set[str] = set()
    captions_seen: set[str] = set()
    able = []
    for number in order:
        said = normalised(captions[number])
        if groups[number] not in groups_seen and said not in captions_seen:
            groups_seen.add(groups[number])
            captions_seen.add(said)
            able.append(number)
    free = np.array(able, np.int64)
    bags: list[np.ndarray] = []
    while len(free) >= size:
        nearest = np.argsort(-(vectors[free[1:]] @ vectors[free[0]]), kind="stable")[: size - 1] + 1
        bags.append(free[np.r_[0, nearest]])
        free = np.delete(free, np.r_[0, nearest])
    if not bags:
        return Bags([], 0.0, 0.0)
    return Bags(
        bags, float(np.mean([_mean_cosine(vectors[bag]) for bag in bags])), _mean_cosine(vectors[np.concatenate(bags)])
    )


def _mean_cosine(vectors: np.ndarray) -> float:
    """Of two different rows: of n unit rows with sum s, (|s|^2 - n) / (n (n - 1))."""
    n = len(vectors)
    return float(((vectors.sum(axis=0) ** 2).sum() - (vectors**2).sum()) / (n * (n - 1)))


def told_apart(image: np.ndarray, text: np.ndarray, bags: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Hits by metric: of pictures and captions bag by bag, and of bags."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in TEXTS}
    for bag in bags:
        scores = np.round(image[bag] @ text[bag].T, 12)  # equal vectors tie, however they are summed
        own = np.arange(len(bag))
        i2t, t2i = hits_of(scores, own), hits_of(scores.T, own)
        whole = i2t.prod(), t2i.prod(), i2t.prod() * t2i.prod()
        for name, hits in zip(TEXTS, (i2t, t2i, *whole), strict=True):
            found[name].append(np.atleast_1d(hits))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def chance(name: str, bags: list[np.ndarray]) -> float | None:
    """What random scores expect; None for the group score of bags of more than two, which has no short form."""
    sizes = np.array([len(bag) for bag in bags], np.float64)
    if name.endswith("_r1"):
        return len(sizes) / float(sizes.sum())
    if name == "group_score":
        return 1 / 6 if (sizes == 2).all() else None  # both right ones above both wrong ones: 2! 2! / 4!
    return float(np.mean(sizes**-sizes))


def _chance(name: str, bags: list[np.ndarray]) -> str:
    expected = chance(name, bags)
    return "less than either" if expected is None else f"{expected:.4g}"


def _sizes(bags: list[np.ndarray]) -> str:
    sizes = sorted({len(bag) for bag in bags})
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
