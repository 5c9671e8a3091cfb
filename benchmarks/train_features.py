"""The demo's training on features: seconds of its steps, and its speed against a plain torch loop of the same sums.

    python -m benchmarks.train_features [--threads 2]

`pretrain:` of the recipe quickstart, on 5,000 pairs of random features of its towers' widths, in this process: the
steps of `Trainer.train`, its loader among them, without Ray. The plain loop has its batches in tensors: it norms and
projects them, makes one matrix of products, takes both cross-entropies, clips and steps. Goal: 400 steps in 3 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from benchmarks.machine import add_output_option, publish
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.dual_encoders.heads import Heads
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.training.trainer import Trainer
from pairwright.flows.recipes import load_recipe

PAIRS, GOAL_S = 5000, 3.0


def settings_of_quickstart() -> DualEncoderSettings:
    """Its towers found, and all else as it is."""
    pretrain = load_recipe("quickstart").pretrain
    assert pretrain is not None
    towers = {name: resolve_model(pretrain.with_[name]) for name in ("image_tower", "text_tower")}
    return DualEncoderSettings.parse(pretrain.with_ | towers, "benchmark")


def features(settings: DualEncoderSettings) -> dict[str, np.ndarray]:
    """float16, as columns hold them."""
    draw, task = np.random.default_rng(0), FitDualEncoder(settings)
    task.device = torch.device("cpu")
    task.prepare()
    image, text = task.encoder.image_projection.map.in_features, task.encoder.text_projection.map.in_features
    widths = {settings.image_features: image} | dict.fromkeys(settings.text_features.values(), text)
    return {str(name): draw.standard_normal((PAIRS, width)).astype(np.float16) for name, width in widths.items()}


def ours(settings: DualEncoderSettings, columns: dict[str, np.ndarray]) -> float:
    """Seconds of the trainer's steps."""
    task = FitDualEncoder(settings)
    task.device = torch.device("cpu")
    task.prepare()
    trainer = Trainer(task, ArrayPopulation(columns))
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start


def plain(settings: DualEncoderSettings, image: Tensor, text: Tensor) -> float:
    """Seconds of as many steps of the loop anyone would write."""
    heads = Heads(image.shape[1], text.shape[1], settings.dim)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=settings.lr, fused=True)
    right = torch.arange(settings.batch_size)
    start = time.perf_counter()
    for step in range(settings.steps):
        rows = slice(at := step * settings.batch_size % (PAIRS - settings.batch_size), at + settings.batch_size)
        optimizer.zero_grad(set_to_none=True)
        logits = heads.scale * (
            projected(heads.image_projection, image[rows]) @ projected(heads.text_projection, text[rows]).T
        )
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        loss.backward()
        nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


def projected(head: nn.Module, rows: Tensor) -> Tensor:
    return F.normalize(head.map(head.norm(rows.float())), dim=-1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--rounds", type=int, default=5)
    add_output_option(parser)
    wish = parser.parse_args(argv)
    torch.set_num_threads(wish.threads)
    settings = settings_of_quickstart()
    columns = features(settings)
    image = torch.from_numpy(columns[str(settings.image_features)])
    text = torch.from_numpy(columns[next(iter(settings.text_features.values()))])
    rounds: list[dict[str, Any]] = []
    for _ in range(wish.rounds):
        rounds.append({"plain": plain(settings, image, text), "ours": ours(settings, columns)})
    ratio = statistics.median(one["plain"] / one["ours"] for one in rounds)
    seconds = statistics.median(one["ours"] for one in rounds)
    print(f"{settings.steps} steps in {seconds:.1f} s (goal {GOAL_S:g}), at {ratio:.2f} of a plain loop's speed")
    found = {"benchmark": "train_features", "steps": settings.steps, "threads": wish.threads, "goal": GOAL_S}
    publish(found | {"seconds": seconds, "ratio": ratio, "rounds": rounds}, wish.json)
    return 0 if seconds <= GOAL_S else 1


if __name__ == "__main__":
    sys.exit(main())
