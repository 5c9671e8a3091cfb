"""A training step of ours against a plain torch loop: the same ViT, batch, precision and optimizer, in one run.

    python -m benchmarks.train_step                 # a ViT of 8 layers, width 192, 64 pictures of 96 px

Three things are timed in turn, `--rounds` times, and ratios are within a round: a plain loop on tensors in memory
(forward, backward, clipping, AdamW), the trainer's step on a batch in memory, and the trainer fed by its loader from
pictures as arrays. Goals: at least 0.95 of the plain loop, and fed at least 0.9 of unfed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import add_output_option, publish
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task
from pairwright.components.training.trainer import Trainer

WIDTH, LAYERS, HEADS, SIDE, PATCH, CLASSES = 192, 8, 3, 96, 16, 100
GOAL, FED_GOAL = 0.95, 0.9


class Vit(nn.Module):
    """(n, side, side, 3) uint8 -> (n, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, (SIDE // PATCH) ** 2, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images.permute(0, 3, 1, 2).float() / 127.5 - 1).flatten(2).transpose(1, 2) + self.position
        said: Tensor = self.head(self.layers(x).mean(1))
        return said


class Classify(Task[TrainerSettings]):
    name = "benchmark_classify"

    def reads(self) -> Reads:
        return Reads(columns=("image", "label"))

    def build(self) -> nn.Module:
        return Vit()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        images = np.stack(examples.column("image"))
        return {"image": torch.from_numpy(images), "label": torch.as_tensor(examples.column("label")).long()}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"said": self.model(batch["image"])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(outputs["said"], batch["label"])}


def plain(images: Tensor, labels: Tensor, steps: int, lr: float) -> float:
    """Seconds of `steps` steps of the loop anyone would write."""
    torch.manual_seed(0)
    model = Vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    add_output_option(parser)
    options = parser.parse_args(argv)
    random = np.random.default_rng(0)
    count = options.batch * options.steps
    images = [random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]
    population = ArrayPopulation({"image": images, "label": random.integers(0, CLASSES, count)})
    settings = TrainerSettings(steps=options.steps, batch_size=options.batch, lr=1e-3, beta2=0.999)
    rounds: list[dict[str, float]] = []
    for _ in range(options.rounds):
        trainer = Trainer(Classify(settings), population)
        examples = population.read(np.arange(options.batch), 0, 0)
        batch = Batch(trainer.task.collate(examples), torch.arange(options.batch), examples.keys)
        seconds = {"plain": plain(batch["image"], batch["label"], options.steps, 1e-3)}
        start = time.perf_counter()
        for step in range(options.steps):
            trainer._step(step, batch)
        seconds["trainer"] = time.perf_counter() - start
        fed_by_loader = Trainer(Classify(settings), population)
        start = time.perf_counter()
        fed_by_loader.train()
        seconds["fed"] = time.perf_counter() - start
        rounds.append(seconds)
    ratio = statistics.median(one["plain"] / one["trainer"] for one in rounds)
    fed = statistics.median(one["trainer"] / one["fed"] for one in rounds)
    print(f"the trainer's step runs at {ratio:.2f} of the plain loop (goal {GOAL})")
    print(f"fed by the loader it runs at {fed:.2f} of the same on a batch in memory (goal {FED_GOAL})")
    publish({"benchmark": "train_step", "ratio": ratio, "fed": fed, "rounds": rounds}, options.json)
    return 0 if ratio >= GOAL and fed >= FED_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
