"""A small captioner with a codebook between encoder and decoder, on a locked tower's features (TL;DR).

    model = load_codebook("workspace/models/…")
    codes, vectors, _ = model.encode(features)      # (n, positions) int64, (n, positions * code_width)
    model.generate(features)                        # captions, greedily

Wang et al., 2023, "Too Large; Data Reduction", first stage: an encoder's output is replaced by its nearest
codes, and a decoder must say the caption from the codes alone, so that pictures of one code are of one
kind. Here the encoder is two layers on one pooled vector a picture (the paper quantises the patches of a
ViT), and the decoder a small autoregressive transformer that attends to the `positions` codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.model_folder import FolderFormat, damage_named
from pairwright.components.models.vector_quantizer import VectorQuantizer
from pairwright.components.models.words import END, PAD, START, UNKNOWN, text_of, tokens_of

FORMAT = FolderFormat("pairwright-codebook", 1, "codebook", "`codebook` fitted")
VOCABULARY = "vocabulary.txt"
BLOCK = 512  # pictures encoded or captioned at once


@dataclass(frozen=True)
class CodebookShape:
    """Sizes: features in, `positions` codes of `code_width` numbers out of `codes`, a decoder of `width`."""

    features: int
    codes: int = 256
    positions: int = 8
    code_width: int = 32
    hidden: int = 512
    width: int = 128
    layers: int = 2
    heads: int = 4
    max_words: int = 16


class Codebook(nn.Module):
    """Encoder, quantizer, decoder; `words` is the vocabulary by number, the special tokens first."""

    def __init__(self, shape: CodebookShape, words: Sequence[str]) -> None:
        super().__init__()
        self.shape, self.words = shape, list(words)
        self.number = {word: i for i, word in enumerate(self.words)}
        self.encoder = nn.Sequential(
            nn.LayerNorm(shape.features),
            nn.Linear(shape.features, shape.hidden),
            nn.GELU(),
            nn.Linear(shape.hidden, shape.positions * shape.code_width),
        )
        self.quantizer = VectorQuantizer(shape.codes, shape.code_width)
        self.into = nn.Linear(shape.code_width, shape.width)
        self.place = nn.Parameter(torch.randn(shape.positions, shape.width) * 0.02)
        self.embed = nn.Embedding(len(self.words), shape.width)
        self.time = nn.Parameter(torch.randn(shape.max_words + 1, shape.width) * 0.02)
        layer = nn.TransformerDecoderLayer(
            shape.width, shape.heads, 4 * shape.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, shape.layers, norm=nn.LayerNorm(shape.width))
        nn.init.normal_(self.embed.weight, std=0.02)

    def latents(self, features: Tensor) -> Tensor:
        """(n, features) -> z (n, positions, code_width), each of unit norm, before quantisation."""
        z = self.encoder(features.float()).reshape(len(features), self.shape.positions, self.shape.code_width)
        return F.normalize(z, dim=-1)

    def logits(self, quantised: Tensor, tokens: Tensor) -> Tensor:
        """Codes' vectors (n, positions, code_width) and tokens so far (n, t) -> next-token logits (n, t, words)."""
        memory = self.into(quantised) + self.place
        length = tokens.shape[1]
        ahead = torch.ones((length, length), dtype=torch.bool, device=tokens.device).triu(1)
        said = self.embed(tokens) + self.time[:length]
        out = self.decoder(said, memory, tgt_mask=ahead, tgt_is_causal=True)
        logits: Tensor = out @ self.embed.weight.T
        return logits

    def losses(self, z: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of latents z: mean nats a word of the captions, commitment loss, codes; tokens as `tokens_of` gives them."""
        quantised, codes, commitment = self.quantizer(z)
        logits = self.logits(quantised, tokens[:, :-1])
        caption = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
        return caption, commitment, codes

    def loss(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Mean nats a word of these captions, said from these pictures' codes."""
        return self.losses(self.latents(features), tokens)[0]

    @staticmethod
    def words_in(tokens: Tensor) -> float:
        """How many words and ends are to be said."""
        return float((tokens[:, 1:] != PAD).sum())

    @torch.no_grad()
    def encode(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, features) -> codes (n, positions), their vectors end to end, mean squared distance to them (n,)."""
        z = self.latents(features)
        codes = self.quantizer.nearest(z)
        chosen = self.quantizer.book[codes]
        return codes, chosen.flatten(1), (z - chosen).square().sum(-1).mean(-1)

    @torch.no_grad()
    def generate(self, features: Tensor) -> list[str]:
        """A caption of each picture, greedily, from its codes alone; no word twice running."""
        codes, _, _ = self.encode(features)
        quantised = self.quantizer.book[codes]
        tokens = torch.full((len(features), 1), START, device=features.device)
        for _ in range(self.shape.max_words):
            logits = self.logits(quantised, tokens)[:, -1]
            logits[:, [PAD, START, UNKNOWN]] = -torch.inf
            logits.scatter_(1, tokens[:, -1:], -torch.inf)
            ended = (tokens == END).any(1)
            step = torch.where(ended, torch.full_like(logits.argmax(1), END), logits.argmax(1))
            tokens = torch.cat([tokens, step[:, None]], dim=1)
            if bool((step == END).all()):
                break
        return [text_of(row, self.words) for row in tokens.tolist()]

    def tokens_of(self, captions: Sequence[str]) -> Tensor:
        """(n, at most max_words + 2) int64: start, words, end, padding."""
        return tokens_of(captions, self.number, self.shape.max_words)

    def save(self, folder: Path, card: str) -> None:
        """Write config.json, model.safetensors, vocabulary.txt and card.md; the same weights, the same bytes."""
        FORMAT.write(folder, asdict(self.shape), self.state_dict(), card)
        (folder / VOCABULARY).write_text("\n".join(self.words) + "\n", encoding="utf-8")


def load_codebook(folder: str | Path, device: str = "cpu") -> Codebook:
    """The model in a folder, ready to encode and to caption.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no codebook.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        words = (root / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1]
        model = Codebook(CodebookShape(**config), words)
        model.load_state_dict(tensors)
    return model.to(device).eval().requires_grad_(False)
