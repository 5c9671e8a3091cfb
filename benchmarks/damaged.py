"""The demo corpus with planted damage of known kind and rate, to referee selectors with.

    python -m benchmarks.damaged workspace/damaged          # a dataset of ours, and truth.parquet beside it

The tars stay where they are; the sidecars say other captions. Damage is planted within stamps and
within clip-arts separately, at the same rates, else a selector would only learn to tell the two apart.
Each variant of the crawl is a caption source of its own, so that pictures are looked at once:

    mixed       seven kinds at once, 6% of the pairs each (a wrong language needs a translation: stamps only)
    swapped20   captions exchanged among 20% of the pairs; swapped40, swapped60 likewise

Three in ten of the stamps, by group, are the `seed` set: their captions are known to be right, what a
team would label. No selector is judged on them, nor on a pair of their groups or with one of their captions,
and what is planted is lent by judged pairs alone: what taught a reward never judges it.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.damage.damage import JUDGING, damaged
from pairwright.components.dataset.damage.damage_texts import Texts, plain
from pairwright.components.dataset.dataset import Dataset, Shard, open_dataset
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.sidecar import caption, shard_digest, sidecar_table, write_sidecar
from pairwright.components.source_code import source_digest

SEED_SHARE = 0.3  # of the stamps, by group
MIXED = JUDGING  # and no kind that silver preferences teach with
MIXED_RATE = 0.06  # of each kind
SWAPPED = {"swapped20": 0.2, "swapped40": 0.4, "swapped60": 0.6}
SOURCES = ("mixed", *SWAPPED)
SEED = "seed"
KEPT_SOURCES = ("file_name", "folder", "keywords")  # what a crawl has beside the caption
TRUTH = "truth.parquet"
MADE_OF = "made_of.json"
CODE = ("benchmarks.damaged", "pairwright.components.dataset.damage.damage")


def plant_all(rows: list[dict[str, Any]], seed: int) -> dict[str, tuple[list[str | None], list[str | None]]]:
    """Source -> (captions, kind of damage or None), over rows whose captions are all of one domain's."""
    captions = [caption_of(row["captions"], "alt") for row in rows]
    labels = [{label["name"]: label["value"] for label in row["labels"]} for row in rows]
    groups = np.unique([row["group"] or row["key"] for row in rows], return_inverse=True)[1]
    translations = [[c["text"] for c in row["captions"] if c["source"] == "translation"] for row in rows]
    texts = Texts(captions, [one.get("category") for one in labels], translations, groups)
    planted = {name: _exchange(texts, rate, seed) for name, rate in SWAPPED.items()}
    return {"mixed": _mix(texts, seed)} | planted


def _exchange(texts: Texts, rate: float, seed: int) -> tuple[list[str | None], list[str | None]]:
    random = np.random.default_rng([seed, round(100 * rate)])
    chosen = random.permutation(texts.rows())
    return _write(texts, [("swapped", chosen[: round(rate * len(chosen))])], random)


def _mix(texts: Texts, seed: int) -> tuple[list[str | None], list[str | None]]:
    random = np.random.default_rng([seed, 7])
    shuffled = random.permutation(texts.rows())
    many = round(MIXED_RATE * len(shuffled))
    return _write(texts, [(kind, shuffled[i * many : (i + 1) * many]) for i, kind in enumerate(MIXED)], random)


def _write(
    texts: Texts, parts: list[tuple[str, np.ndarray]], random: np.random.Generator
) -> tuple[list[str | None], list[str | None]]:
    out, kinds = list(texts.captions), [None] * len(texts.captions)
    for kind, rows in parts:
        for row, text in zip(rows, damaged(texts, kind, rows, random), strict=True):
            if text is not None:
                out[row], kinds[row] = text, kind  # type: ignore[call-overload]
    return out, kinds


