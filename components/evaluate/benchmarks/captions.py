"""Captions: how well a captioner's captions agree with those people wrote, and how well they fit their pictures.

    benchmarks: {captions: {uses: captions, with: {source: alt, scorer: "models:/pairwright@champion"}}}

Against the references, all captions of `source`: BLEU-1 to 4, ROUGE-L, CIDEr-D and METEOR (components/caption_metrics
says which). With `scorer`, a dual encoder, also CLIPScore, RefCLIPScore (Hessel et al., 2021) and self-retrieval: R@1
of the picture among `among` by its caption (Dessì et al., 2023). The scorer is named by its weights' hash; where the
captioner was tuned on it, or is it, its figures say so: a model does not judge what it taught. Figures of two scorers,
and CIDEr-D of two splits, do not compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.registry import benchmark
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.evaluate.captioned import Captioned
    from pairwright.components.evaluate.statistics.figures import Figures
    from pairwright.components.models.protocols import Captioner

BLEU_N = 4
TOLD = {
    "rouge_l": "ROUGE-L: F of the longest common subsequence, beta 1.2; the mean over captions",
    "cider_d": "CIDEr-D, from 0 to 10, document frequencies from this split's references; the mean over captions",
    "meteor": "METEOR of 2007 by words and Porter stems, without synonyms; not METEOR 1.5; the mean over captions",
    "repetition": "Share of a caption's runs of two words that it has said before; the mean over captions",
    "words": "Words of a caption; the mean",
    "empty": "Share of captions without a word; each scores 0 by every metric",
}
LOWER = frozenset(("repetition", "empty"))


class CaptionsSettings(Settings):
    source: str = Field("alt", description="the references; a picture may have several")
    scorer: ModelFolder | None = Field(None, description="dual encoder that judges captions by their pictures")
    among: int = Field(100, ge=2, description="pictures among which a caption is to find its own")
    seed: int = Field(0, ge=0, description="of the bootstrap, and of which pictures stand together")


@benchmark("captions")
class Captions(Benchmark[CaptionsSettings]):
    """Agreement with references, variety and, with a scorer, fit to the picture.

    Metrics `bleu_1` to `bleu_4`, `rouge_l`, `cider_d`, `meteor`, `distinct_1`, `distinct_2`, `repetition`, `words` and
    `empty`; with a scorer `clip_score`, `ref_clip_score` and `self_r1`. Items are pictures; of BLEU and distinct-n,
    which are of all captions together, each caption's own part, by which models are paired.
    """

    protocol = "captioner"

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_source(self.settings.source):
            raise InvalidRecipe(f"{lacks}; name the references in `source`")

    def caption_sources(self) -> tuple[str, ...]:
        return (self.settings.source,)

    def measure(self, model: Captioner, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.captioned import captioned
        from pairwright.components.evaluate.statistics.figures import Figures

        every = captioned(model, dataset)
        texts = every.texts(self.settings.source)
        asked = [i for i, some in enumerate(texts) if any(map(_says, some))]
        if not asked:
            raise DatasetError(
                f'{dataset.name} has no picture with a caption "{self.settings.source}"; name another source'
            )
        split, references = every.take(asked), [list(filter(_says, texts[i])) for i in asked]
        found = Figures(split.groups, self.settings.seed, LOWER)
        self._against(split, references, found)
        if self.settings.scorer is not None:
            self._by_scorer(model, dataset, split, references, found)
        return Measured(found.metrics, found.items)

    def _against(self, split: Captioned, references: list[list[str]], found: Figures) -> None:
        """What needs words alone."""
        from pairwright.components.caption_metrics.bleu import bleu
        from pairwright.components.caption_metrics.cider import cider_d
        from pairwright.components.caption_metrics.distinct import distinct_shares
        from pairwright.components.caption_metrics.meteor import meteor
        from pairwright.components.caption_metrics.repetition import repetition
        from pairwright.components.caption_metrics.rouge import rouge_l
        from pairwright.components.caption_metrics.tokens import tokens_of

        said, held = split.tokens, [[tokens_of(text) for text in some] for some in references]
        against = f'against the {sum(map(len, held)):,} captions "{self.settings.source}" of {len(held):,} pictures'
        counts = bleu(said, held, BLEU_N)
        for n in range(BLEU_N):

            def of_all(weight: np.ndarray, n: int = n) -> float:
                return float(counts.corpus(weight)[n])

            told = f"BLEU-{n + 1} of all captions together, {against}; paired by each caption's own BLEU."
            found.of_all(f"bleu_{n + 1}", of_all, counts.each()[:, n], told)
        for name, values in {
            "rouge_l": rouge_l(said, held),
            "cider_d": cider_d(said, held),
            "meteor": meteor(said, held),
            "repetition": repetition(said, 2),
            "words": np.array([len(some) for some in said], np.float64),
            "empty": split.empty.astype(np.float64),
        }.items():
            alone = name in ("repetition", "words", "empty")
            found.mean(name, values, f"{TOLD[name]}{'' if alone else ', ' + against}.")
        for n in (1, 2):
            part, runs = distinct_shares(said, n)
            told = (
                f"distinct-{n}: different runs of {n} word{'s' * (n > 1)} over all, of the {len(said):,} captions "
                "together; compare equal numbers. The interval takes each caption's part in it as given."
            )
            found.share(f"distinct_{n}", part, runs, told)

    def _by_scorer(
        self, model: Captioner, dataset: Dataset, split: Captioned, references: list[list[str]], found: Figures
    ) -> None:
        """What a dual encoder says of captions, pictures and references."""
        from pairwright.components.caption_metrics.clip_score import clip_score, ref_clip_score
        from pairwright.components.caption_metrics.self_retrieval import bags_of, self_ranks

        image, text, held = self._vectors(dataset, split, references)
        says = ~split.empty
        by = self._named(model)
        score = np.where(says, clip_score(text, image), 0.0)
        found.mean("clip_score", score, f"CLIPScore: 2.5 max(cosine of caption and picture, 0); {by}")
        told = f"RefCLIPScore: harmonic mean of CLIPScore and the greatest cosine with a reference; {by}"
        found.mean("ref_clip_score", np.where(says, ref_clip_score(text, image, held), 0.0), told)
        bags = bags_of(split.groups, self.settings.among, self.settings.seed)
        inside = np.sort(np.concatenate(bags))
        ranks = self_ranks(text, image, bags)
        hits = ((ranks == 1) & says)[inside].astype(np.float64)
        told = (
            f"Share of captions that score their own picture highest of {len(bags[0])} of different groups, in "
            f"{len(bags)} drawn bags; a tie, and a caption that says nothing, miss; chance 1/{len(bags[0])}; {by}"
        )
        found.mean("self_r1", hits, told, [split.groups[i] for i in inside])

    def _vectors(
        self, dataset: Dataset, split: Captioned, references: list[list[str]]
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Unit vectors of the pictures (n, d), their captions (n, d) and each one's references (k, d)."""
        from pairwright.components.evaluate.split import pictures_of, text_features_of
        from pairwright.components.finite import require_finite
        from pairwright.components.models.formats import load_model

        assert self.settings.scorer is not None
        assert self.settings.scorer.path is not None
        scorer: Any = load_model(self.settings.scorer.path, "dual_encoder")
        every = pictures_of(scorer, dataset)
        numbers = {place: at for at, place in enumerate((s, r) for s, rows in enumerate(every.rows) for r in rows)}
        image = scorer.encode_image_features(every.image).float().cpu().numpy()
        texts = list(dict.fromkeys([*split.captions, *(text for some in references for text in some)]))
        features = text_features_of(scorer, texts, f"{dataset.name}'s captions")
        vectors = scorer.encode_text_features(features).float().cpu().numpy()
        require_finite(image, f"the scorer's vectors of {dataset.name}'s pictures")
        require_finite(vectors, "the scorer's vectors of captions")
        place = {text: at for at, text in enumerate(texts)}
        return (
            image[[numbers[one] for one in split.places]],
            vectors[[place[text] for text in split.captions]],
            [vectors[[place[text] for text in some]] for some in references],
        )

    def _named(self, model: Captioner) -> str:
        """Who judges, and whether it may."""
        assert self.settings.scorer is not None
        weights = self.settings.scorer.weights or ""
        said = f"by {self.settings.scorer.reference} ({weights[:12]})."
        taught = {*getattr(model, "tuned_on", ()), getattr(model, "folder_digest", None)}
        if weights in taught:
            said += " NOT A JUDGEMENT: the captioner was tuned on this scorer; name another."
        return said


def _says(text: str) -> bool:
    from pairwright.components.caption_metrics.tokens import tokens_of

    return bool(tokens_of(text))
