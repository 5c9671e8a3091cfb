"""What tasks of composed retrieval share: locked towers, one network over their features, contrast, the folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import Field

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.settings import ModelFolder
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.composed.net import ComposedNet, Words
    from pairwright.components.models.towers.tower import ImageTower, TextTower


class ComposedSettings(TrainerSettings):
    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    dim: int = Field(256, ge=2, le=4096, description="width of the space that is searched")
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="1 / temperature before the first step")
    batch_size: int = Field(128, ge=2)


S = TypeVar("S", bound=ComposedSettings)


class ComposedTask(Task[S]):
    """Writes config.json, model.safetensors, the towers and card.md; the folder speaks `retriever`."""

    speaks = ("retriever",)
    libraries = TOWER_LIBRARIES
    joint = True
    image_tower: ImageTower
    text_tower: TextTower

    def net(self, image_width: int, text_width: int) -> ComposedNet:
        """The network, its weights drawn from torch's stream."""
        raise NotImplementedError

    def build(self) -> nn.Module:
        import torch

        from pairwright.components.models.towers.towers import load_image_tower, load_text_tower

        self.image_tower = load_image_tower(self.settings.image_tower, str(self.device))
        self.text_tower = load_text_tower(self.settings.text_tower, str(self.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            net = self.net(self.image_tower.width, self.text_tower.width)
        with torch.no_grad():
            net.log_scale.fill_(math.log(self.settings.initial_scale))
        return net.to(self.device).train()

    def words(self, texts: Sequence[str]) -> Words:
        """Texts as the locked tower's word vectors, on the CPU: for `collate`."""
        vectors, real = self.text_tower.word_vectors(texts)
        return vectors.clone().cpu(), real.clone().cpu()

    def column_of(self, column: str, numbers: np.ndarray, examples: Examples) -> Tensor:
        """A vector column of other examples, by their numbers: (n, width) float32."""
        import torch

        found = self.population.read(numbers, examples.epoch, examples.seed)
        return torch.from_numpy(np.ascontiguousarray(found.column(column)))

    def after_step(self, seen: Seen) -> None:
        import torch

        with torch.no_grad():
            self.model.log_scale.clamp_(max=math.log(100.0))

    def save(self, folder: Path, trained: Trained) -> None:
        from pairwright.components.models.composed.retriever import ComposedRetriever

        ComposedRetriever(self.image_tower, self.text_tower, self.model).save(folder, self._card(trained))

    def _card(self, trained: Trained) -> str:
        wish = self.settings
        losses = [line["loss"] for line in trained.history if "loss" in line]
        return f"""# Composed retriever ({self.name})

A picture and a text together ask for other pictures: "this, but blue".

```python
from pairwright.components.models.composed.retriever import load_composed_retriever

model = load_composed_retriever("this/folder")
gallery = model.index(pictures)
model.search(gallery, 10, images=[reference], texts=["make the dog blue"])
```

| | |
|---|---|
| towers | image `{wish.image_tower.reference}`, text `{wish.text_tower.reference}`, locked |
| network | `{self.model.kind}`, {", ".join(f"{name} {value}" for name, value in self.model.config().items())} |
| data | {trained.pairs} pairs of {trained.shards} shards ({trained.excluded} more lacked what it reads) |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
| last loss | {f"{losses[-1]:.4f}" if losses else "none"} |

It was not tested for fairness or for safety.
"""


def contrast(
    queries: Tensor, targets: Tensor, scale: Tensor | float, own: slice = slice(None), asked: Tensor | None = None
) -> Tensor:
    """Cross-entropy from queries (n, dim) to targets (n, q, dim) of the joint batch, one way, over the own rows.

    Args:
        asked: bool (n,), rows that have a query; the others are only wrong answers. 0 where none has.
    """
    import torch
    from torch.nn import functional as F  # noqa: N812

    from pairwright.components.models.composed.net import scores

    rows = torch.arange(len(queries), device=queries.device)[own]
    each = F.cross_entropy(scale * scores(queries[own], targets), rows, reduction="none")
    counted = torch.ones_like(each) if asked is None else asked[own].to(each.dtype)
    return (each * counted).sum() / counted.sum().clamp(min=1)


def places(keys: Mapping[str, int], names: Sequence[str | None]) -> np.ndarray:
    """Numbers of examples by their keys, int64 (n,); -1 where there is none."""
    return np.array([keys.get(name, -1) if name else -1 for name in names], np.int64)
