"""What a training worker is told: JSON all through, so any launcher can carry it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pairwright.components.digest import digestible
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.source_code import source_digest


class StepPlace(BaseModel):
    """`StepColumns`, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    component: str
    digest: str


class TrainConfig(BaseModel):
    """One training run.

    Attributes:
        dataset: root of the dataset; `shards` are the digests of those trained on, in order.
        store_root: root of the column files; `steps` says where each step's are.
        pairs: Parquet of (shard, row, key) to train on; every pair if None.
        checkpoints: folder of checkpoints and of `metrics.jsonl`, timings included.
        folder: where the model goes when training ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    shards: list[str]
    store_root: str
    steps: Mapping[str, StepPlace]
    pairs: str | None = None
    pairs_digest: str = ""
    checkpoints: str
    folder: str
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(0, ge=0, description="torch threads a worker; 0 leaves torch's own choice")
    settings: DualEncoderSettings
    objective_module: str = Field("", description="module that registers the objective; found by search if empty")

    @property
    def digest(self) -> str:
        """What decides the weights, the loop's code included: a checkpoint of another digest is another run's."""
        said: dict[str, Any] = {
            "shards": self.shards,
            "steps": {name: place.digest for name, place in self.steps.items()},
            "pairs": self.pairs_digest,
            "settings": digestible(self.settings),
            "precision": self.precision,
            "source": source_digest("pairwright.components.pretrain.loop"),
        }
        return sha256_text(canonical(said))
