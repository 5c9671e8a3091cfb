"""Concept balance: a flat distribution over what captions speak of (MetaCLIP).

    select: {balance: {uses: concept_balance, with: {source: alt, share: 0.3}}}
    keep:   {balanced: balance.keep}

Xu et al., 2024, "Demystifying CLIP data", algorithm 1: match captions against a list of concepts, count
each concept's pairs n_c, and keep a pair with chance min(1, t / n_c) for any of its concepts. So concepts
up to the cap t stay whole, commoner ones are thinned to about t, and a caption that names no concept goes.
A pair is kept if the hash of (seed, key) in [0, 1) is below 1 - prod(1 - min(1, t / n_c)): the same chance
as the paper's draws, the same pair in any order of the shards.

The paper's list has 500,000 entries of WordNet and Wikipedia; without a `concepts` file the list is of the
population's own words and word pairs. Languages written without spaces need a file of their own. Mechanism
verified by test, figure not reproduced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.filter.words.concept_lists import ConceptList, concepts_of, read_concepts
from pairwright.components.registry import selection
from pairwright.components.settings import ModelFolder, Settings

CHUNK = 200_000  # captions matched at once


class ConceptBalanceSettings(Settings):
    source: str = Field("alt", description="caption that is matched: a sidecar source or a captioner step's name")
    concepts: ModelFolder | None = Field(
        None,
        description="folder with concepts.txt, one concept a line; None: the population's own words and word pairs",
    )
    least: int = Field(5, ge=1, description="captions that must hold a word for it to be a concept of the population")
    least_information: float = Field(5.0, description="bits of pointwise mutual information of a pair of words")
    cap: int = Field(20_000, ge=1, description="t: pairs a concept keeps, about; the paper's for 400 million")
    share: float | None = Field(None, gt=0, le=1, description="find t so that about this share of the pairs stays")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them are counted and kept")
    seed: int = Field(0, ge=0)


@selection("concept_balance")
class ConceptBalance(Selection[ConceptBalanceSettings]):
    """Columns over every pair; null where it has no caption.

    Columns:
        keep: it is in the balanced sample.
        probability: its chance to be kept.
        concepts: how many concepts its caption names.
        rarest: that of its concepts which gives it the best chance; null if it names none.
        cap: t.
    """

    requires = Captions("source")
    columns = {
        "keep": pa.bool_(),
        "probability": pa.float32(),
        "concepts": pa.int32(),
        "rarest": pa.string(),
        "cap": pa.float32(),
    }

    def column_names(self) -> tuple[str, ...]:
        return tuple(among_columns(self.settings.among))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        captions = caption_column(view, wish.source)
        known = captions.is_valid().to_numpy()
        counted = known & participants(view, wish.among)
        concepts = self._concepts(captions, counted)
        rows, named = _matches(concepts, captions)
        taking_part = counted[rows]
        rows, named = rows[taking_part], named[taking_part]
        population = np.bincount(named, minlength=max(len(concepts.names), 1))
        cap = float(wish.cap)
        if wish.share is not None:
            cap = cap_for(rows, named, population, wish.share * int(counted.sum()), view.rows)
        probability = chances(rows, named, population, cap, view.rows)
        draw = draws(view.sidecar(["key"])["key"].to_pylist(), wish.seed)
        rarest = _rarest(rows, named, population, view.rows)
        return {
            "keep": pa.array(draw < probability, pa.bool_(), mask=~known),
            "probability": pa.array(probability, pa.float32(), mask=~known),
            "concepts": pa.array(np.bincount(rows, minlength=view.rows), pa.int32(), mask=~known),
            "rarest": pa.array([*concepts.names, None]).take(pa.array(rarest)),
            "cap": pa.array(np.full(view.rows, cap), pa.float32(), mask=~known),
        }

    def _concepts(self, captions: pa.ChunkedArray, counted: np.ndarray) -> ConceptList:
        wish = self.settings
        if wish.concepts is not None:
            return read_concepts(f"{wish.concepts.path or wish.concepts.reference}/concepts.txt")
        own = captions.filter(pa.array(counted)).combine_chunks()
        parts = (own.slice(start, CHUNK) for start in range(0, len(own), CHUNK))
        return concepts_of(parts, wish.least, wish.least_information)


def _matches(concepts: ConceptList, captions: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Every (row, concept) of the population."""
    rows, named = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    whole = captions.combine_chunks()
    for start in range(0, len(whole), CHUNK):
        row, concept = concepts.matches(whole.slice(start, CHUNK))
        rows.append(row + start)
        named.append(concept)
    return np.concatenate(rows), np.concatenate(named)


def chances(rows: np.ndarray, named: np.ndarray, population: np.ndarray, cap: float, total: int) -> np.ndarray:
    """1 - prod over its concepts of (1 - min(1, cap / n_c)) for each of `total` rows; 0 without a concept."""
    spared = 1 - np.minimum(1, cap / np.maximum(population, 1))
    with np.errstate(divide="ignore"):
        logs = np.log(spared)[named]
    return -np.expm1(np.bincount(rows, weights=logs, minlength=total))


def cap_for(rows: np.ndarray, named: np.ndarray, population: np.ndarray, wanted: float, total: int) -> float:
    """The cap t whose expected number of kept pairs is `wanted`; the largest count if all are too few."""
    low, high = 0.0, float(max(population.max(initial=1), 1))
    if chances(rows, named, population, high, total).sum() <= wanted:
        return high
    for _ in range(50):
        middle = (low + high) / 2
        if chances(rows, named, population, middle, total).sum() < wanted:
            low = middle
        else:
            high = middle
    return high


def draws(keys: list[str], seed: int) -> np.ndarray:
    """A number in [0, 1) of each key: the first 53 bits of its hash with the seed."""
    salt = f"{seed}:".encode()
    found = [int.from_bytes(hashlib.blake2b(salt + key.encode(), digest_size=8).digest(), "big") for key in keys]
    return (np.array(found, np.uint64) >> np.uint64(11)).astype(np.float64) / 2**53


def _rarest(rows: np.ndarray, named: np.ndarray, population: np.ndarray, total: int) -> np.ndarray:
    """The least frequent concept of each row, len(population) where it has none."""
    best = np.full(total, len(population), np.int64)
    order = np.lexsort((-named, -population[named]))  # the rarest is written last, of equals the first
    best[rows[order]] = named[order]
    return best
