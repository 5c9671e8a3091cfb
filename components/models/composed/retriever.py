"""Composed retrieval: a model folder that answers a picture, a text, or both with pictures of a gallery.

    model = load_composed_retriever("this/folder")
    gallery = model.index(pictures)
    model.search(gallery, 10, images=[reference], texts=["make the dog blue"])

Towers are locked; what was trained is a network over their features (net.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.composed.combiner import Combiner
from pairwright.components.models.composed.composer import Composer
from pairwright.components.models.composed.net import ComposedNet, scores
from pairwright.components.models.composed.qformer import QFormer
from pairwright.components.models.dual_encoders.encoder import CARD, CONFIG, WEIGHTS
from pairwright.components.models.dual_encoders.remembered import remembered
from pairwright.components.models.formats import model_format
from pairwright.components.models.towers.patches import grid_patches
from pairwright.components.models.towers.pixels import squash
from pairwright.components.models.towers.tower import ImageTower, TextTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower

FORMAT, FORMAT_VERSION = "pairwright-composed-retriever", 1
NETS: dict[str, type[ComposedNet]] = {net.kind: net for net in (Combiner, QFormer, Composer)}
AT_ONCE = 128  # queries or pictures through the network
PICTURES_AT_ONCE = 16  # through the tower


class ComposedRetriever(nn.Module):
    """Speaks `retriever` (components/models/protocols.py)."""

    folder_digest: str | None = None

    def __init__(self, image_tower: ImageTower, text_tower: TextTower, net: ComposedNet) -> None:
        super().__init__()
        self.image_tower, self.text_tower, self.net = image_tower, text_tower, net
        self.image_size = image_tower.side

    def image_inputs(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """Pictures as the network reads them: (n, width), or (n, g g, width)."""
        if self.image_tower.weights is None:
            return self._read(images)
        return remembered((self.image_tower.weights, self.net.grid, str(self.image_tower.device)), images, self._read)

    def _read(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        if not self.net.grid:
            return self.image_tower.features(images).clone()
        pixels = torch.from_numpy(squash(images, self.image_size)).split(PICTURES_AT_ONCE)
        with torch.no_grad():
            return torch.cat([grid_patches(self.image_tower, part, self.net.grid) for part in pixels])

    def text_inputs(self, texts: Sequence[str]) -> Any:
        """Texts as the network reads them: (n, width), or words and where they are."""
        if self.net.reads_words:
            vectors, real = self.text_tower.word_vectors(texts)
            return vectors.clone(), real.clone()
        return self.text_tower.features(texts).clone()

    @torch.no_grad()
    def index(self, images: Sequence[np.ndarray]) -> Tensor:
        """(n, q, dim) unit vectors."""
        return torch.cat([self.net.target(self.image_inputs(part)) for part in batches(images, AT_ONCE)])

    @torch.no_grad()
    def search(
        self,
        gallery: Tensor,
        k: int,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Queries of text, picture, or both.

        Raises:
            ValueError: neither is given, or both with different lengths.
        """
        size = len(images) if images is not None else len(texts) if texts is not None else 0
        if not size or (texts is not None and len(texts) != size):
            raise ValueError("a search needs texts or images, and as many of one as of the other")
        found = []
        for rows in batches(range(size), AT_ONCE):
            image = None if images is None else self.image_inputs([images[i] for i in rows])
            text = None if texts is None else self.text_inputs([texts[i] for i in rows])
            if image is None:
                queries = self.net.text_query(text)
            else:
                queries = self.net.image_query(image) if text is None else self.net.query(image, text)
            found.append(scores(queries, gallery).topk(min(k, len(gallery)), dim=1))
        numbers = torch.cat([one.indices for one in found]).cpu().numpy()
        return numbers, torch.cat([one.values for one in found]).float().cpu().numpy()

    def save(self, folder: str | Path, card: str) -> None:
        """Write the model folder. The same weights give the same bytes."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
        config |= {"net": self.net.kind, "shape": self.net.config()}
        own = self.net.state_dict()
        for side, tower in (("image_tower", self.image_tower), ("text_tower", self.text_tower)):
            config[side], within = save_tower(tower, side, root)
            assert not within, "towers of a composed retriever are locked"
        save_file({n: own[n].detach().cpu().contiguous() for n in sorted(own)}, root / WEIGHTS, {"format": "pt"})
        (root / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        self.text_tower.save_tokenizer(root)
        (root / CARD).write_text(card, encoding="utf-8")


@model_format("pairwright-composed-retriever", speaks=("retriever",))
def load_composed_retriever(folder: str | Path, device: str = "cpu") -> ComposedRetriever:
    """The model in a folder, ready to search.

    Raises:
        ModelError: the folder is missing, damaged or of a newer release.
    """
    root = Path(folder)
    try:
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config["format_version"] > FORMAT_VERSION or config["net"] not in NETS:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        sides = ("image_tower", "text_tower")
        image, text = (load_saved_tower(config[side], side, root, device, dict) for side in sides)
        assert isinstance(image, ImageTower)
        assert isinstance(text, TextTower)
        net = NETS[config["net"]](image.width, text.width, **config["shape"])  # type: ignore[call-arg]
        net.load_state_dict(load_file(root / WEIGHTS))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise ModelError(f"{root} is damaged ({problem}); restore the folder or train it again") from None
    return ComposedRetriever(image, text, net).to(device).eval().requires_grad_(False)
