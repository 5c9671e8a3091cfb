"""Snapshots of one training as one encoder: their embeddings are summed (Merkx & Frank, 2019).

    score(x, y) = <sum_k f_k(x), sum_k g_k(y)>

over the snapshots k that a cyclic learning rate leaves (Huang et al., 2017); weights are not averaged. The sums are
normalised again, as everything here that compares vectors takes unit ones; `sum_of_images` and `sum_of_texts` are
the sums. One image tower serves all, locked; a snapshot is whatever was trained beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower, load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import CARD, CONFIG, WEIGHTS, DualEncoder
from pairwright.components.models.dual_encoders.heads import as_features
from pairwright.components.models.formats import model_format

FORMAT, FORMAT_VERSION = "pairwright-snapshot-ensemble", 1
BASE = "base"  # the dual encoder it grew from, which holds the locked tower and the tokenizer's files


class SnapshotEnsemble(DualEncoder):
    """Members that differ in what was trained; text features are the members' side by side.

    Args:
        base: a dual encoder with a locked image tower.
        snapshots: weights of what was trained, by parameter name, one mapping a member.
    """

    def __init__(self, base: TwoTower, snapshots: Sequence[dict[str, Tensor]]) -> None:
        super().__init__()
        if base.image_tower.weights is None:
            raise ModelError("an ensemble of snapshots shares its image tower, which must be locked")
        self.dim, self.image_size, self.card = base.dim, base.image_size, base.card
        self.members = nn.ModuleList(_member(base, weights) for weights in snapshots)
        self.log_scale, self.logit_bias = base.log_scale, None

    @property
    def image_key(self) -> str | None:  # type: ignore[override]
        return self._first.image_key

    @property
    def _first(self) -> TwoTower:
        first = self.members[0]
        assert isinstance(first, TwoTower)
        return first

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self._first.image_features(images)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.cat([one.text_features(texts) for one in self._each()], 1)

    def sum_of_images(self, features: Any) -> Tensor:
        """(n, width) -> (n, dim), the members' unit vectors summed."""
        found: Tensor = sum(one.project_image(features) for one in self._each())  # type: ignore[assignment]
        return found

    def sum_of_texts(self, features: Any) -> Tensor:
        """(n, members * width) -> (n, dim), the members' unit vectors summed."""
        parts = as_features(features).chunk(len(self.members), 1)
        found: Tensor = sum(one.project_text(part) for one, part in zip(self._each(), parts, strict=True))  # type: ignore[assignment]
        return found

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(self.sum_of_images(features), dim=-1)

    def project_text(self, features: Any) -> Tensor:
        return F.normalize(self.sum_of_texts(features), dim=-1)

    def embed_pixels(self, images: Tensor) -> Tensor:
        return self.project_image(self._first.image_tower(images))

    def embed_tokens(self, tokens: dict[str, Tensor]) -> Tensor:
        return self.project_text(torch.cat([one.text_tower(**tokens) for one in self._each()], 1))

    def pixels(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return self._first.pixels(images)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self._first.tokens(texts)

    def save(self, folder: str | Path, card: str = "") -> None:
        save_ensemble(folder, self._first, [_own(one) for one in self._each()], card or self.card)

    def _each(self) -> list[TwoTower]:
        return [one for one in self.members if isinstance(one, TwoTower)]


def save_ensemble(folder: str | Path, base: TwoTower, snapshots: Sequence[dict[str, Tensor]], card: str = "") -> None:
    """What each snapshot has in place of the base's, and under `base` a dual encoder's folder, whole by itself."""
    root = Path(folder)
    base.save(root / BASE, card)
    config = {"format": FORMAT, "format_version": FORMAT_VERSION, "dim": base.dim, "members": len(snapshots)}
    (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    tensors = {f"{k}.{name}": value for k, one in enumerate(snapshots) for name, value in sorted(one.items())}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, root / WEIGHTS)
    (root / CARD).write_text(card or base.card or "# Ensemble of snapshots\n", encoding="utf-8")


@model_format("pairwright-snapshot-ensemble", speaks=("dual_encoder",))
def load_snapshot_ensemble(folder: str | Path, device: str = "cpu") -> SnapshotEnsemble:
    """The ensemble in a folder, ready to encode.

    Raises:
        ModelError: the folder is missing, damaged or of a newer release.
    """
    root = Path(folder)
    base = load_dual_encoder(root / BASE, device)
    try:
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config["format_version"] > FORMAT_VERSION:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        members, tensors = config["members"], load_file(root / WEIGHTS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{root} is damaged ({error}); restore the folder or train it again") from None
    assert isinstance(base, TwoTower)
    snapshots = [
        {name.removeprefix(f"{k}."): value for name, value in tensors.items() if name.startswith(f"{k}.")}
        for k in range(members)
    ]
    return SnapshotEnsemble(base, snapshots).to(device).eval().requires_grad_(False)


def _member(base: TwoTower, weights: dict[str, Tensor]) -> TwoTower:
    """The base with a snapshot's weights; the image tower is the base's own."""
    tower = base.image_tower
    member = deepcopy(base, {id(tower): tower})
    unknown = member.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise ModelError(f"a snapshot holds {unknown[0]}, which the model has not; train it again")
    return member


def _own(member: TwoTower) -> dict[str, Tensor]:
    return {name: value for name, value in member.state_dict().items() if not name.startswith("image_tower.")}
