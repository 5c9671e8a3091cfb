"""Tasks: what a paper's training says of itself, so that one trainer trains them all (docs/tasks.md).

@task("mine")
class Mine(Task[MySettings]):
    def reads(self): ...
    def build(self): ...
    def collate(self, examples): ...
    def encode(self, batch): ...
    def losses(self, outputs, batch): ...
    def save(self, folder, trained): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pairwright.components.component import FitInputs
from pairwright.components.training.config import config_of
from pairwright.components.training.contract import Seen, TaskBase, Trained
from pairwright.components.training.settings import TrainerSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns

__all__ = ["Seen", "Task", "Trained"]
S = TypeVar("S", bound=TrainerSettings)


class Task(TaskBase[S]):
    """Columns or pairs -> a model folder, by gradients."""

    def train_config(
        self,
        *,
        dataset: Dataset,
        store_root: str,
        steps: Mapping[str, StepColumns],
        pairs: Path | str | None,
        checkpoints: Path | str,
        folder: Path | str,
        device: str = "cpu",
        precision: str = "auto",
    ) -> dict[str, Any]:
        """What `pairwright.components.training.run:train` is called with, as JSON.

        Args:
            pairs: Parquet of (shard, row) to train on; every pair of the dataset if None.
            checkpoints: a folder that outlives a kill; the same one finishes the run.
            folder: where rank 0 writes the model.
        """
        return config_of(
            self,
            dataset=dataset,
            store_root=store_root,
            steps=steps,
            pairs=pairs,
            checkpoints=checkpoints,
            folder=folder,
            device=device,
            precision=precision,
        )

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Train in this process, on `inputs.kept`, or else on all pairs but those held out for evaluation.

        Args:
            inputs: `extra["checkpoints"]` names a folder that outlives a kill, `extra["device"]` where to compute and
                `extra["precision"]` in what; beside `folder`, on the CPU, in float32 by default.
            progress: called as progress(step, steps, text) after each step.
        """
        import pyarrow.parquet as pq

        from pairwright.components.training.run import train

        checkpoints = Path(inputs.extra.get("checkpoints", folder.with_name(folder.name + ".checkpoints")))
        checkpoints.mkdir(parents=True, exist_ok=True)
        pairs = None
        kept = inputs.kept if inputs.kept is not None else _not_held_out(inputs.view)
        if kept is not None:
            pairs = checkpoints / "pairs.parquet"
            pq.write_table(kept.select(["shard", "row"]), pairs)
        config = self.train_config(
            dataset=inputs.view.dataset,
            store_root=inputs.view.store.root,
            steps=inputs.view.steps,
            pairs=pairs,
            checkpoints=checkpoints,
            folder=folder,
            device=str(inputs.extra.get("device", "cpu")),
            precision=str(inputs.extra.get("precision", "float32")),
        )

        def report(metrics: dict[str, Any]) -> None:
            if progress is not None:
                said = f"loss {metrics['loss']:.3f}" if "loss" in metrics else "skipped"
                progress(metrics["step"], metrics["steps"], said)

        return train(config, 0, 1, report)


def _not_held_out(view: ColumnsView) -> pa.Table | None:
    """(shard, row) of all that may be learnt from; None if nothing is held out."""
    import numpy as np
    import pyarrow as pa

    from pairwright.components.dataset.groups import held_out

    out = held_out(view)
    if not out.any():
        return None
    names = pa.array([shard.digest for shard in view.dataset.shards])
    sizes = [shard.rows for shard in view.dataset.shards]
    of = pa.array(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    rows = pa.array(np.concatenate([np.arange(size) for size in sizes]))
    whole = pa.table({"shard": pa.DictionaryArray.from_arrays(of, names).cast(pa.string()), "row": rows})
    return whole.filter(pa.array(~out))
