"""The compression stage: quality over kept share, for an order of the pairs and for chance, on dev.

Curves choose how much to keep, so they are drawn on `dev`; `test` is read once, by the evaluation.

Each point (a share, a seed) is committed by itself, so that a killed run loses one model of a few
seconds, and another share or seed costs its own points alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.dataset.groups import held_out
from pairwright.components.dataset.shards import storage
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.recipe import CompressionSection
from pairwright.flows.planning.digests import CURVE_SPLIT, curve_digest, curve_inputs, point_digest
from pairwright.flows.running.run import Run
from pairwright.flows.running.stage import Stage, run_stage

CHANCE = "random"


def check_compression(run: Run, section: CompressionSection) -> None:
    """Refuse columns that no step makes, before long work starts.

    Raises:
        InvalidRecipe: with the nearest column there is.
    """
    known = run.plan.column_types()
    for column in (section.order, section.image_features, section.text_features):
        if column not in known:
            raise InvalidRecipe(
                f'{run.recipe.name}: evaluate.compression names "{column}", which no step makes{nearest(column, known)}'
            )


def compression_stage(run: Run) -> Path | None:
    """`compression.json`: the whole's mean, a row a share and order, what it shows in words."""
    section = run.recipe.evaluate.compression if run.recipe.evaluate else None
    if section is None:
        return None
    digest = curve_digest(run, section)
    folder = run.artifacts.path("curves", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("curves", digest) else None

    def work(stage: Stage) -> Path:
        with run.artifacts.commit("curves", digest) as partial:
            found = _Curve(run, section, stage).measure()
            storage.write_json(str(partial / "compression.json"), found)
        stage.facts(models=len(found["rows"]) * len(section.seeds), whole=found["whole"], verdict=found["verdict"])
        return folder

    run_stage(run, "compression", digest, reuse=reuse, work=work)
    run.results["compression"] = str(folder)
    return folder


class _Curve:
    """One curve's data and its points."""

    def __init__(self, run: Run, section: CompressionSection, stage: Stage) -> None:
        from pairwright.components.evaluate.compression import HeadSettings, TrainingPairs
        from pairwright.components.models.dual_encoders.heads import as_features

        self.run, self.section, self.stage = run, section, stage
        view = run.view()
        image, text = view.column(section.image_features), view.column(section.text_features)
        usable = image.is_valid().to_numpy() & text.is_valid().to_numpy() & ~held_out(view)
        rows = np.flatnonzero(usable.astype(bool))
        order = view.column(section.order).to_numpy().astype(np.float64)[rows]
        self.order = order if section.best == "high" else -order
        features = [as_features(view.numpy(c)[rows]) for c in (section.image_features, section.text_features)]
        self.pairs = TrainingPairs(features[0], features[1], _caption_ids(view, section.source)[rows])
        self.queries = _queries(run, section, run.splits[CURVE_SPLIT])
        self.groups = self.queries.groups
        self.settings = HeadSettings(section.steps, section.batch_size, section.lr, section.dim)
        self.inputs = curve_inputs(run, section)
        self.shares = _reachable(section, self.order)
        self.total = (1 + 2 * len(self.shares)) * len(section.seeds)
        self.done = 0

    def measure(self) -> dict[str, Any]:
        from pairwright.components.evaluate.compression import DEFINITION, best_rows, random_rows
        from pairwright.components.evaluate.compression_curve import against_chance, curve_rows, in_words, judge

        section, n = self.section, len(self.pairs)
        whole = self._items("all", 1.0, lambda seed: np.arange(n))
        kept = {share: max(2, round(share * n)) for share in self.shares}
        draws = {
            section.order: lambda count, seed: best_rows(self.order, count),
            CHANCE: lambda count, seed: random_rows(n, count, seed),
        }
        items = {
            name: {share: self._items(name, share, partial(draw, count)) for share, count in kept.items()}
            for name, draw in draws.items()
        }
        judged = {
            name: {share: judge(one, whole, self.groups, section.margin) for share, one in found.items()}
            for name, found in items.items()
        }
        chance = against_chance(items[section.order], items[CHANCE], self.groups, section.margin)
        verdict = in_words(section.order, judged[section.order], judged[CHANCE], chance, section.margin)
        return {
            "rows": curve_rows(judged, kept),
            "against_chance": curve_rows({section.order: chance}, kept),
            "whole": float(whole.mean()),
            "pairs": n,
            "queries": len(self.groups),
            "split": {"name": CURVE_SPLIT, "digest": self.run.splits[CURVE_SPLIT].digest},
            "margin": section.margin,
            "seeds": len(section.seeds),
            "definition": DEFINITION,
            "verdict": verdict + self._left_out(),
        }

    def _left_out(self) -> str:
        above = [f"{share:.0%}" for share in self.section.shares if share not in self.shares]
        if not above:
            return ""
        ranked = float(np.isfinite(self.order).mean())
        return f" {', '.join(above)} could not be kept: {self.section.order} has a value for {ranked:.0%} of the pairs."

    def _items(self, name: str, share: float, rows_of: Any) -> np.ndarray:
        """(seeds, queries): each seed's model, trained or reused."""
        return np.stack([self._point(name, share, seed, rows_of(seed)) for seed in self.section.seeds])

    def _point(self, name: str, share: float, seed: int, rows: np.ndarray) -> np.ndarray:
        from pairwright.components.evaluate.compression import train_and_query

        self.done += 1
        self.stage.progress(self.done, self.total, f"{name} {share:.0%}, seed {seed}")
        artifacts = self.run.artifacts
        digest = point_digest(self.inputs, seed, rows)
        if not artifacts.has("points", digest):
            with artifacts.commit("points", digest) as partial:
                np.save(partial / "items.npy", train_and_query(self.pairs, rows, [self.queries], self.settings, seed))
        items: np.ndarray = np.load(artifacts.path("points", digest) / "items.npy")
        return items


def _reachable(section: CompressionSection, order: np.ndarray) -> list[float]:
    """The shares for which enough pairs have a value to be ordered by.

    Raises:
        InvalidRecipe: there is none.
    """
    ranked = int(np.isfinite(order).sum())
    shares = [share for share in section.shares if round(share * len(order)) <= ranked]
    if not shares:
        raise InvalidRecipe(
            f"evaluate.compression: {section.order} has a value for {ranked:,} of {len(order):,} pairs, fewer than its "
            f"smallest share, {min(section.shares):.0%}; order by another column or name smaller shares"
        )
    return shares


def _caption_ids(view: Any, source: str) -> np.ndarray:
    """Equal captions have equal ids; a pair without one has its own."""
    from pairwright.components.filter.selections.caption_column import caption_column
    from pairwright.components.filter.selections.groups import labels_of

    labels = labels_of(caption_column(view, source))
    return np.where(labels < 0, len(labels) + np.arange(len(labels)), labels)


def _queries(run: Run, section: CompressionSection, dataset: Any) -> Any:
    """An evaluation split through the towers whose features the curve trains on."""
    from pairwright.components.evaluate.compression import Queries
    from pairwright.components.evaluate.split import features_of
    from pairwright.components.models.towers.untrained import new_dual_encoder

    towers = [
        run.plan.steps[column.partition(".")[0]].component.settings.tower
        for column in (section.image_features, section.text_features)
    ]
    model = new_dual_encoder(*towers, dim=2, device=run.device)
    split = features_of(model, dataset, section.source if section.source not in run.plan.steps else "alt")
    return Queries(split.image.cpu(), split.text.cpu(), split.positives(), np.asarray(split.groups))
