"""Small tasks on arrays, for the tests of the trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.dual_encoders.contrastive import softmax_loss
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task


class Pairs(Task[TrainerSettings]):
    """InfoNCE between two towers with dropout and a running statistic: needs the joint batch."""

    name = "toy_pairs"
    joint = True

    def reads(self) -> Reads:
        return Reads(columns=("x", "y"))

    def build(self) -> nn.Module:
        def tower() -> nn.Module:
            return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, momentum=0.5), nn.Dropout(0.3), nn.Linear(16, 4))

        self.bank = torch.zeros(self.population.size)
        return nn.ModuleDict({"a": tower(), "b": tower(), "scale": Scale()})

    def collate(self, examples: Any) -> dict[str, Any]:
        return {"x": torch.from_numpy(examples.column("x")), "y": torch.from_numpy(examples.column("y"))}

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {
            "a": F.normalize(self.model["a"](batch["x"]), dim=-1),
            "b": F.normalize(self.model["b"](batch["y"]), dim=-1),
        }

    def losses(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        each = softmax_loss(outputs["a"], outputs["b"], self.model["scale"]())
        return {"loss": each.mean(), "each": each}

    def after_step(self, seen: Any) -> None:
        self.bank[seen.numbers] = 0.5 * self.bank[seen.numbers] + seen.values["each"]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"bank": self.bank}

    def load_state_dict(self, state: Any) -> None:
        self.bank = state["bank"].clone()


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(2.0))

    def forward(self) -> torch.Tensor:
        return self.log.exp()


class Words(Task[TrainerSettings]):
    """A mean over words, of which examples have different numbers: no joint batch, weighed."""

    name = "toy_words"

    def reads(self) -> Reads:
        return Reads(columns=("x", "words"))

    def build(self) -> nn.Module:
        return nn.ModuleDict({"net": nn.Linear(8, 3), "unused": nn.Linear(2, 2)})

    def collate(self, examples: Any) -> dict[str, Any]:
        words = torch.from_numpy(np.asarray(examples.column("words"), np.int64))
        return {"x": torch.from_numpy(examples.column("x")), "words": words}

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"logits": self.model["net"](batch["x"])}

    def weight(self, batch: Batch) -> float:
        return float(batch["words"].sum())

    def losses(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        each = outputs["logits"].square().sum(1)
        return {"loss": (each * batch["words"]).sum() / batch["words"].sum(), "each": each}


def population(rows: int = 48, seed: int = 0) -> ArrayPopulation:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 8)).astype(np.float32)
    y = (x + 0.3 * random.normal(size=(rows, 8))).astype(np.float32)
    words = random.integers(1, 9, rows)
    return ArrayPopulation({"x": x, "y": y, "words": words}, keys=[f"k{n}" for n in range(rows)])


def built(task: Task[Any], rows: int = 12, seed: int = 0) -> tuple[nn.Module, Batch]:
    """A task with its modules, and a batch of its first rows."""
    from pairwright.components.training.batch import Batch

    task.population, task.device = population(), torch.device("cpu")
    torch.manual_seed(seed)
    task.model = task.build().train()
    examples = task.population.read(np.arange(rows), 0, 0)
    return task.model, Batch(task.collate(examples), torch.arange(rows), examples.keys)
