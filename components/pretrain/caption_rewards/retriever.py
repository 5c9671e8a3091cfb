"""Rewards that ask a frozen dual encoder: pictures by their features, captions by its text tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import Field

from pairwright.components.component import Reward
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import TOWER_LIBRARIES, feature_width
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.models.dual_encoders.encoder import DualEncoder


class RetrieverSettings(Settings):
    model: ModelFolder = Field(description="dual encoder, which stays as it is")
    features: str = Field("image_features.vector", description="step.column of features by its image tower")
    prefix: str = Field("", description="what a caption is said after, to the text tower")


R = TypeVar("R", bound=RetrieverSettings)


class RetrieverReward(Reward[R]):
    """What is asked of it is in the subclass.

    Attributes:
        encoder: the retriever, there after `modules`.
    """

    libraries = TOWER_LIBRARIES
    encoder: DualEncoder

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.features,))

    def modules(self) -> nn.Module | None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        wish = self.settings
        width, needed = self.population.width(wish.features), feature_width(wish.model)
        if width != needed:
            raise ModelError(
                f"{self.name}: {wish.features} has {width} numbers a picture, {wish.model.reference} reads {needed}; "
                "name features of its image tower"
            )
        self.encoder = load_dual_encoder(wish.model, str(self.device))
        return self.encoder

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        return {"features": torch.from_numpy(np.asarray(examples.column(self.settings.features), np.float32))}

    def pictures(self, features: Tensor) -> Tensor:
        """(n, width) features -> (n, d) unit vectors."""
        return self.encoder.encode_image_features(features)

    def captions(self, captions: Sequence[Sequence[str]]) -> Tensor:
        """n lists of C captions -> (n, C, d) unit vectors; each text is encoded once."""
        import torch

        flat = [f"{self.settings.prefix} {text}".strip() for row in captions for text in row]
        own = {text: at for at, text in enumerate(dict.fromkeys(flat))}
        vectors = self.encoder.encode_text(list(own))
        rows = torch.tensor([own[text] for text in flat], device=vectors.device)
        return vectors[rows].view(len(captions), -1, vectors.shape[1])
