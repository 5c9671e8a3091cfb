"""Fit a dual encoder: towers named in the recipe, an objective, pairs.

    pretrain:
      uses: dual_encoder
      with: {image_tower: builtin:efficientnet-lite0, text_tower: builtin:minilm, objective: siglip}

With locked towers (the default) it trains two projections on cached features, as in locked-image
tuning (Zhai et al., 2022), in seconds on a CPU; `trainable: lora` puts low-rank adapters into the
towers beside (Hu et al., 2021), and `trainable: all` trains everything from pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.component import Columns, Fit, FitInputs
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import fit

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.shards.columns import StepColumns


@fit("dual_encoder")
class FitDualEncoder(Fit[DualEncoderSettings]):
    """Writes config.json, model.safetensors, tokenizer files, card.md and metrics.jsonl (a line a step)."""

    requires = Columns("image_features", "text_features")
    speaks = ("dual_encoder",)
    libraries = ("torch", "transformers")
    mixed_precision = True

    def column_names(self) -> tuple[str, ...]:
        image = (self.settings.image_features,) if self.settings.image_from_features else ()
        if not self.settings.from_features:
            return image
        return (*image, *(self.settings.text_features[s] for s in self.settings.sources))

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
        """What `pairwright.components.pretrain.loop:train` is called with, as JSON.

        Args:
            pairs: Parquet of (shard, row) to train on; every pair of the dataset if None.
            checkpoints: a folder that outlives a kill; the same one finishes the run.
            folder: where rank 0 writes the model.
        """
        from pairwright.components.hashing import file_sha256
        from pairwright.components.pretrain.config import TrainConfig
        from pairwright.components.registry import component_class

        config = TrainConfig(
            dataset=dataset.root,
            shards=[shard.digest for shard in dataset.shards],
            store_root=store_root,
            steps={name: {"component": at.component, "digest": at.digest} for name, at in steps.items()},  # type: ignore[misc]
            pairs=None if pairs is None else str(pairs),
            pairs_digest="" if pairs is None else file_sha256(pairs),
            checkpoints=str(checkpoints),
            folder=str(folder),
            device=device,
            precision=precision,  # type: ignore[arg-type]
            settings=self.settings,
            objective_module=component_class("objective", self.settings.objective.uses).__module__,
        )
        return config.model_dump(mode="json")

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, Any]:
        """Train in this process.

        Args:
            inputs: `extra["checkpoints"]` names a folder that outlives a kill, `extra["device"]` where to
                compute and `extra["precision"]` in what; beside `folder`, on the CPU, in float32 by default.
            progress: called as progress(step, steps, text) after each step.
        """
        import pyarrow.parquet as pq

        from pairwright.components.pretrain.loop import train

        checkpoints = Path(inputs.extra.get("checkpoints", folder.with_name(folder.name + ".checkpoints")))
        checkpoints.mkdir(parents=True, exist_ok=True)
        pairs = None
        if inputs.kept is not None:
            pairs = checkpoints / "pairs.parquet"
            pq.write_table(inputs.kept.select(["shard", "row"]), pairs)
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
                progress(metrics["step"], metrics["steps"], f"loss {metrics['loss']:.3f}")

        return train(config, 0, 1, report)
