"""A small picture from a text: 16 x 16 pixels, by one query a patch that looks at the words.

    model = load_picture_decoder(folder)
    model.draw(["a red dog to the left of a blue cat"])              # float32 (1, 16, 16, 3) in [0, 1]

No generator to be proud of: the least that can place a colour where a text says it is, so that what captions teach a
text-to-picture model can be tried in seconds. It draws the mean of what its text leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.models.captioner.tokens import WordTokens, read_words
from pairwright.components.models.formats import model_format
from pairwright.components.models.model_folder import FolderFormat, damage_named
from pairwright.components.models.words import PAD

FORMAT = FolderFormat("pairwright-picture-decoder", 1, "picture decoder", "`text_to_picture` trained")
AT_ONCE = 256  # pictures drawn


class PictureDecoder(nn.Module):
    """Words -> (side, side, 3), patch by patch.

    Attributes:
        longest: words of a text that are read. side: of its pictures, in pixels, a multiple of `patch`.
    """

    def __init__(
        self, words: Sequence[str], longest: int, width: int, layers: int, heads: int, side: int = 16, patch: int = 4
    ) -> None:
        super().__init__()
        self.tokens, self.longest = WordTokens(words), longest
        self.width, self.heads, self.side, self.patch = width, heads, side, patch
        self.words = nn.Embedding(len(words), width)
        self.place = nn.Parameter(0.02 * torch.randn(longest + 2, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.queries = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))
        self.look = nn.MultiheadAttention(width, heads, batch_first=True)
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 3 * patch**2)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 (n, t), padded behind the end -> (n, side, side, 3) in (0, 1)."""
        x, none = self.words(tokens) + self.place[: tokens.shape[1]], tokens == PAD
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=none)
        asked = self.queries.expand(len(tokens), -1, -1)
        seen, _ = self.look(asked, x, x, key_padding_mask=none, need_weights=False)
        rows = self.side // self.patch
        patches = self.out(seen + asked).view(-1, rows, rows, self.patch, self.patch, 3)
        found: Tensor = patches.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.side, self.side, 3).sigmoid()
        return found

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, t) tokens, as `forward` takes them."""
        return self.tokens.encode(texts, self.longest)

    @torch.no_grad()
    def draw(self, texts: Sequence[str]) -> np.ndarray:
        """A picture a text: float32 (n, side, side, 3) in [0, 1]."""
        device = self.place.device
        blocks = [
            self(self.encode(texts[at : at + AT_ONCE]).to(device)).float().cpu().numpy()
            for at in range(0, len(texts), AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.side, self.side, 3), np.float32)


def save_picture_decoder(model: PictureDecoder, folder: Path, card: str) -> None:
    """Write the model's folder."""
    sizes = {"longest": model.longest, "width": model.width, "layers": len(model.layers), "heads": model.heads}
    FORMAT.write(folder, sizes | {"side": model.side, "patch": model.patch}, model.state_dict(), card)
    model.tokens.save(folder)


@model_format("pairwright-picture-decoder", speaks=("picture_decoder",))
def load_picture_decoder(folder: str | Path, device: str = "cpu") -> PictureDecoder:
    """The model in a folder, ready to draw.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no picture decoder.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        model = PictureDecoder(read_words(root).words, **config)
        model.load_state_dict(tensors)
    return model.to(device).eval().requires_grad_(False)
