"""A dual encoder: pictures and texts into one space of unit vectors, and its folder.

    model = load_dual_encoder("workspace/models/…")
    model.encode_text(["a red square"]) @ model.encode_image([picture]).T     # cosines

A folder holds `config.json`, `model.safetensors`, locked towers in `image_tower.safetensors` and
`text_tower.safetensors` (so nothing else is needed), `tokenizer.json` and `card.md`; never a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.encoder import CARD, CONFIG, WEIGHTS, DualEncoder
from pairwright.components.models.dual_encoders.heads import INITIAL_SCALE, Projection, as_features
from pairwright.components.models.dual_encoders.transformers_encoder import load_transformers_encoder
from pairwright.components.models.formats import model_format
from pairwright.components.models.resolve import ENCODER_FORMAT as FORMAT
from pairwright.components.models.towers.pixels import squash
from pairwright.components.models.towers.tower import ImageTower, TextTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower
from pairwright.components.settings import ModelFolder

FORMAT_VERSION = 2  # 1 had every tower within model.safetensors


class TwoTower(DualEncoder):
    """An image tower, a text tower and a projection on each."""

    def __init__(
        self, image_tower: ImageTower, text_tower: TextTower, dim: int, *, seed: int = 0, bias: float | None = None
    ) -> None:
        super().__init__()
        self.dim, self.image_size, self.crops = dim, image_tower.side, image_tower.crops
        self.image_tower, self.text_tower = image_tower, text_tower
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_projection = Projection(image_tower.width, dim)
            self.text_projection = Projection(text_tower.width, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    @property
    def image_key(self) -> str | None:  # type: ignore[override]
        return self.image_tower.weights

    @property
    def text_key(self) -> str | None:  # type: ignore[override]
        return self.text_tower.weights

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self.image_tower.features(images)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return self.text_tower.features(texts)

    def project_image(self, features: Any) -> Tensor:
        projected: Tensor = self.image_projection(as_features(features).to(self.device))
        return projected

    def project_text(self, features: Any) -> Tensor:
        projected: Tensor = self.text_projection(as_features(features).to(self.device))
        return projected

    def embed_pixels(self, images: Tensor) -> Tensor:
        return self.project_image(self.image_tower(images))

    def embed_with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        whole, patches = self.image_tower.with_patches(images)
        return self.project_image(whole), self.project_image(patches)

    def embed_tokens(self, tokens: dict[str, Tensor]) -> Tensor:
        return self.project_text(self.text_tower(**tokens))

    def pixels(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return squash(images, self.image_tower.side)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self.text_tower.tokens(texts)

    def save(self, folder: str | Path, card: str = "") -> None:
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dim": self.dim,
            "logit_bias": self.logit_bias is not None,
        }
        own = {name: value for name, value in self.state_dict().items() if "_tower." not in name}
        for side, tower in (("image_tower", self.image_tower), ("text_tower", self.text_tower)):
            config[side], within = save_tower(tower, side, root)
            own |= within
        tensors = {name: own[name].detach().cpu().contiguous() for name in sorted(own)}
        save_file(tensors, root / WEIGHTS, metadata={"format": "pt"})
        (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self.text_tower.save_tokenizer(root)
        (root / CARD).write_text(card or self.card or "# Dual encoder\n", encoding="utf-8")


@model_format("pairwright-dual-encoder", "clip", "siglip", "siglip2", speaks=("dual_encoder", "retriever"))
def load_dual_encoder(folder: str | Path | ModelFolder, device: str = "cpu") -> DualEncoder:
    """The model in a folder of ours, or in a `transformers` CLIP or SigLIP folder, ready to encode.

    Locked towers are shared by every model of the process that has the same.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no dual encoder.
    """
    root = Path(str(folder.path) if isinstance(folder, ModelFolder) else folder)
    try:
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{root} is no model folder ({error}); name one that `pairwright run` made") from None
    if config.get("format") != FORMAT:
        return load_transformers_encoder(root, device)
    if config["format_version"] > FORMAT_VERSION:
        raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
    try:
        return _load_two_tower(root, config, device)
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        problem = str(error).splitlines()[-1].strip()  # torch lists every tensor that does not fit
        raise ModelError(f"{root} is damaged ({problem}); restore the folder or train it again") from None


def _load_two_tower(root: Path, config: dict[str, Any], device: str) -> TwoTower:
    with safe_open(root / WEIGHTS, framework="pt") as file:

        def part(side: str) -> dict[str, Tensor]:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(f"{side}.")}  # noqa: SIM118

        def tower(side: str) -> Any:
            return load_saved_tower(config[side], side, root, device, lambda: part(side))

        bias = 0.0 if config["logit_bias"] else None
        model = TwoTower(tower("image_tower"), tower("text_tower"), config["dim"], bias=bias)
        own = {name: file.get_tensor(name) for name in file.keys() if "_tower." not in name}  # noqa: SIM118
    lacking = model.load_state_dict(own, strict=False)
    absent = [name for name in lacking.missing_keys if "_tower." not in name]
    if absent or lacking.unexpected_keys:
        raise KeyError((absent + lacking.unexpected_keys)[0])
    model.card = (root / CARD).read_text(encoding="utf-8") if (root / CARD).exists() else ""
    return model.to(device).eval().requires_grad_(False)
