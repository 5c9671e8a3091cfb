"""A grammar head: how probably a text is a caption as people write them, by features of a locked text tower.

    model = load_grammar("workspace/models/…")
    model.probability(["a red boat", "boat boat a red boat"])       # (2,), in [0, 1]

Two layers on the text encoder's features, as CLIP Reward has it (Cho et al., 2022). What the tower's features do not
tell apart, no head on them does: a mean over words says little of their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from pairwright.components.models.dual_encoders.heads import as_features
from pairwright.components.models.model_folder import FolderFormat, damage_named
from pairwright.components.models.towers.tower import TextTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower

FORMAT = FolderFormat("pairwright-grammar", 1, "grammar head", "`grammar_head` trained")
TOWER, AT_ONCE = "text_tower", 256  # texts


class GrammarModel(nn.Module):
    """A locked text tower, and a perceptron whose output is the logit of "grammatical"."""

    def __init__(self, tower: TextTower, hidden: int = 512) -> None:
        super().__init__()
        self.hidden = hidden
        self._tower = [tower]  # in a list, so that its weights are not this model's parameters
        self.head = nn.Sequential(
            nn.LayerNorm(tower.width), nn.Linear(tower.width, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    @property
    def tower(self) -> TextTower:
        return self._tower[0]

    @torch.no_grad()
    def features(self, texts: Sequence[str]) -> Tensor:
        """(n, width) by the locked tower."""
        parts = [as_features(self.tower.features(texts[at : at + AT_ONCE])) for at in range(0, len(texts), AT_ONCE)]
        return torch.cat(parts) if parts else torch.zeros((0, self.tower.width))

    def forward(self, features: Tensor) -> Tensor:
        """(n, width) -> logits (n,)."""
        logits: Tensor = self.head(features.float()).squeeze(1)
        return logits

    @torch.no_grad()
    def probability(self, texts: Sequence[str]) -> Tensor:
        """(n,) on the head's device."""
        return self(self.features(texts).to(next(self.head.parameters()).device)).sigmoid()


def save_grammar(model: GrammarModel, folder: Path, card: str) -> None:
    """Write the model's folder, the tower included."""
    folder.mkdir(parents=True, exist_ok=True)
    entry, within = save_tower(model.tower, TOWER, folder)
    FORMAT.write(folder, {"hidden": model.hidden, TOWER: entry}, dict(model.state_dict()) | within, card)
    model.tower.save_tokenizer(folder)


def load_grammar(folder: str | Path, device: str = "cpu") -> GrammarModel:
    """The model in a folder, ready to judge.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no grammar head.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        tower = cast(TextTower, load_saved_tower(config[TOWER], TOWER, root, device, lambda: tensors))
        model = GrammarModel(tower, config["hidden"])
        model.load_state_dict({name: value for name, value in tensors.items() if name.startswith("head.")})
    return model.to(device).eval().requires_grad_(False)
