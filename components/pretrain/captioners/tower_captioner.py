r"""Tower captioner: the task `captioner`, shown pictures by a vision tower that is tuned from a block on.

    tuned:
      uses: tower_captioner
      with: {tower: ./clip-vit-large-patch14-336, layer: -2, source: strong, lr: 2.0e-5,
             freeze: ['tower.*layers\.([0-9]|1[01])\.']}    # blocks 0 to 11

ShareGPT4V (Chen et al., 2023) tunes the later half of the tower's blocks (12 and up of 24), since strong captions say
what a tower taught by alt-text never had to see; it reads layer -2 (models/captioner/vision_tower.py), so the last
block is tuned by nothing. What no gradient reaches is frozen here, and proven so. Its `features` are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import ImageWish, Reads
from pairwright.components.pretrain.captioners.captioner import MEASURED, CaptionerSettings, Captioning, nats_of
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.task import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.prefix import Part


class TowerCaptionerSettings(CaptionerSettings):
    tower: ModelFolder = Field(description="a transformers CLIP, SigLIP or ViT; of a dual encoder its vision side")
    layer: int = Field(-2, description="whose states are the patches: -1 the last block's, 0 what goes into the first")
    prefix: int = Field(1, ge=1, le=64, description="tokens a patch")
    crop: bool = Field(False, description="pictures cropped at random")
    flip: bool = Field(False, description="pictures mirrored at random; captions that say left and right are not")


@task("tower_captioner")
class TowerCaptionerTask(Captioning[TowerCaptionerSettings]):
    """Writes what the task `captioner` writes, and the tower in `tower/`. Metric: `nats_per_word`, as there."""

    requires = Captions("source")
    speaks = ()  # the captioner's loader knows towers by their columns alone; the step `tower_captioner` captions by it

    def prepare(self) -> None:
        from pairwright.components.models.captioner.vision_tower import load_vision_tower

        wish = self.settings
        assert wish.tower.path is not None
        self.tower = load_vision_tower(wish.tower.path, wish.layer, wish.seed)

    def reads(self) -> Reads:
        wish = self.settings
        return Reads({"image": ImageWish(self.tower.side, wish.crop, wish.flip)}, texts=(wish.source,))

    def parts(self) -> list[Part]:
        from pairwright.components.models.captioner.prefix import Part

        return [Part("image", "vector", self.tower.width, self.settings.prefix, most=self.tower.patches)]

    def build(self) -> Any:
        from pairwright.components.models.captioner.tower_captioner import TowerCaptioner

        model = TowerCaptioner(self.tower.requires_grad_(True), super().build())
        unreached = set(self.tower.unreached())
        for name, parameter in self.tower.named_parameters():
            parameter.requires_grad_(name not in unreached)
        return model

    def start_from(self, folder: Path) -> None:
        from pairwright.components.models.captioner.folder import start_captioner
        from pairwright.components.models.captioner.tower_captioner import TOWER
        from pairwright.components.training.start import load_weights

        start_captioner(self.model.captioner, folder)
        if (folder / TOWER).exists():
            load_weights(self.model.tower.net, folder / TOWER)

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        pixels = torch.from_numpy(self.tower.squashed(examples.media("image")))
        tokens = self.model.tokens.encode(examples.texts(self.settings.source), self.model.longest)
        return {"pixels": pixels, "tokens": tokens}

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"logits": self.model.logits({"image": self.model.tower(batch["pixels"])}, batch["tokens"][:, :-1])}

    def measured(self) -> dict[str, float]:
        nats = words = 0.0
        for examples in spread(self.population, MEASURED):
            tokens = self.model.tokens.encode(examples.texts(self.settings.source), self.model.longest)
            nats += float(nats_of(self.model, {"image": self.model.shown(examples.media("image"))}, tokens).sum())
            words += float(self.model.counted(tokens).sum())
        return {"nats_per_word": nats / max(words, 1.0)}

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.captioner.tower_captioner import save_tower_captioner

        found = self.measured()
        save_tower_captioner(self.model, folder, self.card(found, trained))
        return found
