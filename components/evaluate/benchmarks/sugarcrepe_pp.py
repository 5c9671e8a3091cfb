"""SugarCrepe++: are two captions that say the same preferred to a third that does not? (Dumpala et al., 2024)

    benchmarks: {compositional: {uses: sugarcrepe_pp}}

A picture I has two right captions P1, P2 and a wrong one N, which differs from P1 by a swapped or replaced word.
With s the cosine and every comparison strict:

    ITT   s(I, P1) > s(I, N)  and  s(I, P2) > s(I, N)          picture and texts
    TOT   s(P1, P2) > s(P1, N)  and  s(P1, P2) > s(P2, N)      texts alone
    P1    s(I, P1) > s(I, N), which is SugarCrepe's accuracy (Hsieh et al., 2023); P2 likewise

per kind of wrong caption, never averaged over kinds. Scores without order hit ITT and TOT once in three, P1 and P2
once in two; a model that says the same of all never hits. Composed scenes (`ingest scenes`) and the public sets
(`ingest sugarcrepe`) are read alike; where there is no second right caption, P1 alone is measured. Mechanism verified
by test, the paper's figures not reproduced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.reading import sidecar_rows
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.evaluate.split import Pictures
    from pairwright.components.models.protocols import DualEncoder

# Vectors are float32 of unit length: what rounding may have put between two scores is no difference of theirs.
TIE = 1e-6
TOLD = {
    "itt": "both right captions score above the wrong one with the picture",
    "tot": "the right captions score higher with each other than each does with the wrong one, texts alone",
    "p1": "the first right caption scores above the wrong one with the picture",
    "p2": "the second right caption scores above the wrong one with the picture",
}
CHANCE = {"itt": "1/3", "tot": "1/3", "p1": "1/2", "p2": "1/2"}


class SugarCrepePPSettings(Settings):
    source: str = Field("alt", description="P1: a right caption")
    paraphrase: str | None = Field("paraphrase", description="P2: another; None: P1 against N alone is measured")
    negative: str = Field("negative", description="N: wrong captions, their kind the last part of the producer")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@dataclass(frozen=True)
class Triplets:
    """Pictures with right and wrong captions: entry i is picture[i], p1[i], p2[i], n[i].

    Attributes:
        picture: int64 (m,), numbers of pictures.
        kind: what N was changed by.
    """

    picture: np.ndarray
    kind: np.ndarray
    p1: list[str]
    p2: list[str]
    n: list[str]


@benchmark("sugarcrepe_pp")
class SugarCrepePP(Benchmark[SugarCrepePPSettings]):
    """Metrics `KIND_itt`, `KIND_tot`, `KIND_p1`, `KIND_p2`; items are triplets, hits as 0 or 1, in pictures' groups."""

    def check_data(self, facts: DataFacts) -> None:
        for source in filter(None, (self.settings.source, self.settings.paraphrase, self.settings.negative)):
            if lacks := facts.lacks_source(source):
                raise InvalidRecipe(f"{lacks}; scenes and SugarCrepe's JSON have them (`pairwright ingest --help`)")

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.split import pictures_of, text_features_of
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        split = pictures_of(model, dataset)
        triplets = self.triplets(dataset, split)
        if not len(triplets.picture):
            raise DatasetError(f'{dataset.name} has no picture with captions "{self.settings.source}" and wrong ones')
        image = model.encode_image_features(split.image).float().cpu().numpy()[triplets.picture]
        sides = {side: said for side in ("p1", "p2", "n") if (said := getattr(triplets, side))}
        once = {text: place for place, text in enumerate(dict.fromkeys(t for said in sides.values() for t in said))}
        text = model.encode_text_features(text_features_of(model, list(once), dataset.name)).float().cpu().numpy()
        hits = compared(image, **{side: text[[once[one] for one in said]] for side, said in sides.items()})
        groups = np.asarray([split.groups[i] for i in triplets.picture])
        metrics: list[Metric] = []
        items: dict[str, np.ndarray] = {"groups": groups}
        for kind in sorted(set(triplets.kind.tolist())):
            of = triplets.kind == kind
            for rule, hit in hits.items():
                found = bootstrap_mean(hit[of], list(groups[of]), seed=self.settings.seed)
                told = f"Share of {kind} for which {TOLD[rule]}; ties miss, chance {CHANCE[rule]}."
                name = f"{kind}_{rule}"
                metrics.append(Metric(name, found.value, int(of.sum()), found.low, found.high, told))
                items |= {name: hit[of].astype(np.float32), f"{name}.groups": groups[of]}
        return Measured(metrics, items)

    def triplets(self, dataset: Dataset, split: Pictures) -> Triplets:
        """Every wrong caption of every picture that can be read, beside its right ones."""
        found: dict[str, list[str]] = defaultdict(list)
        numbers: list[int] = []
        for number, captions in enumerate(_captions(dataset, split)):
            right = captions_from(captions, self.settings.source)[:1]
            other = [] if self.settings.paraphrase is None else captions_from(captions, self.settings.paraphrase)[:1]
            if not right or (self.settings.paraphrase is not None and not other):
                continue
            for one in captions:
                if one["source"] == self.settings.negative and one["text"]:
                    numbers.append(number)
                    found["n"].append(one["text"])
                    found["kind"].append((one["producer"] or "negative").rpartition("/")[2])
                    found["p1"] += right
                    found["p2"] += other
        picture = np.array(numbers, np.int64)
        return Triplets(picture, np.array(found["kind"]), found["p1"], found["p2"], found["n"])


def compared(image: np.ndarray, p1: np.ndarray, n: np.ndarray, p2: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """(m, d) unit vectors -> bool (m,) of each rule; without P2 that of P1 alone."""
    for vectors in (image, p1, n) if p2 is None else (image, p1, p2, n):
        require_finite(vectors, "the vectors of pictures and captions")

    def s(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))
        return found

    first = s(image, p1) > s(image, n) + TIE
    if p2 is None:
        return {"p1": first}
    second = s(image, p2) > s(image, n) + TIE
    alike = s(p1, p2)
    told_apart = (alike > s(p1, n) + TIE) & (alike > s(p2, n) + TIE)
    return {"itt": first & second, "tot": told_apart, "p1": first, "p2": second}


def _captions(dataset: Dataset, split: Pictures) -> Iterator[list[dict[str, str]]]:
    """All captions of each picture of the split, in its order."""
    for shard, rows in zip(dataset.shards, split.rows, strict=True):
        if rows:
            for row in sidecar_rows(shard.read_sidecar(["captions"]).take(rows)):
                yield row["captions"] or []
