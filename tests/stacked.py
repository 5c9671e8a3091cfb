"""Small tasks with repeated layers, for the tests of ranks that hold shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from toys import Scale, population

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.dual_encoders.contrastive import softmax_loss
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Task

MISSING = 7  # every seventh example of `holes` cannot be read


class Layer(nn.Module):
    """Odd sizes: ranks' shares are not equal, and one of a row is on the first rank alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 5), nn.Linear(5, width)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.down(F.gelu(self.up(x))))


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Linear(8, 12)
        self.layers = nn.ModuleList([Layer(12), Layer(12)])
        self.outlet = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inlet(x)
        for layer in self.layers:
            x = layer(x)
        return self.outlet(x)


class StackedPairs(Task[TrainerSettings]):
    """InfoNCE of two stacks, one with a locked inlet; a copy of an outlet follows it without a gradient."""

    name = "stacked_pairs"
    joint = True
    moving = ("copy.",)

    def reads(self) -> Reads:
        return Reads(columns=("x", "y"))

    def build(self) -> nn.Module:
        parts = {"a": Tower(), "b": Tower(), "scale": Scale(), "unused": nn.Linear(2, 2), "copy": nn.Linear(12, 4)}
        model = nn.ModuleDict(parts)
        model["b"].inlet.requires_grad_(False)
        model["copy"].requires_grad_(False)
        return model

    def collate(self, examples: Any) -> dict[str, Any]:
        return {"x": torch.from_numpy(examples.column("x")), "y": torch.from_numpy(examples.column("y"))}

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {
            "a": F.normalize(self.model["a"](batch["x"]), dim=-1),
            "b": F.normalize(self.model["b"](batch["y"]), dim=-1),
        }

    def losses(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": softmax_loss(outputs["a"], outputs["b"], self.model["scale"]()).mean()}

    @torch.no_grad()
    def after_step(self, seen: Any) -> None:
        for copy, own in zip(self.model["copy"].parameters(), self.model["a"].outlet.parameters(), strict=True):
            copy.lerp_(own, 0.1)

    def save(self, folder: Any, trained: Any) -> dict[str, Any]:
        folder.mkdir(parents=True)
        torch.save(self.model.state_dict(), folder / "weights.pt")
        x = torch.ones(2, 8)
        return {"a": self.model["a"](x).tolist()}  # a model that is saved computes as any other


class StackedWords(Task[TrainerSettings]):
    """A mean by words; a second stack and a head of its own only matter to examples of eight words."""

    name = "stacked_words"

    def reads(self) -> Reads:
        return Reads(columns=("x", "words"))

    def build(self) -> nn.Module:
        return nn.ModuleDict({"net": Tower(), "some": Tower(), "head": nn.Linear(4, 1), "unused": nn.Linear(2, 2)})

    def collate(self, examples: Any) -> dict[str, Any]:
        words = torch.from_numpy(np.asarray(examples.column("words"), np.int64))
        return {"x": torch.from_numpy(examples.column("x")), "words": words}

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"net": self.model["net"](batch["x"]), "some": self.model["some"](batch["x"])}

    def weight(self, batch: Batch) -> float:
        return float(batch["words"].sum())

    def losses(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        long = batch["words"] == 8
        each = (outputs["net"] - 1).square().sum(1)
        if bool(long.any()):
            each = torch.where(long, each + self.model["head"](outputs["some"]).square().squeeze(1), each)
        return {"loss": (each * batch["words"]).sum() / batch["words"].sum()}


class Lent(StackedPairs):
    """Runs its layers with weights that are not theirs, as an averaged branch by `functional_call` does."""

    def encode(self, batch: Batch) -> dict[str, torch.Tensor]:
        lent = {name: value + 0 for name, value in self.copies.items()}
        b = torch.func.functional_call(self.model["a"], lent, (batch["y"],))
        return {"a": F.normalize(self.model["a"](batch["x"]), dim=-1), "b": F.normalize(b, dim=-1)}

    def build(self) -> nn.Module:
        model = super().build()
        self.copies = {name: value.detach().clone() for name, value in model["a"].named_parameters()}
        return model


class Peeking(StackedPairs):
    """Uses a layer's weight outside of that layer."""

    def losses(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        named = super().losses(outputs, batch)
        return {"loss": named["loss"] + (self.model["a"].layers[0].up.weight @ torch.ones(12)).sum()}


class Cheat(StackedPairs):
    """Moves what it says is frozen."""

    @torch.no_grad()
    def after_step(self, seen: Any) -> None:
        self.model["b"].inlet.weight += 1e-3


class Holes(ArrayPopulation):
    """Some examples cannot be read, so that ranks have batches of different sizes."""

    def read(self, numbers: Any, *rest: Any, **named: Any) -> Any:
        return super().read(np.asarray(numbers)[np.asarray(numbers) % MISSING != 0], *rest, **named)


def holes() -> Holes:
    whole = population()
    columns = {name: whole.read(np.arange(48), 0, 0).column(name) for name in ("x", "y", "words")}
    return Holes(columns, keys=[f"k{n}" for n in range(48)])
