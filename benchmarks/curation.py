"""The referee: every selector on the same damaged crawl, by the damage it finds and by the model it trains.

    python -m benchmarks.curation                    # everything; writes docs/curation.md and its pictures
    python -m benchmarks.curation --only auc         # the damage table alone, no training
    python -m benchmarks.curation --workspace DIR --seeds 2 --steps 60 --no-write   # a quick look

Declared before the run, and not tuned on it: MARGIN, SHARES, KEPT, HEADS, the seeds, and (curation.yaml) on whose
choice models are trained. DAMAGE_SEED is of damage that no design was tried on. Models are projection heads on locked
towers (components/evaluate/compression.py), all at equal steps; what they are asked is retrieval on dev. The seed set
(benchmarks/damaged.py) is what rewards and language models may learn from; it is neither judged nor trained on, and
the kinds of damage that judge are not those that taught. Verdicts are by the interval over seeds and groups that
benchmarks/verdict_error.py checks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.curation_scores import Selector, make_columns, scores_of, selectors
from benchmarks.damaged import MIXED, SOURCES, SWAPPED, TRUTH, make_damaged
from benchmarks.machine import machine_facts
from benchmarks.reward_labels import label_curves
from pairwright.components.artifact import ArtifactStore
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.evaluate.compression import (
    HeadSettings,
    Queries,
    TrainingPairs,
    best_rows,
    random_rows,
    train_and_query,
)
from pairwright.components.evaluate.compression_curve import Judged, against_chance, in_words, judge
from pairwright.components.evaluate.statistics.crossed import crossed
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.source_code import source_digest

MARGIN = 0.03  # of mean recall: what a model may lose and still count as not worse
SHARES = (0.5, 0.25)
KEPT = 0.5  # the share at which selectors are compared with chance
HEADS = HeadSettings(steps=300, batch_size=128, dim=128)  # small, so that five seeds fit a busy machine
TRAINED = ("mixed", "swapped40")  # variants on which models are trained; the others have the damage table alone
CURVES = ("mixed",)
SPLIT = "dev"
DAMAGE_SEED = 2  # the reward was designed while looking at damage of seeds 0 and 1
AREA_REPLICATES = 200
UNTOLD = "not told from chance"
TOWERS = ("builtin:efficientnet-lite0", "builtin:minilm")
# Bonferroni: that any selector is called better than chance wrongly, 5% at most.
SURE = 1 - 0.05 / sum(one.train for one in selectors())
CODE = ("pairwright.components.evaluate.compression", "pairwright.components.models.dual_encoders.heads")


@dataclass
class Crawl:
    """One variant of the crawl: what is judged, what was planted, what models train on."""

    source: str
    rows: np.ndarray  # of the dataset, that have a caption in this variant and features
    kinds: np.ndarray  # planted damage, "" where none
    domains: np.ndarray
    groups: np.ndarray  # pairs of one group are not independent
    pairs: TrainingPairs
    scores: dict[str, np.ndarray]

    @cached_property
    def digest(self) -> str:
        """Of everything a model trained on some of its rows follows from."""
        return _bytes_digest(self.pairs.image.numpy(), self.pairs.text.numpy(), self.pairs.captions)


def _bytes_digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def read_crawl(view: ColumnsView, source: str, truth: Any, chosen: list[Selector]) -> Crawl:
    from pairwright.components.filter.selections.caption_column import caption_column
    from pairwright.components.filter.selections.groups import labels_of
    from pairwright.components.models.dual_encoders.heads import as_features

    image, text = (view.column(f"{step}.vector") for step in ("image_features", f"features_{source}"))
    labels = labels_of(caption_column(view, source))
    usable = image.is_valid().to_numpy() & text.is_valid().to_numpy() & (labels >= 0)
    rows = np.flatnonzero(usable.astype(bool))
    features = [as_features(view.numpy(f"{step}.vector")[rows]) for step in ("image_features", f"features_{source}")]
    scores = {name: values[rows] for name, values in scores_of(view, source, chosen).items()}
    kinds = truth[source].fill_null("").to_numpy().astype(str)[rows]
    return Crawl(
        source,
        rows,
        kinds,
        truth["domain"].to_numpy().astype(str)[rows],
        _groups(view)[rows],
        TrainingPairs(features[0], features[1], labels[rows]),
        scores,
    )


def _groups(view: ColumnsView) -> np.ndarray:
    """(rows,) a number a group; a pair without one has its own."""
    table = view.sidecar(["group", "key"])
    names = [group or f"/{key}" for group, key in zip(*(table[name].to_pylist() for name in ("group", "key")))]
    return np.unique(names, return_inverse=True)[1]


def area_under_curve(score: np.ndarray, damaged: np.ndarray) -> float:
    """Chance that a whole pair scores above a damaged one, ties half (Mann-Whitney); a null scores lowest."""
    if not damaged.any() or damaged.all():
        return float("nan")
    filled = np.where(np.isfinite(score), score, -np.inf)
    _, inverse, counts = np.unique(filled, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    whole = ~damaged
    return float((rank[whole].sum() - whole.sum() * (whole.sum() + 1) / 2) / (whole.sum() * damaged.sum()))


def area_interval(score: np.ndarray, damaged: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap of the area, groups of pairs drawn anew."""
    random, codes = np.random.default_rng(0), np.unique(groups, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 2))
    found = []
    for _ in range(AREA_REPLICATES):
        drawn = random.integers(0, len(starts) - 1, len(starts) - 1)
        rows = np.concatenate([order[starts[group] : starts[group + 1]] for group in drawn])
        found.append(area_under_curve(score[rows], damaged[rows]))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def average_precision(score: np.ndarray, damaged: np.ndarray) -> float:
    """Of finding damage by the lowest scores: mean precision over the damaged pairs, equal scores taken at once."""
    if not damaged.any():
        return float("nan")
    filled = np.where(np.isfinite(score), score, -np.inf)
    values, inverse = np.unique(filled, return_inverse=True)
    found = np.cumsum(np.bincount(inverse, damaged, minlength=len(values)))
    seen = np.cumsum(np.bincount(inverse, minlength=len(values)))
    return float(np.sum(np.diff(found, prepend=0) * found / seen) / damaged.sum())


