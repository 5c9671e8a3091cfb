"""Hallucination: what a captioner says is there and is not, on pictures of which all things are known.

    benchmarks: {hallucination: hallucination}                  # composed scenes, or any pictures with boxes
    benchmarks: {hallucination: {uses: hallucination, with: {answers: likelihood}}}

The things in a picture are the labels of its regions; the things that can be named are all labels of the split, with
whatever `synonyms` one adds. CHAIR (Rohrbach et al., 2018) asks of what captions name which share is not there; POPE's
probes (Li et al., 2023) ask of things that are there and as many that are not, drawn at random, the most popular, or
those that most often stand beside what is there. A captioner is put no question: its yes is that its caption names
the thing (`answers: caption`), or that it finds "a THING" likelier of this picture than of `others` of the split in the
mean (`answers: likelihood`, of captioners that have `nats`). Who says nothing cannot hallucinate and is not rewarded:
an empty caption counts as one that names a thing that is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured
from pairwright.components.errors import DatasetError, ModelError
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.caption_metrics.pope import Probe
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.evaluate.captioned import Captioned
    from pairwright.components.evaluate.statistics.figures import Figures
    from pairwright.components.models.protocols import Captioner

NOTHING = ""  # what an empty caption counts as having named
LOWER = frozenset(("chair_i", "chair_s", "empty"))
DRAWN = {
    "random": "drawn at random",
    "popular": "most often there in other pictures",
    "adversarial": "most often beside what is there",
}


class HallucinationSettings(Settings):
    synonyms: dict[str, list[str]] = Field({}, description="thing -> other words for it; plurals are known")
    probes: int = Field(3, ge=1, description="things asked about in a picture that are there, and as many that are not")
    answers: Literal["caption", "likelihood"] = Field("caption", description="what counts as a captioner's yes")
    template: str = Field("a {}", description="what is weighed by likelihood, {} being the thing")
    others: int = Field(8, ge=1, description="pictures whose mean a likelihood is held against")
    seed: int = Field(0, ge=0, description="of the bootstrap and of what is drawn")


@benchmark("hallucination")
class Hallucination(Benchmark[HallucinationSettings]):
    """CHAIR and POPE-style probes on pictures whose things are known by their regions.

    Metrics `chair_i`, `chair_s`, `recall`, `named`, `empty`, and of each way of drawing `pope_WAY_accuracy`, `_f1` and
    `_yes`. Items are pictures, of probes the probes.
    """

    protocol = "captioner"

    def measure(self, model: Captioner, dataset: Dataset) -> Measured:
        from pairwright.components.caption_metrics.objects import ObjectNames
        from pairwright.components.evaluate.captioned import captioned
        from pairwright.components.evaluate.statistics.figures import Figures

        every = captioned(model, dataset)
        split = every.take([i for i, row in enumerate(every.rows) if row.get("regions")])
        if not split.rows:
            raise DatasetError(
                f"{dataset.name} has no picture with regions; ingest one with boxes, e.g. `pairwright ingest scenes`"
            )
        there = [sorted({region["label"] for region in row["regions"]}) for row in split.rows]
        labels = sorted({label for some in there for label in some})
        names = ObjectNames({label: self.settings.synonyms.get(label, ()) for label in labels})
        named = [sorted(set(names.said(tokens))) for tokens in split.tokens]
        found = Figures(split.groups, self.settings.seed, LOWER)
        self._chair(split, named, there, len(labels), found)
        self._pope(model, dataset, split, named, there, found)
        return Measured(found.metrics, found.items)

    def _chair(
        self, split: Captioned, named: list[list[str]], there: list[list[str]], things: int, found: Figures
    ) -> None:
        from pairwright.components.caption_metrics.chair import chair

        said = [[NOTHING] if nothing else some for some, nothing in zip(named, split.empty, strict=True)]
        counts = chair(said, there)
        about = f"of {things:,} things known by name; an empty caption counts as naming one that is not there"
        if counts.named.sum():
            told = f"CHAIR_i: share of the things named that are not in the picture, {about}."
            found.share("chair_i", counts.wrong.astype(np.float64), counts.named.astype(np.float64), told)
        told = f"CHAIR_s: share of captions that name a thing that is not in the picture, {about}."
        found.mean("chair_s", (counts.wrong > 0).astype(np.float64), told)
        told = f"Share of the things in the pictures that their captions name, of {things:,} known by name."
        found.share("recall", counts.found.astype(np.float64), counts.there.astype(np.float64), told)
        told = f"Things a caption names, each once, of {things:,}; the mean. Where it is near 0, CHAIR says nothing."
        found.mean("named", np.array([len(some) for some in named], np.float64), told)
        found.mean("empty", split.empty.astype(np.float64), "Share of captions without a word.")

    def _pope(
        self,
        model: Captioner,
        dataset: Dataset,
        split: Captioned,
        named: list[list[str]],
        there: list[list[str]],
        found: Figures,
    ) -> None:
        from pairwright.components.caption_metrics.pope import MODES, answered, probes

        drawn = {mode: probes(there, mode, self.settings.probes, self.settings.seed) for mode in MODES}
        asked = [probe for some in drawn.values() for probe in some]
        if not asked:
            return  # every picture has everything
        yes = self._by_caption(asked, named) if self.settings.answers == "caption" else None
        said = self._by_likelihood(model, dataset, split, asked) if yes is None else yes
        at = 0
        for mode, some in drawn.items():
            own, groups = said[at : at + len(some)], [split.groups[one.picture] for one in some]
            at += len(some)
            true = np.array([one.there for one in some])
            about = (
                f"of {len(some):,} probes, half of things that are there, half of others, {DRAWN[mode]}; yes is "
                + ("that the caption names the thing." if self.settings.answers == "caption" else self._weighed())
            )
            right, f1 = (own == true).astype(np.float64), f"pope_{mode}_f1"
            found.mean(f"pope_{mode}_accuracy", right, f"Share of right answers {about} Chance: 1/2.", groups)

            def score(weight: np.ndarray, some: list[Probe] = some, own: np.ndarray = own) -> float:
                return answered(some, own, weight).f1

            found.of_all(f1, score, right, f"F1 of yes {about} All yes: 2/3. Paired by right answers.", groups)
            found.mean(f"pope_{mode}_yes", own.astype(np.float64), f"Share of yes {about} Of the truth: 1/2.", groups)

    def _weighed(self) -> str:
        said = self.settings.template.format("THING")
        return f'that "{said}" is likelier of this picture than of {self.settings.others} others in the mean.'

    def _by_caption(self, asked: list[Probe], named: list[list[str]]) -> np.ndarray:
        said = [set(some) for some in named]
        return np.array([one.thing in said[one.picture] for one in asked], bool)

    def _by_likelihood(self, model: Captioner, dataset: Dataset, split: Captioned, asked: list[Probe]) -> np.ndarray:
        """Whether each probe's sentence costs less nats with its picture than with others of the split in the mean.

        Raises:
            ModelError: the model has no likelihoods.
        """
        from pairwright.components.finite import require_finite

        if not hasattr(model, "nats"):
            raise ModelError("this captioner has no likelihoods (nats); say answers: caption")
        pictures = _pictures(dataset, split, getattr(model, "image_size", 224))
        order = np.random.default_rng(self.settings.seed).permutation(len(pictures))[: self.settings.others]
        things = sorted({one.thing for one in asked})
        texts = {thing: self.settings.template.format(thing) for thing in things}
        against = model.nats(
            [pictures[i] for i in order] * len(things), [texts[thing] for thing in things for _ in order]
        ).reshape(len(things), len(order))
        require_finite(against, "the captioner's nats")
        usual = dict(zip(things, against.mean(1), strict=True))
        own = model.nats([pictures[one.picture] for one in asked], [texts[one.thing] for one in asked])
        require_finite(own, "the captioner's nats")
        return np.array([cost < usual[one.thing] for cost, one in zip(own, asked, strict=True)], bool)


def _pictures(dataset: Dataset, split: Captioned, side: int) -> list[Any]:
    """The split's pictures once more, decoded."""
    from pairwright.components.evaluate.split import pictures_again

    rows = [[row for of, row in split.places if of == number] for number in range(len(dataset.shards))]
    return [image for batch in pictures_again(dataset, rows, side) for image in batch]
