"""Which damage a selector finds: the area under its ROC curve, with an interval, and its average precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.curation.crawl import Crawl
from benchmarks.curation.scores import Selector
from benchmarks.damaged import MIXED, SWAPPED

REPLICATES = 200


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
    for _ in range(REPLICATES):
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


def damage_columns() -> list[tuple[str, tuple[str, str, str]]]:
    """What stands above each column of the page's table, and (variant, domain, kind) of its cells."""
    mixed = [(kind.replace("_", " "), ("mixed", "clipart", kind)) for kind in MIXED if kind != "wrong_language"]
    language = [("wrong language (stamps)", ("mixed", "stamp", "wrong_language"))]
    any_kind = [("any, clip-art", ("mixed", "clipart", "any")), ("any, stamps", ("mixed", "stamp", "any"))]
    swaps = [(f"{rate:.0%} swapped", (name, "clipart", "swapped")) for name, rate in SWAPPED.items()]
    return [*any_kind, *mixed, *language, *swaps]
