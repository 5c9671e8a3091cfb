"""Vocabulary-space encoder (VDR): a picture and a text are weights, none below 0, over the words of a vocabulary.

    model = load_vocabulary_encoder("workspace/models/…")
    index = model.index(pictures)                          # an inverted index: word -> pictures
    numbers, scores = model.search(index, 10, texts=["a red square"])
    model.words_of(model.encode_text(["a red square"]))    # [[("square", 0.4), ("red", 0.3), …]]

Zhou et al., 2024, "Retrieval-based Disentangled Representation Learning with Natural Language Supervision", as the
authors' code has it across modalities: logits by a language-model head, max over places, elu + 1, L2, and then a mask
that keeps the k largest and, of a text, its own words. The score is a dot product, a sum over words.

Smaller here: towers are locked and give one vector, so the head maps it to a few places where theirs has tokens and
patches; the vocabulary is of the training captions' words. Its embedding starts as the text tower's own vectors of
these words and is shared by both sides, as BERT's head shares its input's.
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
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE
from pairwright.components.models.dual_encoders.heads import INITIAL_SCALE, as_features
from pairwright.components.models.dual_encoders.inverted_index import InvertedIndex, SparseRows
from pairwright.components.models.formats import model_format
from pairwright.components.models.towers.tower import ImageTower, TextTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower
from pairwright.components.models.words import words_of

FORMAT, FORMAT_VERSION = "pairwright-vocabulary-encoder", 1
CONFIG, WEIGHTS, CARD, VOCABULARY = "config.json", "model.safetensors", "card.md", "vocabulary.txt"
AT_ONCE = 256  # pictures or texts whose weights over the whole vocabulary are in memory


class Places(nn.Module):
    """(n, width) features -> (n, places, hidden): what the head reads as tokens or patches."""

    def __init__(self, width: int, places: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.map = nn.LayerNorm(width), nn.Linear(width, places * hidden)
        self.out = nn.LayerNorm(hidden)
        self.places = places

    def forward(self, features: Tensor) -> Tensor:
        mapped: Tensor = self.map(self.norm(features.float())).unflatten(1, (self.places, -1))
        return self.out(mapped)


class VocabularyEncoder(nn.Module):
    """Speaks `dual_encoder` and `retriever` (protocols.py); its vectors are what the mask left of unit vectors.

    Text features are the tower's and, beside them, a bag of the text's own words, 1 for each: (n, width + V).

    Attributes:
        words: the vocabulary. top: k, how many words the mask keeps.
    """

    text_key = None  # a bag of this vocabulary's words is in the text features
    folder_digest: str | None = None
    crops = False

    def __init__(
        self, image_tower: ImageTower, text_tower: TextTower, words: Sequence[str], *, places: int, top: int, seed: int
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower = image_tower, text_tower
        self.words, self.top, self.image_size = list(words), top, image_tower.side
        self.number = {word: i for i, word in enumerate(self.words)}
        hidden = text_tower.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image_places = Places(image_tower.width, places, hidden)
            self.text_places = Places(text_tower.width, places, hidden)
            self.embedding = nn.Parameter(torch.randn(len(self.words), hidden) / math.sqrt(hidden))
        self.bias = nn.Parameter(torch.zeros(len(self.words)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    @torch.no_grad()
    def start_from_words(self) -> None:
        """The embedding as the text tower's vectors of the words, and the text's places as the tower's own space."""
        vectors = self.text_tower.features(self.words).clone()
        spread = (vectors - vectors.mean(0)) / vectors.std(0).clamp(min=1e-6)
        self.embedding.copy_(spread / math.sqrt(spread.shape[1]))
        hidden = self.embedding.shape[1]
        self.text_places.map.weight += torch.eye(hidden, device=self.device).repeat(self.text_places.places, 1)

    @property
    def image_key(self) -> str | None:
        return self.image_tower.weights

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    @property
    def scale(self) -> Tensor:
        """exp(t), clamped at 100."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    # -- weights over the vocabulary ---------------------------------------------------------------

    def dense_image(self, features: Any) -> Tensor:
        """(n, width) features -> (n, V) unit vectors, every entry above 0, with gradient."""
        return self._dense(self.image_places(as_features(features).to(self.device)))

    def dense_text(self, features: Any) -> Tensor:
        """The tower's features (n, width), without the bag -> (n, V) unit vectors, every entry above 0."""
        return self._dense(self.text_places(as_features(features).to(self.device)))

    def _dense(self, places: Tensor) -> Tensor:
        logits = (places @ self.embedding.T + self.bias).amax(1)
        return F.normalize(elu1p(logits), dim=-1)

    def bag(self, texts: Sequence[str]) -> Tensor:
        """Binary bag of words (n, V) float32; no encoder is asked."""
        found = torch.zeros(len(texts), len(self.words))
        for row, text in enumerate(texts):
            found[row, [self.number[word] for word in set(words_of(text)) if word in self.number]] = 1.0
        return found

    # -- protocols -----------------------------------------------------------------------------------

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self.image_tower.features(images)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.cat([self.text_tower.features(texts), self.bag(texts).to(self.device)], dim=1)

    @torch.no_grad()
    def encode_image_features(self, features: Any) -> Tensor:
        parts = [self._masked(self.dense_image(part), None) for part in _parts(features)]
        return torch.cat(parts)

    @torch.no_grad()
    def encode_text_features(self, features: Any) -> Tensor:
        parts, width = [], self.text_tower.width
        for part in _parts(features):
            own = part[:, width:].to(self.device)
            parts.append(self._masked(self.dense_text(part[:, :width]), own))
        return torch.cat(parts)

    def encode_image(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        return self.encode_image_features(self.image_features(images))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.encode_text_features(self.text_features(texts))

    def index(self, images: Sequence[np.ndarray]) -> InvertedIndex:
        """Pictures by word, encoded some at a time: never a dense matrix of them all."""
        parts = [SparseRows.of(self.encode_image(part)) for part in batches(images, AT_ONCE)]
        return InvertedIndex(SparseRows.concatenated(parts))

    def index_of_words(self, texts: Sequence[str]) -> InvertedIndex:
        """Texts by their own words, 1 for each (the paper's binary index): no encoder is asked."""
        parts = [SparseRows.of(self.bag(part)) for part in batches(texts, AT_ONCE)]
        return InvertedIndex(SparseRows.concatenated(parts))

    def search(
        self,
        gallery: InvertedIndex,
        k: int,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Queries of text, picture, or both, whose weights are then added.

        Raises:
            ValueError: neither is given.
        """
        sides = [] if texts is None else [self.encode_text(texts)]
        sides += [] if images is None else [self.encode_image(images)]
        if not sides:
            raise ValueError("a search needs texts or images")
        queries = torch.stack(sides).sum(0)
        numbers, scores = gallery.search(SparseRows.of(queries), k)
        return numbers, scores.astype(np.float32)

    def words_of(self, weights: Tensor, most: int = 10) -> list[list[tuple[str, float]]]:
        """The heaviest words of each vector (n, V), heaviest first."""
        found = weights.topk(min(most, len(self.words)), dim=1)
        rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [[(self.words[i], v) for i, v in zip(*row, strict=True) if v > 0] for row in rows]

    def _masked(self, dense: Tensor, own: Tensor | None) -> Tensor:
        return dense * mask(dense, own, self.top)

    # -- its folder ------------------------------------------------------------------------------------

    def save(self, folder: str | Path, card: str) -> None:
        """Write the model folder. The same weights give the same bytes."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "places": self.text_places.places,
            "top": self.top,
        }
        own = {name: value for name, value in self.state_dict().items() if "_tower." not in name}
        for side, tower in (("image_tower", self.image_tower), ("text_tower", self.text_tower)):
            config[side], within = save_tower(tower, side, root)
            own |= within
        save_file({n: own[n].detach().cpu().contiguous() for n in sorted(own)}, root / WEIGHTS, {"format": "pt"})
        (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (root / VOCABULARY).write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")
        self.text_tower.save_tokenizer(root)
        (root / CARD).write_text(card, encoding="utf-8")


def elu1p(logits: Tensor) -> Tensor:
    """elu(x) + 1 without losing e^x beside 1: x + 1 above 0, e^x below, so it is above 0 where e^x is."""
    return torch.where(logits > 0, logits + 1, logits.clamp(max=0).exp())


def mask(dense: Tensor, own: Tensor | None, top: int) -> Tensor:
    """(n, V) weights -> 1.0 at the `top` largest of each row and at its own words (n, V), 0.0 elsewhere."""
    kept = torch.zeros_like(dense).scatter_(1, dense.detach().topk(min(top, dense.shape[1]), dim=1).indices, 1.0)
    return kept if own is None else torch.maximum(kept, own.to(kept.dtype))


def _parts(features: Any) -> tuple[Tensor, ...]:
    return as_features(features).split(AT_ONCE)


@model_format("pairwright-vocabulary-encoder", speaks=("dual_encoder", "retriever"))
def load_vocabulary_encoder(folder: str | Path, device: str = "cpu") -> VocabularyEncoder:
    """The model in a folder, ready to encode and to search.

    Raises:
        ModelError: the folder is missing, damaged or of a newer release.
    """
    root = Path(folder)
    try:
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config["format_version"] > FORMAT_VERSION:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        words = (root / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1]
        with safe_open(root / WEIGHTS, framework="pt") as file:
            saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        towers = [
            load_saved_tower(config[side], side, root, device, lambda: saved) for side in ("image_tower", "text_tower")
        ]
        model = VocabularyEncoder(towers[0], towers[1], words, places=config["places"], top=config["top"], seed=0)  # type: ignore[arg-type]
        own = {name: value for name, value in saved.items() if "_tower." not in name}
        lacking = model.load_state_dict(own, strict=False)
        absent = [name for name in lacking.missing_keys if "_tower." not in name]
        if absent or lacking.unexpected_keys:
            raise KeyError((absent + lacking.unexpected_keys)[0])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise ModelError(f"{root} is damaged ({problem}); restore the folder or train it again") from None
    return model.to(device).eval().requires_grad_(False)
