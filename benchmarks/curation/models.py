"""Models of what each selector kept, against those of as many random pairs and of all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.curation.crawl import Crawl, bytes_digest
from benchmarks.curation.scores import Selector, selectors
from pairwright.components.artifact import ArtifactStore
from pairwright.components.evaluate.compression import HeadSettings, Queries, best_rows, random_rows, train_and_query
from pairwright.components.evaluate.compression_curve import Judged, against_chance, in_words, judge
from pairwright.components.evaluate.statistics.crossed import crossed
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.source_code import source_digest

MARGIN = 0.03  # of mean recall: what a model may lose and still count as not worse
SHARES = (0.5, 0.25)
KEPT = 0.5  # the share at which selectors are compared with chance
SPLIT = "dev"
UNTOLD = "not told from chance"
TOWERS = ("builtin:efficientnet-lite0", "builtin:minilm")
# Bonferroni: that any selector is called better than chance wrongly, 5% at most.
SURE = 1 - 0.05 / sum(one.train for one in selectors())
CODE = ("pairwright.components.evaluate.compression", "pairwright.components.models.dual_encoders.heads")


class Trainer:
    """Heads trained on rows of a crawl, each model kept by what it was trained on."""

    def __init__(self, workspace: str, seeds: tuple[int, ...], settings: HeadSettings, queries: Queries) -> None:
        self.store, self.seeds, self.settings = ArtifactStore(workspace), seeds, settings
        self.queries, self.groups, right = queries, queries.groups, queries.positives
        self.asked = bytes_digest(queries.image.numpy(), queries.text.numpy(), right.picture, right.text, right.group)
        self.trained = 0

    def items(self, crawl: Crawl, rows_of: Any) -> np.ndarray:
        """(seeds, queries) of models trained on `rows_of(seed)`."""
        return np.stack([self._one(crawl, rows_of(seed), seed) for seed in self.seeds])

    def _one(self, crawl: Crawl, rows: np.ndarray, seed: int) -> np.ndarray:
        chosen, code = bytes_digest(rows.astype(np.int64)), [source_digest(module) for module in CODE]
        said = [crawl.digest, self.asked, chosen, seed, asdict(self.settings), code]
        digest = sha256_text(canonical(said))
        if not self.store.has("points", digest):
            with self.store.commit("points", digest) as folder:
                found = train_and_query(crawl.pairs, rows, [self.queries], self.settings, seed)
                np.save(folder / "items.npy", found)
            self.trained += 1
        items: np.ndarray = np.load(self.store.path("points", digest) / "items.npy")
        return items


def queries_of(path: str) -> Queries:
    from pairwright.components.evaluate.split import features_of
    from pairwright.components.models.resolve import resolve_model
    from pairwright.components.models.towers.untrained import new_dual_encoder
    from pairwright.flows.planning.datasets import find_dataset

    model = new_dual_encoder(*(resolve_model(tower) for tower in TOWERS), dim=2)
    split = features_of(model, find_dataset(path), "alt")
    return Queries(split.image, split.text, split.positives(), np.asarray(split.groups))


def kept_rows(score: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The best `count` rows, ties in an order drawn by `seed`."""
    shuffled = np.random.default_rng([seed, 11]).permutation(len(score))
    return np.sort(shuffled[best_rows(score[shuffled], count)])


def like_rows(domains: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """As many random rows of each domain as `rows` has: chance for a selector that prefers one of them."""
    random = np.random.default_rng([seed, 12])
    drawn = [
        random.choice(np.flatnonzero(domains == domain), size=int((domains[rows] == domain).sum()), replace=False)
        for domain in np.unique(domains)
    ]
    return np.sort(np.concatenate(drawn))


def _like(domains: np.ndarray, keeps: Any, seed: int) -> np.ndarray:
    return like_rows(domains, keeps(seed), seed)


def models_table(
    crawl: Crawl, chosen: list[Selector], trainer: Trainer, whole: np.ndarray, show: Any
) -> list[dict[str, Any]]:
    """A row a selector: the model of its best KEPT against those of as many random pairs, and of all."""
    count = round(KEPT * len(crawl.rows))
    chance = trainer.items(crawl, partial(random_rows, len(crawl.rows), count))
    judges = Judges(chance, whole, trainer.groups)
    found = [judges.row("a random half", crawl, chance, chance, partial(random_rows, len(crawl.rows), count))]
    scores = {"undamaged first (oracle)": np.where(crawl.kinds == "", 0.0, -1.0)}
    scores |= {one.name: crawl.scores[one.name] for one in chosen if one.train}
    for name, score in scores.items():
        keeps = partial(kept_rows, score, count)
        like = trainer.items(crawl, partial(_like, crawl.domains, keeps))
        found.append(judges.row(name, crawl, trainer.items(crawl, keeps), like, keeps))
        show(f"{crawl.source}: {name}: {found[-1]['verdict']}")
    return found


@dataclass
class Judges:
    """What every selector's model is compared with: random pairs, and all."""

    chance: np.ndarray
    whole: np.ndarray
    groups: np.ndarray

    def row(self, name: str, crawl: Crawl, items: np.ndarray, like: np.ndarray, keeps: Any) -> dict[str, Any]:
        """`like`: of as many random pairs of each domain as the selector keeps, by which the verdict is."""
        judged = {
            "chance": judge(items, self.chance, self.groups, MARGIN, confidence=SURE),
            "like": judge(items, like, self.groups, MARGIN, confidence=SURE),
            "all": judge(items, self.whole, self.groups, MARGIN),
        }
        like_chance = judged["like"]
        verdict = "better than chance" if like_chance.better else "worse than chance" if like_chance.worse else UNTOLD
        about = {"selector": name, "variant": crawl.source, "mean": judged["all"].mean, "verdict": verdict}
        about["stamps"] = float((crawl.domains[keeps(0)] == "stamp").mean())
        about["detectable"] = crossed(items - like, self.groups).detectable(2 * SURE - 1)
        return about | {
            f"{against}_{part}": getattr(one, part)
            for against, one in judged.items()
            for part in ("difference", "low", "high", "not_worse")
        }


def curve(crawl: Crawl, names: list[str], trainer: Trainer, whole: np.ndarray, show: Any) -> dict[str, Any]:
    """By order and share: points judged against the whole; in words, with as many random pairs of the same mix."""
    counts = {share: round(share * len(crawl.rows)) for share in SHARES}

    def judged(items: dict[float, np.ndarray]) -> dict[float, Judged]:
        return {share: judge(one, whole, trainer.groups, MARGIN) for share, one in items.items()}

    random = {n: trainer.items(crawl, partial(random_rows, len(crawl.rows), count)) for n, count in counts.items()}
    points, words = {"random": judged(random)}, []
    for name in names:
        keeps = {share: partial(kept_rows, crawl.scores[name], count) for share, count in counts.items()}
        ours = {share: trainer.items(crawl, keep) for share, keep in keeps.items()}
        like = {share: trainer.items(crawl, partial(_like, crawl.domains, keep)) for share, keep in keeps.items()}
        points[name] = judged(ours)
        chance = against_chance(ours, like, trainer.groups, MARGIN)
        words.append(in_words(name, points[name], judged(like), chance, MARGIN, "random pairs of the same mix"))
        show(f"{crawl.source}: {words[-1]}")
    plain = {name: {share: asdict(one) for share, one in found.items()} for name, found in points.items()}
    return {"points": plain, "words": words}