def damage_table(crawls: dict[str, Crawl], chosen: list[Selector]) -> list[dict[str, Any]]:
    """A row a selector, domain, variant and kind: AUC and average precision of whole against damaged pairs."""
    found = []
    for crawl in crawls.values():
        kinds = MIXED if crawl.source == "mixed" else ("swapped",)
        for domain in ("stamp", "clipart"):
            mine = crawl.domains == domain
            for selector in chosen:
                for kind in ("any", *kinds):
                    part = mine & ((crawl.kinds == "") | (crawl.kinds == kind) | (kind == "any"))
                    bad = crawl.kinds[part] != ""
                    score = crawl.scores[selector.name][part]
                    bounds = area_interval(score, bad, crawl.groups[part]) if selector.train and bad.any() else None
                    found.append(
                        {"selector": selector.name, "variant": crawl.source, "domain": domain, "kind": kind}
                        | {"damaged": int(bad.sum()), "of": int(part.sum())}
                        | {"auc": area_under_curve(score, bad), "average_precision": average_precision(score, bad)}
                        | {"auc_interval": bounds}
                    )
    return found


class Trainer:
    """Heads trained on rows of a crawl, each model kept by what it was trained on."""

    def __init__(self, workspace: str, seeds: tuple[int, ...], settings: HeadSettings) -> None:
        self.store, self.seeds, self.settings = ArtifactStore(workspace), seeds, settings
        self.queries = _queries(f"data/{SPLIT}")
        self.groups = self.queries.groups
        self.asked = _bytes_digest(self.queries.image.numpy(), self.queries.text.numpy(), self.queries.positive)
        self.trained = 0

    def items(self, crawl: Crawl, rows_of: Any) -> np.ndarray:
        """(seeds, queries) of models trained on `rows_of(seed)`."""
        return np.stack([self._one(crawl, rows_of(seed), seed) for seed in self.seeds])

    def _one(self, crawl: Crawl, rows: np.ndarray, seed: int) -> np.ndarray:
        chosen, code = _bytes_digest(rows.astype(np.int64)), [source_digest(module) for module in CODE]
        said = [crawl.digest, self.asked, chosen, seed, asdict(self.settings), code]
        digest = sha256_text(canonical(said))
        if not self.store.has("points", digest):
            with self.store.commit("points", digest) as folder:
                found = train_and_query(crawl.pairs, rows, [self.queries], self.settings, seed)
                np.save(folder / "items.npy", found)
            self.trained += 1
        items: np.ndarray = np.load(self.store.path("points", digest) / "items.npy")
        return items


