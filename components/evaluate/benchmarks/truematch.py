"""TrueMatch: do captions tell a picture from those that look like it?

    benchmarks: {truematch: {uses: truematch, with: {scorer: models:/clip@champion, sizes: [3, 5, 7]}}}

Gaur et al., 2024, "No Detail Left Behind": among pictures drawn at random any caption finds its own, so captioners are
asked within bags of pictures that look alike; a caption's hit is that a dual encoder, the same for every captioner,
scores its own picture highest of the bag. A captioner that says one thing of all is right once in a bag's size. Bags
are made as `caption_bags` makes them: a picture and those nearest to it by a tower that judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.benchmarks.caption_bags import similar_bags
from pairwright.components.evaluate.labelled import hits_of
from pairwright.components.registry import benchmark
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.evaluate.captioned import Captioned
    from pairwright.components.models.protocols import Captioner


class TrueMatchSettings(Settings):
    scorer: ModelFolder = Field(description="dual encoder that looks for captions' pictures")
    sizes: tuple[Annotated[int, Field(ge=2)], ...] = Field((3, 5, 7), min_length=1, description="pictures in a bag")
    source: str = Field("alt", description="no two pictures of one such caption are in bags")
    tower: ModelFolder = Field(
        default_factory=lambda: ModelFolder(reference="builtin:efficientnet-lite0"),
        description="the image tower that says which pictures look alike",
    )
    seed: int = Field(0, ge=0, description="of the bootstrap, and of the pictures that bags are made around")


@benchmark("truematch")
class TrueMatch(Benchmark[TrueMatchSettings]):
    """Metrics `r1_SIZE`, for each size; items are pictures, grouped by bag."""

    protocol = "captioner"

    def caption_sources(self) -> tuple[str, ...]:
        return (self.settings.source,)

    def measure(self, model: Captioner, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.captioned import captioned
        from pairwright.components.evaluate.statistics.figures import Figures

        wish, split = self.settings, captioned(model, dataset)
        image, text, alike = self._vectors(dataset, split)
        said = [texts[0] if texts else "" for texts in split.texts(wish.source)]
        found = Figures(split.groups, wish.seed)
        for size in wish.sizes:
            bags = similar_bags(alike, split.groups, said, size, wish.seed)
            if not bags.bags:
                raise DatasetError(f"{dataset.name} has too few pictures for a bag of {size}; say smaller sizes")
            hits = found_in(text, image, bags.bags)
            names = [f"bag {number}" for number in range(len(bags.bags)) for _ in range(size)]
            found.mean(f"r1_{size}", hits, self._told(size, bags, model), names)
        return Measured(found.metrics, found.items)

    def _told(self, size: int, bags: Any, model: Captioner) -> str:
        scorer = self.settings.scorer
        judge = f"by {scorer.reference} ({(scorer.weights or '')[:12]})"
        if scorer.weights in getattr(model, "tuned_on", ()):
            judge += ". NOT A JUDGEMENT: the captioner was tuned on this scorer; name another"
        return (
            f"Share of captions that score their own picture highest of a bag of {size} that look alike by "
            f"{self.settings.tower.reference} (mean cosine {bags.within:.2f} within, {bags.at_random:.2f} at random), "
            f"{len(bags.bags):,} bags; pictures that tie share a hit; chance 1/{size}; {judge}."
        )

    def _vectors(self, dataset: Dataset, split: Captioned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors of pictures and captions by the scorer, and of pictures by the tower that makes bags."""
        from pairwright.components.evaluate.split import pictures_of, text_features_of, tower_features_of
        from pairwright.components.finite import require_finite
        from pairwright.components.models.formats import load_model
        from pairwright.components.models.towers.towers import load_image_tower

        assert self.settings.scorer.path is not None
        scorer: Any = load_model(self.settings.scorer.path, "dual_encoder")
        every = pictures_of(scorer, dataset)
        number = {place: at for at, place in enumerate((s, r) for s, rows in enumerate(every.rows) for r in rows)}
        own = [number[place] for place in split.places]
        image = scorer.encode_image_features(every.image).double().cpu().numpy()[own]
        features = text_features_of(scorer, split.captions, f"{dataset.name}'s captions")
        text = scorer.encode_text_features(features).double().cpu().numpy()
        alike = tower_features_of(load_image_tower(self.settings.tower), dataset, every.rows)[own]
        for vectors, what in ((image, "pictures"), (text, "captions")):
            require_finite(vectors, f"the scorer's vectors of {dataset.name}'s {what}")
        return image, text, alike / np.maximum(np.linalg.norm(alike, axis=1, keepdims=True), 1e-12)


def found_in(text: np.ndarray, image: np.ndarray, bags: list[np.ndarray]) -> np.ndarray:
    """Hits of captions bag by bag: of unit vectors (n, d) of captions and of their pictures."""
    return np.concatenate(
        [hits_of(np.round(text[bag] @ image[bag].T, 12), np.arange(len(bag))) for bag in bags]  # equal vectors tie
    )
