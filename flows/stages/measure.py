"""Measuring models: benchmarks on a split, arms side by side, embeddings of the kept pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Benchmark
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.finite import require_finite
from pairwright.flows.running.run import Run

if TYPE_CHECKING:
    from pairwright.components.evaluate.ablation import Comparison

GROUPS = "groups"  # in items.npz: which items belong together, so that a bootstrap draws groups
REPORTED = "test"  # the split an ablation is reported on; dev only promotes and tunes


def measure(
    model: Any, dataset: Dataset, benchmarks: Mapping[str, Benchmark[Any]], folder: Path
) -> list[dict[str, Any]]:
    """Run every benchmark once; write `metrics.json` and the per-item values `items.npz`.

    Names are `benchmark.metric`. The model speaks every benchmark's protocol.
    """
    metrics: list[dict[str, Any]] = []
    items: dict[str, np.ndarray] = {}
    for name, benchmark in benchmarks.items():
        measured = benchmark.measure(model, dataset)
        beside = {"split": dataset.digest, "resize": getattr(model, "resize", "")}
        metrics += [asdict(m) | {"name": f"{name}.{m.name}"} | beside for m in measured.metrics]
        for metric, values in measured.items.items():
            if np.issubdtype(values.dtype, np.floating):
                require_finite(values, f"the items of {name}.{metric}")
            items[f"{name}.{metric}"] = values
    storage.write_json(str(folder / "metrics.json"), metrics)
    np.savez_compressed(folder / "items.npz", **items)  # type: ignore[arg-type]
    return metrics


def compare_arms(folders: dict[str, dict[str, dict[str, str]]], baseline: str = "raw") -> dict[str, Any]:
    """Arms side by side on the test split: rows, comparisons to draw, every verdict, and all of them in a headline.

    Args:
        folders: arm -> seed -> split -> metrics folder.
    """
    from pairwright.components.evaluate.ablation import compare
    from pairwright.components.evaluate.statistics.verdicts import headline

    read = {a: {int(s): Path(splits[REPORTED]) for s, splits in seeds.items()} for a, seeds in folders.items()}
    listed = {a: {s: storage.read_json(str(f / "metrics.json")) for s, f in seeds.items()} for a, seeds in read.items()}
    values = {
        a: {s: {m["name"]: m["value"] for m in found} for s, found in seeds.items()} for a, seeds in listed.items()
    }
    items = {a: {s: _load_items(folder) for s, folder in seeds.items()} for a, seeds in read.items()}
    seen = [next(iter(seeds.values())) for seeds in items.values()]  # arms need not share every benchmark
    first = {name: values for found in reversed(seen) for name, values in found.items()}
    groups = {name: groups_of(first, name).tolist() for name in first if not name.endswith(GROUPS)}
    told = [next(iter(seeds.values())) for seeds in listed.values()]
    declared = {m["name"]: m for found in reversed(told) for m in found}
    definitions = {name: m["definition"] for name, m in declared.items()}
    lower = frozenset(name for name, m in declared.items() if not m["higher_is_better"])
    found = compare(values, items, groups, baseline=baseline, definitions=definitions, lower_is_better=lower)
    comparisons = [
        _comparison(name, found, values, definitions[name]) for name in dict.fromkeys(row.metric for row in found.rows)
    ]
    return {
        "rows": [{k: _finite(v) for k, v in asdict(row).items()} for row in found.rows],
        "ablations": [c for c in comparisons if c["metric"] not in found.untested],
        "verdicts": [{k: _finite(v) for k, v in asdict(one).items()} | {"words": one.words} for one in found.verdicts],
        "untested": found.untested,
        "headline": headline(found.verdicts),
        "split": {"name": REPORTED, "digest": next((m.get("split", "") for m in declared.values()), "")},
    }


def groups_of(items: Mapping[str, np.ndarray], metric: str) -> np.ndarray:
    """The group of each of a metric's items: its own groups where it has some, else its benchmark's."""
    own = f"{metric}.{GROUPS}"
    return items[own if own in items else f"{metric.partition('.')[0]}.{GROUPS}"]


def _load_items(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "items.npz") as found:
        return dict(found)


def _comparison(metric: str, found: Comparison, values: Any, definition: str) -> dict[str, Any]:
    arms = [
        {
            "name": row.arm,
            "mean": row.mean,
            "low": row.mean if row.low is None else row.low,
            "high": row.mean if row.high is None else row.high,
            "values": [one[metric] for one in values[row.arm].values() if metric in one],
        }
        for row in found.rows
        if row.metric == metric
    ]
    verdict = " ".join(one.words for one in found.verdicts if one.metric == metric)
    return {"metric": metric, "arms": arms, "definition": definition, "verdict": verdict}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def embed_kept(run: Run, model_folder: Path, kept: pa.Table) -> np.ndarray:
    """(n, d) unit-norm image embeddings of the kept pairs, in the table's order.

    From the cached features of the tower where the recipe made them, else from the pictures.
    """
    from pairwright.components.models.formats import load_model

    model = load_model(model_folder, "dual_encoder", run.device)
    column = (run.recipe.pretrain.with_ if run.recipe.pretrain else {}).get("image_features")
    shards = kept["shard"].to_pylist()
    rows = kept["row"].to_numpy()
    view = run.view()
    if column is not None and column.partition(".")[0] in run.plan.steps:
        offsets = np.array([view.offsets[shard] for shard in shards], dtype=np.int64)
        features = view.numpy(column)[offsets + rows]
        parts = [
            model.encode_image_features(part).float().cpu().numpy()
            for part in np.array_split(features, len(features) // 4096 + 1)
        ]
        return np.concatenate(parts)
    return _embed_pictures(run, model, shards, rows)


def embed_captions(run: Run, model_folder: Path) -> np.ndarray:
    """(q, d) unit-norm embeddings of the dev split's captions: what people might search for."""
    from pairwright.components.dataset.pairs import caption_of
    from pairwright.components.models.formats import load_model

    model = load_model(model_folder, "dual_encoder", run.device)
    texts = {
        caption_of(captions, "alt")
        for _, table in run.splits["dev"].iter_sidecars(["captions"])
        for captions in table["captions"].to_pylist()
    }
    vectors: np.ndarray = model.encode_text(sorted(text for text in texts if text)).float().cpu().numpy()
    return vectors


def _embed_pictures(run: Run, model: Any, shards: list[str], rows: np.ndarray) -> np.ndarray:
    from pairwright.components.dataset.shards.scan import read_pairs

    vectors: list[np.ndarray] = []
    for digest in dict.fromkeys(shards):
        shard = run.dataset.shard_by_digest(digest)
        wanted = [int(r) for s, r in zip(shards, rows, strict=True) if s == digest]
        for batch in read_pairs(shard, pixels=model.image_size, rows=wanted):
            vectors.append(model.encode_image(batch.images).float().cpu().numpy())
    return np.concatenate(vectors)
