"""A whole project in miniature: three shapes datasets and a recipe on tiny towers, for the flows' tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from shapes import shapes_dataset


def tiny_project(root: Path, *, pairs: int = 96, shards: int = 4, seeds: tuple[int, ...] = (0,)) -> Path:
    """Datasets raw, dev and test under `root`/data and a recipe at the returned path."""
    data = root / "data"
    shapes_dataset(data, pairs, shards, name="raw")
    shapes_dataset(data, 48, 1, name="dev", start=10_000, wording=1)
    shapes_dataset(data, 48, 1, name="test", start=20_000, wording=2)
    recipe = tiny_recipe(data, seeds)
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def tiny_recipe(data: Path, seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return {
        "name": "tiny",
        "data": str(data / "raw"),
        "filter": {
            "score": {
                "image": "image",
                "caption_text": "caption_text",
                "language": "language",
                "exact_hash": "exact_hash",
                "pdq": "pdq",
                "image_features": {"uses": "image_features", "with": {"tower": "builtin:tiny-image"}},
                "text_features": {"uses": "text_features", "with": {"tower": "builtin:tiny-text"}},
            },
            "select": {"same": "exact_duplicates", "near": "near_duplicates"},
            "keep": {
                "described": "caption_text.words >= 1",
                "unique_picture": "NOT same.drop",
                "sharp_enough": "pdq.quality >= quantile(pdq.quality, 0.05)",
            },
        },
        "recaption": {"colours": "colours"},
        "pretrain": {
            "uses": "dual_encoder",
            "with": {
                "image_tower": "builtin:tiny-image",
                "text_tower": "builtin:tiny-text",
                "trainable": "heads",
                "dim": 16,
                "steps": 20,
                "warmup_steps": 2,
                "batch_size": 16,
                "checkpoint_every": 5,
                "captions": {"alt": 1.0},
                "image_features": "image_features.vector",
                "text_features": {"alt": "text_features.vector"},
            },
            "seeds": list(seeds),
        },
        "evaluate": {
            "dev": str(data / "dev"),
            "test": str(data / "test"),
            "benchmarks": {"retrieval": "retrieval", "zero_shot": {"uses": "zero_shot", "with": {"label": "category"}}},
            "ablation": ["curated", "raw"],
        },
        "release": {"arm": "curated", "seed": 0, "promote": {"metric": "retrieval.t2i_r5"}},
    }


def pairwright(*arguments: str, cwd: Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in `cwd`."""
    done = subprocess.run(
        [sys.executable, "-m", "pairwright.flows.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


def run_tiny(recipe: Path, *options: str, **variables: str) -> dict[str, Any]:
    """`pairwright run` on a tiny project; the run's record."""
    said = ("run", str(recipe), "--json", "--workspace", "workspace", *options)
    done = pairwright(*said, cwd=recipe.parent, **variables)
    record: dict[str, Any] = json.loads(done.stdout)
    return record
