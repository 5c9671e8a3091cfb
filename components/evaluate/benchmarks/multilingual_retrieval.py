"""Retrieval in several languages: how well in each, and how much it matters in which one asks.

    benchmarks: {languages: {uses: multilingual_retrieval, with: {languages: {en: alt, de: "translation@de"}}}}

    MRV = 1/N sum_i 1/K sum_k (rank_ik - 1/K sum_l rank_il)^2

rank_ik is the rank of item i's first right answer in language k: the mean rank variance of CCRK (Nie et al.,
2024). 0 says that a model answers alike in every language, be it well or badly; read it beside the recall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder

KS = (1, 5, 10)
DIRECTIONS = {
    "i2t": "picture -> caption, among every caption of that language",
    "t2i": "caption -> picture, among every picture",
}
ITEMS = "Items: pictures that have a caption in every language, the first of each"
POSITIVES = "right answers: the pair's own, those of its group and those with the same caption; ties count against"


class MultilingualRetrievalSettings(Settings):
    languages: dict[str, str] = Field(min_length=2, description="language -> its caption source")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("multilingual_retrieval")
class MultilingualRetrieval(Benchmark[MultilingualRetrievalSettings]):
    """Metrics: `i2t_mrv`, `t2i_mrv` (lower is better) and of each language `LANG_i2t_recall`, `LANG_t2i_recall`.

    Recall is the mean of R@1, R@5 and R@10. Every metric has an item a picture.
    """

    def caption_sources(self) -> tuple[str, ...]:
        return tuple(self.settings.languages.values())

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        ranks, groups = self._ranks(model, dataset)
        metrics: list[Metric] = []
        items: dict[str, np.ndarray] = {"groups": np.asarray(groups)}
        for at, (direction, what) in enumerate(DIRECTIONS.items()):
            of_direction = {language: both[at] for language, both in ranks.items()}
            for language, found in of_direction.items():
                items[f"{language}_{direction}_recall"] = np.mean([found <= k for k in KS], axis=0)
                text = f"Mean of R@1, R@5 and R@10 in {language}, {what}. {ITEMS}; {POSITIVES}."
                metrics.append(self._metric(f"{language}_{direction}_recall", items, text))
            items[f"{direction}_mrv"] = np.var(np.stack(list(of_direction.values())).astype(np.float64), axis=0)
            text = (
                f"Mean over items of the variance over {len(ranks)} languages of the first right answer's rank, "
                f"{what}. {ITEMS}; {POSITIVES}."
            )
            metrics.append(self._metric(f"{direction}_mrv", items, text, higher_is_better=False))
        return Measured(metrics, items)

    def _metric(self, name: str, items: dict[str, np.ndarray], text: str, higher_is_better: bool = True) -> Metric:
        found = bootstrap_mean(items[name], list(items["groups"]), seed=self.settings.seed)
        return Metric(name, found.value, len(items[name]), found.low, found.high, text, higher_is_better)

    def _ranks(
        self, model: DualEncoder, dataset: Dataset
    ) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
        """Language -> ranks (n,) of pictures and of captions; the n pictures' groups."""
        from pairwright.components.evaluate.metrics.positives import Positives
        from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
        from pairwright.components.evaluate.split import captions_of, pictures_of, text_features_of

        every = pictures_of(model, dataset)
        texts = {name: captions_of(dataset, every.rows, source) for name, source in self.settings.languages.items()}
        asked = [i for i in range(len(every.groups)) if all(of_one[i] for of_one in texts.values())]
        if not asked:
            sources = ", ".join(f'"{source}"' for source in self.settings.languages.values())
            raise DatasetError(f"{dataset.name} has no picture with a caption of each of {sources}; name fewer")
        groups = [every.groups[i] for i in asked]
        image = model.encode_image_features(every.image[asked]).float().cpu().numpy()
        ranks = {}
        for language, of_each in texts.items():
            captions = [of_each[i][0] for i in asked]
            # Pictures of one thing share their caption: each text goes through the tower once.
            different = list(dict.fromkeys(captions))
            place = {text: at for at, text in enumerate(different)}
            features = text_features_of(model, different, f"{dataset.name} in {language}")
            text = model.encode_text_features(features).float().cpu().numpy()[[place[one] for one in captions]]
            ranks[language] = retrieval_ranks(image, text, Positives.of(captions, np.arange(len(asked)), groups))
        return ranks, groups


def chance_mrv(right: np.ndarray, gallery: int, languages: int) -> float:
    """MRV expected of random scores, of queries with p right answers (n,) among m.

    The first of p right answers lies at a rank of variance (m + 1) (m - p) p / ((p + 1)^2 (p + 2)); the variance over
    K draws, divided by K, expects (K - 1) / K of it.
    """
    p, m = np.asarray(right, np.float64), float(gallery)
    variance = (m + 1) * (m - p) * p / ((p + 1) ** 2 * (p + 2))
    return float(variance.mean() * (languages - 1) / languages)