def make_damaged(dest: str | Path, source: str = "data/raw", seed: int = 0) -> Dataset:
    """The damaged dataset at `dest`; made again where data, seed or code are not those it was made of."""
    root, raw = Path(dest), open_dataset(source)
    made_of = {"data": raw.digest, "seed": seed, "code": [source_digest(module) for module in CODE]}
    if (root / MADE_OF).exists() and storage.read_json(str(root / MADE_OF)) == made_of:
        return open_dataset(str(root))
    shutil.rmtree(root, ignore_errors=True)
    rows = [row | {"shard": i} for i, (_, t) in enumerate(raw.iter_sidecars()) for row in t.to_pylist()]
    seeds, near = _seed_rows(rows, seed)
    found: list[dict[str, str | None]] = [{} for _ in rows]
    kinds: list[dict[str, str | None]] = [{} for _ in rows]
    for domain in ("stamp", "clipart"):
        mine = [i for i, row in enumerate(rows) if _domain(row) == domain and i not in near and row["error"] is None]
        for name, (captions, planted) in plant_all([rows[i] for i in mine], seed).items():
            for i, text, kind in zip(mine, captions, planted, strict=True):
                found[i][name], kinds[i][name] = text, kind
    for i in seeds:
        found[i][SEED] = caption_of(rows[i]["captions"], "alt")
    shards = [_shard(raw.shards[n], n, rows, found, root) for n in range(len(raw.shards))]
    dataset = Dataset(f"{raw.name}-damaged", str(root), tuple(shards), "planted damage", raw.licence)
    _write_truth(dataset, rows, near, kinds, root)
    dataset.save()
    storage.write_json(str(root / MADE_OF), made_of)
    return dataset


def _domain(row: dict[str, Any]) -> str:
    return str(row["key"]).partition("-")[0]


def _seed_rows(rows: list[dict[str, Any]], seed: int) -> tuple[set[int], set[int]]:
    """Stamps whose group a hash draws; and them with every pair of their groups or with one of their captions."""

    def drawn(group: str) -> bool:
        return int(hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()[:8], 16) / 2**32 < SEED_SHARE

    groups = {row["group"] for row in rows if _domain(row) == "stamp" and row["group"] and drawn(row["group"])}
    said = [plain(caption_of(row["captions"], "alt") or "") for row in rows]
    seeds = {i for i, row in enumerate(rows) if row["group"] in groups and _domain(row) == "stamp"}
    taught = {said[i] for i in seeds} - {""}
    return seeds, {i for i, row in enumerate(rows) if row["group"] in groups or said[i] in taught}


def _shard(
    shard: Shard, number: int, rows: list[dict[str, Any]], found: list[dict[str, str | None]], root: Path
) -> Shard:
    told = [(row, texts) for row, texts in zip(rows, found, strict=True) if row["shard"] == number]
    table = sidecar_table([_row(row, texts) for row, texts in told])
    path = root / f"{shard.name}.parquet"
    root.mkdir(parents=True, exist_ok=True)
    write_sidecar(table, str(path))
    tar = str(Path(shard.tar).resolve())
    digest = shard_digest(hashlib.sha256(Path(tar).read_bytes()).hexdigest(), table)
    return replace(shard, tar=tar, sidecar=str(path), digest=digest)


def _row(row: dict[str, Any], texts: dict[str, str | None]) -> dict[str, Any]:
    told = [c for c in row["captions"] if c["source"] in KEPT_SOURCES]
    made = [caption(text, name, producer="benchmarks/damaged") for name, text in texts.items() if text is not None]
    return {k: v for k, v in row.items() if k != "shard"} | {"captions": [*made, *told]}


def _write_truth(
    dataset: Dataset, rows: list[dict[str, Any]], near: set[int], kinds: list[dict[str, str | None]], root: Path
) -> None:
    """One row a pair: what was planted, by source; null where nothing was. `seed`: no selector is judged on it."""
    columns: dict[str, Any] = {
        "key": [row["key"] for row in rows],
        "domain": [_domain(row) for row in rows],
        "seed": [i in near for i in range(len(rows))],
    }
    columns |= {name: pa.array([kind.get(name) for kind in kinds], pa.string()) for name in SOURCES}
    assert len(rows) == dataset.rows
    pq.write_table(pa.table(columns), root / TRUTH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest")
    parser.add_argument("--source", default="data/raw")
    parser.add_argument("--seed", type=int, default=0)
    wish = parser.parse_args()
    made = make_damaged(wish.dest, wish.source, wish.seed)
    truth = pq.read_table(Path(wish.dest) / TRUTH).to_pylist()
    print(f"{made.rows:,} pairs, {sum(row['seed'] for row in truth)} of them seeds")
    for name in SOURCES:
        for domain in ("stamp", "clipart"):
            mine = [row[name] for row in truth if row["domain"] == domain and not row["seed"]]
            told = ", ".join(f"{kind} {mine.count(kind)}" for kind in MIXED if kind in mine)
            print(f"{name:10} {domain:8} {len(mine):5,} pairs: {told}")
