"""Fit a dual encoder: towers named in the recipe, objectives, pairs.

    pretrain:
      uses: dual_encoder
      with: {image_tower: builtin:efficientnet-lite0, text_tower: builtin:minilm, objective: siglip}

With locked towers (the default) it trains two projections on cached features, as in locked-image
tuning (Zhai et al., 2022), in seconds on a CPU; `trainable: lora` puts low-rank adapters into the
towers beside (Hu et al., 2021), and `trainable: all` trains everything from pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.component import Columns, Objective
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import named_component, task
from pairwright.components.training.batch import Batch, own_names
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.dual_encoders.encoder import DualEncoder
    from pairwright.components.pretrain.towers_in_training import TowersInTraining


@task("dual_encoder")
class FitDualEncoder(Task[DualEncoderSettings]):
    """Writes config.json, model.safetensors, tokenizer files, card.md and metrics.jsonl (a line a step)."""

    requires = Columns("image_features", "text_features")
    speaks = ("dual_encoder", "retriever")
    libraries = TOWER_LIBRARIES
    joint = True
    encoder: DualEncoder

    @property
    def moving(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{name}.{prefix}" for name, one in self.objectives.items() for prefix in one.moving)

    @cached_property
    def objectives(self) -> dict[str, Objective[Any]]:
        """The objectives that count, by name."""
        found: dict[str, Objective[Any]] = {}
        for choice in self.settings.objective:
            if choice.weight:
                made = named_component(choice)
                assert isinstance(made, Objective)
                made.towers = self.towers
                found[choice.name] = made
        return found

    @property
    def patches(self) -> bool:
        """Whether an objective looks at the parts of a picture."""
        return any(one.patches for one in self.objectives.values())

    @property
    def captions(self) -> dict[str, float]:
        """Sources of the caption a pair, with their weights; none where no objective looks at it."""
        return self.settings.sources if any(one.captions for one in self.objectives.values()) else {}

    def caption_sources(self) -> tuple[str, ...]:
        own = [source for one in self.objectives.values() for source in one.caption_sources()]
        return tuple(dict.fromkeys((*self.captions, *own)))

    @cached_property
    def towers(self) -> TowersInTraining:
        from pairwright.components.pretrain.towers_in_training import TowersInTraining

        return TowersInTraining(self.settings)

    def column_names(self) -> tuple[str, ...]:
        image = self.towers.image_columns(self.patches) if self.settings.image_from_features else ()
        texts = [self.settings.text_features[s] for s in self.captions] if self.settings.from_features else []
        also = [name for one in self.objectives.values() for name in one.reads().columns]
        return tuple(dict.fromkeys((*image, *texts, *also, *self.settings.order_columns)))

    def reads(self) -> Reads:
        side = self.encoder.image_size if not self.settings.image_from_features else 0
        read = self.towers.reads_image(side, self.patches)
        if self.captions:
            read = read + self.reads_text()
        for one in self.objectives.values():
            read = read + one.reads()
        return read

    def reads_text(self) -> Reads:
        """Of the caption a pair."""
        return self.towers.reads_texts(tuple(self.captions))

    def prepare(self) -> None:
        """Build the towers: what is read depends on them."""
        from pairwright.components.pretrain.build import build_model

        self.encoder = self.towers.model = build_model(self.settings, list(self.objectives.values()), self.device)

    def build(self) -> nn.Module:
        from torch import nn

        for one in self.objectives.values():
            one.population = self.population
        own = {name: modules for name, one in self.objectives.items() if (modules := one.modules()) is not None}
        return nn.ModuleDict({"encoder": self.encoder, **own}) if own else self.encoder

    def start_from(self, folder: Path) -> None:
        from pairwright.components.training.start import load_weights

        load_weights(self.encoder, folder)
        for one in self.objectives.values():
            one.after_start()

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        fields = {"image": self.towers.collate_image(examples), "groups": torch.from_numpy(examples.groups)}
        if self.patches and self.settings.image_from_features:
            fields["image_patches"] = self.towers.collate_patches(examples)
        if self.captions:
            fields |= self.collate_text(examples)
        for name, one in self.objectives.items():
            fields |= {f"{name}.{field}": value for field, value in one.collate(examples).items()}
        return fields

    def collate_text(self, examples: Examples) -> Mapping[str, Any]:
        """`text`, and whatever else is known of it."""
        return {"text": self.towers.collate_captions(examples, self.captions)}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        outputs = {}
        if self.patches:
            outputs["image"], patches = self.towers.embed_with_patches(batch)
            batch = batch.beside(patches=patches)
        else:
            outputs["image"] = self.towers.embed_image(batch["image"])
        if self.captions:
            outputs["text"] = self.towers.embed_text(batch["text"])
        for name, one in self.objectives.items():
            outputs |= {f"{name}.{output}": value for output, value in one.encode(batch.of(name)).items()}
        return outputs

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        model = self.encoder
        said: dict[str, Any] = {**outputs, "scale": model.scale, "bias": model.logit_bias}
        found = {name: one.losses(own_names(said, name), batch.of(name)) for name, one in self.objectives.items()}
        weights = {choice.name: choice.weight for choice in self.settings.objective}
        if len(found) == 1:
            [(name, named)] = found.items()
            named = {**named, "loss": named["loss"] * weights[name]} if weights[name] != 1 else named
        else:
            named = {f"{name}.{part}": value for name, parts in found.items() for part, value in parts.items()}
            named["loss"] = sum(weights[name] * parts["loss"] for name, parts in found.items())  # type: ignore[assignment]
        return {**named, "logit_scale": model.scale}

    def after_step(self, seen: Seen) -> None:
        self.encoder.clamp_scale()
        for name, one in self.objectives.items():
            one.after_step(replace(seen, values=own_names(seen.values, name)))

    def after_epoch(self, epoch: int) -> None:
        for one in self.objectives.values():
            one.after_epoch(epoch)

    def state_dict(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value for name, one in self.objectives.items() for key, value in one.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, one in self.objectives.items():
            prefix = f"{name}."
            one.load_state_dict(
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            )

    def save(self, folder: Path, trained: Trained) -> None:
        from pairwright.components.models.lora import merge, save_adapter
        from pairwright.components.pretrain.card import model_card

        if self.settings.trainable == "lora":
            save_adapter(self.encoder, folder)
            merge(self.encoder)  # the folder's weights are plain layers, adapters folded in
        self.encoder.save(folder, model_card(self.settings, trained))
