"""Robustness: what blur, noise and rotation cost, and whether a thing is found in any style.

    benchmarks:
      robust: {uses: robustness, with: {style: style}}

Pictures are damaged and captions are not: a damaged picture looks for its caption among all of the split, as
ImageNet-C asks of classifiers (Hendrycks & Dietterich, 2019). Blur is Gaussian, its deviation a share of the shorter
side; noise is Gaussian on [0, 1]; a rotation fills its corners with the picture's border. Of a label such as the emoji
corpus's artists each value has its own recall, and two pictures of one group in different styles disagree where
one finds its caption and the other does not: a model that knows the thing and not the style never does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.evaluate.split import SplitFeatures
    from pairwright.components.models.protocols import DualEncoder

Damage = Callable[[np.ndarray, int], np.ndarray]  # RGB uint8 and the picture's number in the split


class RobustnessSettings(Settings):
    source: str = Field("alt", description="which captions are looked for")
    k: int = Field(5, ge=1, description="a hit is a right caption among the first k")
    blur: float = Field(0.02, ge=0, le=0.5, description="deviation, as a share of the shorter side; 0 leaves it out")
    noise: float = Field(0.1, ge=0, le=1, description="deviation, of values in [0, 1]; 0 leaves it out")
    rotation: float = Field(30.0, ge=0, le=180, description="degrees, left or right by chance; 0 leaves it out")
    style: str | None = Field(None, description="label whose values are styles, e.g. style in the emoji corpus")
    seed: int = Field(0, ge=0, description="of the damage and of the bootstrap")


@benchmark("robustness")
class Robustness(Benchmark[RobustnessSettings]):
    """Metrics: `clean`, and of each damage `DAMAGE` and `DAMAGE_cost`; of styles `style_VALUE`, `style_disagreement`.

    Items are pictures, hits as 0 or 1; of `style_disagreement` pairs of pictures.
    """

    def check_data(self, facts: DataFacts) -> None:
        if self.settings.style is not None and (lacks := facts.lacks_label(self.settings.style)):
            raise InvalidRecipe(f"{lacks}; name one in `style`, or leave it out")

    def caption_sources(self) -> tuple[str, ...]:
        return (self.settings.source,)

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.split import features_of

        split = features_of(model, dataset, self.settings.source)
        text = model.encode_text_features(split.text).float().cpu().numpy()
        require_finite(text, "the vectors of the captions")
        clean = self._hits(model.encode_image_features(split.image).float().cpu().numpy(), text, split)
        about = f"a right caption among the first {self.settings.k} of all the split's; ties count against"
        items = {"groups": np.asarray(split.groups), "clean": clean}
        told = {"clean": f"Share of pictures with {about}."}
        for name, (words, damage) in self._damages().items():
            hits = self._hits(self._damaged(model, dataset, split, damage), text, split)
            items |= {name: hits, f"{name}_cost": clean - hits}
            told[name] = f"Share of pictures, {words}, with {about}."
            told[f"{name}_cost"] = f"Share of pictures with {about}, less that of the same pictures, {words}."
        if self.settings.style is not None:
            of_styles, told_of_styles = self._styles(split, clean, about)
            items, told = items | of_styles, told | told_of_styles
        metrics = []
        for name, text_of in told.items():
            groups = items.get(f"{name}.groups", items["groups"])
            found = bootstrap_mean(items[name], list(groups), seed=self.settings.seed)
            better = not name.endswith(("_cost", "_disagreement"))
            metrics.append(Metric(name, found.value, len(items[name]), found.low, found.high, text_of, better))
        return Measured(metrics, items)

    def _damages(self) -> dict[str, tuple[str, Damage]]:
        from pairwright.components.dataset.media.view_damage import blurred, noisy, rotated

        wish = self.settings
        made: dict[str, tuple[str, Damage]] = {}
        if wish.blur:
            made["blur"] = (
                f"blurred by {wish.blur:g} of their shorter side",
                lambda image, number: blurred(image, wish.blur),
            )
        if wish.noise:
            made["noise"] = (
                f"with noise of deviation {wish.noise:g}",
                lambda image, number: noisy(image, wish.noise, (wish.seed, number)),
            )
        if wish.rotation:
            made["rotation"] = (
                f"turned by {wish.rotation:g} degrees",
                lambda image, number: rotated(image, wish.rotation * (1 if (wish.seed + number) % 2 else -1)),
            )
        return made

    def _hits(self, image: np.ndarray, text: np.ndarray, split: SplitFeatures) -> np.ndarray:
        from pairwright.components.evaluate.metrics.ranks import retrieval_ranks

        return (retrieval_ranks(image, text, split.positives())[0] <= self.settings.k).astype(np.float32)

    def _damaged(self, model: DualEncoder, dataset: Dataset, split: SplitFeatures, damage: Damage) -> np.ndarray:
        """(n, dim) vectors of the split's pictures, each damaged."""
        from pairwright.components.evaluate.split import pictures_again

        made, number = [], 0
        for images in pictures_again(dataset, split.rows, model.image_size):
            damaged = [damage(image, number + i) for i, image in enumerate(images)]
            number += len(images)
            made.append(model.encode_image(damaged).float().cpu().numpy())
        vectors = np.concatenate(made)
        require_finite(vectors, "the vectors of the damaged pictures")
        return vectors

    def _styles(
        self, split: SplitFeatures, clean: np.ndarray, about: str
    ) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Items and definitions by metric, of each style and of pairs of pictures in two of them."""
        label = self.settings.style or ""
        styles, groups = np.array([labels.get(label, "") for labels in split.labels]), np.asarray(split.groups)
        items: dict[str, np.ndarray] = {}
        told: dict[str, str] = {}
        for style in sorted(set(styles) - {""}):
            name, of_style = f"style_{style}", styles == style
            items |= {name: clean[of_style], f"{name}.groups": groups[of_style]}
            told[name] = f"Share of pictures of the {label} {style} with {about}."
        left, right = _twins(split, styles)
        if not len(left):
            raise DatasetError(f'no two pictures of one caption differ in "{label}"; name another label')
        name = "style_disagreement"
        items |= {name: np.abs(clean[left] - clean[right]), f"{name}.groups": groups[left]}
        told[name] = (
            f"Share of pairs of pictures of one caption in two values of {label} of which one alone has {about}."
        )
        return items, told


def _twins(split: SplitFeatures, styles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pictures of one first caption whose styles differ."""
    from pairwright.components.evaluate.metrics.positives import normalised

    first = np.searchsorted(split.picture, np.arange(len(split.groups)))
    by: dict[str, list[int]] = {}
    for number, at in enumerate(first):
        if styles[number]:
            by.setdefault(normalised(split.captions[at]), []).append(number)
    pairs = [
        (a, b) for alike in by.values() for i, a in enumerate(alike) for b in alike[i + 1 :] if styles[a] != styles[b]
    ]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]