def _queries(path: str) -> Queries:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="workspace/curation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=HEADS.steps)
    parser.add_argument("--only", choices=["auc"], help="stop after the damage table")
    parser.add_argument("--no-write", action="store_true", help="print, and leave docs/ as it is")
    wish = parser.parse_args()
    data = f"{wish.workspace}/damaged"
    from pairwright.flows.planning.datasets import find_dataset

    find_dataset("data/raw")
    make_damaged(data, seed=DAMAGE_SEED)
    chosen, truth = selectors(), pq.read_table(Path(data) / TRUTH)
    view = make_columns(data, wish.workspace)
    crawls = {source: read_crawl(view, source, truth, chosen) for source in SOURCES}
    result: dict[str, Any] = {"damage": damage_table(crawls, chosen)}
    result["selectors"] = {one.name: one.what for one in chosen}
    result["pairs"] = {source: len(crawl.rows) for source, crawl in crawls.items()}
    result["labels"] = label_curves(view, tuple(SWAPPED))
    if wish.only != "auc":
        trainer = Trainer(wish.workspace, tuple(range(wish.seeds)), replace(HEADS, steps=wish.steps))
        result |= train_all(crawls, chosen, trainer)
    result["machine"] = machine_facts(("torch", "numpy"))
    Path(wish.workspace, "curation.json").write_text(json.dumps(result, indent=1) + "\n")
    from benchmarks.curation_page import print_tables, write_page

    print_tables(result)
    if not wish.no_write and wish.only is None:
        write_page(result, Path(__file__).parents[1] / "docs")


def train_all(crawls: dict[str, Crawl], chosen: list[Selector], trainer: Trainer) -> dict[str, Any]:
    """Every declared selector against chance, and the curves of those the plan names."""
    from rich.console import Console

    from pairwright.flows.planning.datasets import find_dataset

    show = Console(stderr=True).print
    show(f"declared: margin {MARGIN}, {len(trainer.seeds)} seeds")
    models: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    for source in TRAINED:
        crawl = crawls[source]
        whole = trainer.items(crawl, partial(_every_row, len(crawl.rows)))
        models += models_table(crawl, chosen, trainer, whole, show)
        if source in CURVES:
            drawn = [one.name for one in chosen if one.curve]
            found = curve(crawl, drawn, trainer, whole, show)
            found["stamps"] = float((crawl.domains == "stamp").mean())
            curves[source] = {"whole": float(whole.mean()), "pairs": len(crawl.rows)} | found
    told = {"seeds": len(trainer.seeds), "queries": len(trainer.groups), "groups": len(np.unique(trainer.groups))}
    told |= {
        "heads": asdict(trainer.settings),
        "split": {"name": SPLIT, "digest": find_dataset(f"data/{SPLIT}").digest},
    }
    return {"models": models, "curves": curves, "margin": MARGIN, "sure": SURE} | told


def _every_row(rows: int, seed: int) -> np.ndarray:
    return np.arange(rows)


if __name__ == "__main__":
    main()
