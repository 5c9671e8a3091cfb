"""How a dual encoder in training reads pairs: cached features of locked towers, or pictures and tokens.

One face for both, so that an objective that wants further texts or the patches of a picture is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import ImageWish, Reads
from pairwright.components.errors import InvalidRecipe
from pairwright.components.pretrain.settings import DualEncoderSettings

if TYPE_CHECKING:
    from pairwright.components.models.dual_encoders.encoder import DualEncoder


class TowersInTraining:
    """Reads, collates and embeds both sides.

    Attributes:
        model: the dual encoder being trained.
    """

    model: DualEncoder

    def __init__(self, settings: DualEncoderSettings) -> None:
        self.settings = settings

    # -- what is read --------------------------------------------------------------------------

    def image_columns(self, patches: bool = False) -> tuple[str, ...]:
        """Columns of the locked image tower's features, and of its patches if they are asked for.

        Raises:
            InvalidRecipe: there is no column of patches.
        """
        wish = self.settings
        if patches and wish.patch_features is None:
            raise InvalidRecipe("patches of a locked image tower are asked for; add patch_features: STEP.vector")
        return (wish.image_features, *([wish.patch_features] if patches and wish.patch_features else []))

    def reads_image(self, side: int, patches: bool = False) -> Reads:
        if self.settings.image_from_features:
            return Reads(columns=self.image_columns(patches))
        return Reads(media={"image": ImageWish(side, self.settings.crop, self.settings.flip)})

    def reads_texts(self, sources: Sequence[str], *, every: bool = False) -> Reads:
        """Texts of these sources; one of them is enough unless `every` is needed.

        Raises:
            InvalidRecipe: training is from features, and a source has no column of them.
        """
        if not self.settings.from_features:
            return Reads(texts=tuple(sources), any_of=() if every else (tuple(sources),))
        columns = tuple(self.column_of(source) for source in sources)
        return Reads(columns=columns, any_of=() if every else (columns,))

    def column_of(self, source: str) -> str:
        """The column of a source's text features."""
        if source not in self.settings.text_features:
            raise InvalidRecipe(
                f'the text features of "{source}" are asked for; add text_features: {{{source}: STEP.vector}}'
            )
        return self.settings.text_features[source]

    # -- collating, in the loader's threads ----------------------------------------------------

    def collate_image(self, examples: Examples) -> Tensor:
        """Features (n, width) or pictures uint8 (n, side, side, 3)."""
        if self.settings.image_from_features:
            return torch.from_numpy(examples.column(self.settings.image_features))
        return torch.from_numpy(np.ascontiguousarray(self.model.pixels(examples.media("image"))))

    def collate_patches(self, examples: Examples) -> Tensor:
        """The locked tower's patches, (n, P * width)."""
        assert self.settings.patch_features is not None
        return torch.from_numpy(examples.column(self.settings.patch_features))

    def collate_captions(self, examples: Examples, weights: Mapping[str, float]) -> Any:
        """One text a pair, its source another each epoch (`mix`): features (n, width), or tokens."""
        if not self.settings.from_features:
            return self.tokens(examples.captions(weights, self.settings.mix))
        columns = {source: self.column_of(source) for source in weights}
        known = {source: examples.known(name) for source, name in columns.items()}
        chosen = examples.drawn_sources(weights, known, self.settings.mix)
        features = [examples.column(name) for name in columns.values()]
        text = features[0].copy() if len(features) > 1 else features[0]
        for index, found in enumerate(features[1:], 1):
            text[chosen == index] = found[chosen == index]
        return torch.from_numpy(text)

    def collate_texts(self, examples: Examples, texts: Sequence[str]) -> Any:
        """A text of each of these sources for every pair: features (n, K, width), or tokens (n, K, length)."""
        if self.settings.from_features:
            return torch.from_numpy(np.stack([examples.column(self.column_of(source)) for source in texts], 1))
        sides = [examples.texts(source) for source in texts]
        return self.tokens_of([[side[row] for side in sides] for row in range(len(examples))])

    def tokens_of(self, rows: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """K texts of each pair, as `embed_texts` takes them: tokens (n, K, length)."""
        flat = [text for row in rows for text in row]
        return {name: value.unflatten(0, (len(rows), len(rows[0]))) for name, value in self.tokens(flat).items()}

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self.model.tokens(texts).items()}

    # -- embedding -----------------------------------------------------------------------------

    def embed_image(self, value: Tensor) -> Tensor:
        """What `collate_image` gave -> (n, d) unit vectors."""
        return self.model.project_image(value) if self.settings.image_from_features else self.model.embed_pixels(value)

    def embed_with_patches(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (n, d) and of their patches (n, P, d), by one pass."""
        if not self.settings.image_from_features:
            return self.model.embed_with_patches(batch["image"])
        patches = batch["image_patches"].unflatten(1, (-1, batch["image"].shape[1]))
        return self.model.project_image(batch["image"]), self.model.project_image(patches)

    def embed_text(self, value: Any) -> Tensor:
        """What `collate_captions` gave -> (n, d) unit vectors."""
        return self.model.project_text(value) if self.settings.from_features else self.model.embed_tokens(value)

    def embed_texts(self, value: Any) -> Tensor:
        """What `collate_texts` gave -> (n, K, d) unit vectors."""
        if self.settings.from_features:
            return self.model.project_text(value.flatten(0, 1)).unflatten(0, value.shape[:2])
        rows = next(iter(value.values())).shape[:2]
        return self.model.embed_tokens({name: part.flatten(0, 1) for name, part in value.items()}).unflatten(0, rows)
