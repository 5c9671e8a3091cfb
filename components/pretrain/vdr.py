"""VDR: pictures and texts as weights over words, learnt by contrast, searched by an inverted index.

    pretrain: {uses: vdr, with: {source: alt, vocabulary: 4000, top: 64}}

Zhou et al., 2024, "Retrieval-based Disentangled Representation Learning with Natural Language Supervision". With
s(q, p) a text's and a picture's weights over the vocabulary (models/dual_encoders/vocabulary_encoder.py), NCE the
symmetric InfoNCE of the joint batch, `sparse` what the mask leaves and `bag` a text's own words, 1 for each:

    L = (NCE(sparse q, p) + w NCE(bag q, p) + v NCE(q, sparse p)) / (1 + w + v)

w = 1 and v = 0 is the paper's VDR. The bag is no function of the text side, so its term teaches the picture's side
alone, and the embedding of words that both share. v > 0 is a part of the authors' SVDR: a picture has no bag. Their
code for pictures is not public; the temperature is 1 for texts, whose vectors have no norm taken, and learnt here.
Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pairwright.components.component import Captions, Columns
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.spread import spread
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch
from pairwright.components.training.settings import TrainerSettings
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNTED = 200_000  # examples whose words make the vocabulary, evenly over the population


class VdrSettings(TrainerSettings):
    image_tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    text_tower: ModelFolder = ModelFolder(reference="builtin:minilm")
    image_features: str = Field("image_features.vector", description="column of the locked image tower's features")
    text_features: str = Field("text_features.vector", description="column of the text tower's features of `source`")
    source: str = Field("alt", description="captions")
    vocabulary: int = Field(4000, ge=2, description="commonest words of the captions")
    least: int = Field(2, ge=1, description="captions that must hold a word for it to be in the vocabulary")
    places: int = Field(4, ge=1, le=64, description="tokens that the head reads of a vector, before the max over them")
    top: int = Field(64, ge=1, description="k: words kept of a vector, a text's own beside them")
    bag: float = Field(1.0, ge=0, description="w, weight of the term of binary bags of words")
    sparse_pictures: float = Field(0.0, ge=0, description="v, weight of the term of masked pictures")
    initial_scale: float = Field(1 / 0.07, gt=0, le=100, description="exp(t) before the first step")
    batch_size: int = Field(128, ge=2)


@task("vdr")
class Vdr(Task[VdrSettings]):
    """Writes config.json, model.safetensors, the towers, vocabulary.txt and card.md."""

    requires = Columns("image_features", "text_features") + Captions("source")
    speaks = ("dual_encoder", "retriever")
    libraries = TOWER_LIBRARIES
    joint = True

    def reads(self) -> Reads:
        return Reads(columns=(self.settings.image_features, self.settings.text_features), texts=(self.settings.source,))

    def build(self) -> nn.Module:
        import torch

        from pairwright.components.models.dual_encoders.vocabulary_encoder import VocabularyEncoder
        from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
        from pairwright.components.models.words import SPECIAL, vocabulary_of

        wish, device = self.settings, str(self.device)
        captions = (text for some in spread(self.population, COUNTED) for text in some.texts(wish.source))
        words = vocabulary_of(captions, wish.vocabulary, wish.least)[len(SPECIAL) :]
        if len(words) < 2:
            raise ColumnError(
                f'vdr: fewer than two words occur in {wish.least} captions of "{wish.source}"; lower least'
            )
        image, text = load_image_tower(wish.image_tower, device), load_text_tower(wish.text_tower, device)
        model = VocabularyEncoder(image, text, words, places=wish.places, top=wish.top, seed=wish.seed).to(self.device)
        model.start_from_words()
        with torch.no_grad():
            model.log_scale.fill_(math.log(wish.initial_scale))
        return model

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        return {
            "image": torch.from_numpy(examples.column(self.settings.image_features)),
            "text": torch.from_numpy(examples.column(self.settings.text_features)),
            "bag": self.model.bag(examples.texts(self.settings.source)),
        }

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        image, text = self.model.dense_image(batch["image"]), self.model.dense_text(batch["text"])
        return {"image": image, "text": text, "bag": batch["bag"]}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        wish, scale = self.settings, self.model.scale
        terms = vdr_terms(outputs["image"], outputs["text"], outputs["bag"], wish.top, scale, batch.own)
        weights = {"sparse": 1.0, "bag": wish.bag, "sparse_pictures": wish.sparse_pictures}
        named = {name: terms[name]() for name, weight in weights.items() if weight}
        loss = sum(weights[name] * value for name, value in named.items()) / sum(weights.values())
        return {**named, "loss": loss, "logit_scale": scale}  # type: ignore[dict-item]

    def after_step(self, seen: Seen) -> None:
        import torch

        from pairwright.components.models.dual_encoders.contrastive import MAX_SCALE

        with torch.no_grad():
            self.model.log_scale.clamp_(max=math.log(MAX_SCALE))

    def save(self, folder: Path, trained: Trained) -> None:
        self.model.save(folder, _card(self.settings, trained, self.model.words))


def vdr_terms(
    image: Tensor, text: Tensor, bag: Tensor, top: int, scale: Tensor | float, own: slice = slice(None)
) -> dict[str, Any]:
    """(n, V) dense weights of both sides and bags -> each term by name, computed when called."""
    from pairwright.components.models.dual_encoders.contrastive import softmax_loss
    from pairwright.components.models.dual_encoders.vocabulary_encoder import mask

    return {
        "sparse": lambda: softmax_loss(image, text * mask(text, bag, top), scale, None, own).mean(),
        "bag": lambda: softmax_loss(image, unit_bag(bag), scale, None, own).mean(),
        "sparse_pictures": lambda: softmax_loss(image * mask(image, None, top), text, scale, None, own).mean(),
    }


def unit_bag(bag: Tensor) -> Tensor:
    """Bags of length 1, as the vectors they are held against; one without a known word stays 0."""
    from torch.nn import functional as F  # noqa: N812

    return F.normalize(bag, dim=-1)


def _card(wish: VdrSettings, trained: Trained, words: list[str]) -> str:
    losses = [line["loss"] for line in trained.history if "loss" in line]
    return f"""# Vocabulary-space encoder (VDR)

A picture and a text are weights over {len(words)} words, at most {wish.top} of them (a text's own beside); their dot
product says how well they fit, and each word's part in it can be read.

```python
from pairwright.components.models.dual_encoders.vocabulary_encoder import load_vocabulary_encoder

model = load_vocabulary_encoder("this/folder")
index = model.index(pictures)
model.search(index, 10, texts=["a red square"])
```

| | |
|---|---|
| towers | image `{wish.image_tower.reference}`, text `{wish.text_tower.reference}`, locked |
| trained | {trained.share:.2%} of the parameters |
| data | {trained.pairs} pairs of {trained.shards} shards ({trained.excluded} more lacked a picture or caption) |
| captions | {wish.source} |
| loss | sparse texts 1, bags of words {wish.bag:g}, sparse pictures {wish.sparse_pictures:g} |
| batch | {wish.batch_size} pairs, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
| last loss | {f"{losses[-1]:.4f}" if losses else "none"} |

It knows the words of its captions and no others. It was not tested for fairness or for safety.
"""
