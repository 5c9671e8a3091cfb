"""SITTA: a frozen language model goes on from the tokens nearest to a picture, in many orders; the best text is kept.

    recaption: {said: {uses: sitta, with: {map: "step:map", encoder: "step:space", language_model: ./smollm2}}}

Paischer et al. (2023). A linear map (the fit `token_map`) takes a picture's vector into the language model's space of
tokens; the k = 8 nearest whole words are put before "A picture of" in l = 40 orders, as found and shuffled; the model
goes on from each, and the dual encoder picks the text that fits the picture best. No gradient is ever computed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner, Columns
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor


class SittaSettings(Settings):
    map: ModelFolder = Field(description="what `token_map` fitted")
    encoder: ModelFolder = Field(description="dual encoder of the shared space, which picks the best text")
    language_model: ModelFolder = Field(description="the one that the map was fitted for")
    pictures: str = Field("pictures.vector", description="step.column of pictures' unit vectors in the shared space")
    k: int = Field(8, ge=1, le=64, description="tokens of a prompt")
    prompts: int = Field(40, ge=1, le=1000, description="l: orders of the tokens that are gone on from")
    prompt: str = Field("A picture of", description="what follows the tokens, of a model of transformers")
    most_words: int = Field(4000, ge=1, description="whole words of the language model that may be found, the first")
    decoding: Decoding = Decoding()
    seed: int = Field(0, ge=0, description="of the orders, beside the pair's key")
    lang: str = Field("en", description="language of the captions, BCP 47")


@captioner("sitta")
class Sitta(Captioner[SittaSettings]):
    """None where the model has nothing to say after any of the prompts."""

    requires = Columns("pictures")
    libraries = ("transformers", *TOWER_LIBRARIES)
    runs_model = True

    def setup(self, device: str) -> None:
        """Raises ModelError where the map was fitted for another language model."""
        import torch

        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
        from pairwright.components.models.token_map.language import open_language
        from pairwright.components.models.token_map.token_map import load_token_map

        wish = self.settings
        assert wish.map.path is not None
        assert wish.language_model.path is not None
        self.encoder, self.map = load_dual_encoder(wish.encoder, device), load_token_map(wish.map.path)
        self.language = open_language(wish.language_model.path, device, wish.prompt)
        self.vectors = self.language.vectors()
        self.tokens = torch.tensor(list(self.language.words(wish.most_words).values()))
        self.map.check(self.vectors[self.tokens], wish.language_model.reference)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        import torch

        wish = self.settings
        pictures = torch.from_numpy(np.asarray(pairs.columns[wish.pictures], np.float32).reshape(len(pairs), -1))
        found = self.map.nearest(pictures, self.vectors, self.tokens, wish.k).tolist()
        seeds = [zlib.crc32(f"{wish.seed} {key}".encode()) for key in pairs.keys]
        prompts = [one for row, seed in zip(found, seeds, strict=True) for one in orders_of(row, wish.prompts, seed)]
        drawn = [seed + number for seed in seeds for number in range(wish.prompts)]
        texts = self.language.continued(prompts, wish.decoding, drawn)
        said = self.best(texts, pictures)
        return [Caption(text, wish.lang) if text else None for text in said]

    def best(self, texts: Sequence[str], pictures: Tensor) -> list[str]:
        """Of each picture's texts, as many as there are orders, the one nearest to it by cosine, the first of equals.

        "" where all of them are.
        """
        import torch

        place = {text: at for at, text in enumerate(dict.fromkeys(text for text in texts if text))}
        if not place:
            return [""] * len(pictures)
        cosine = pictures @ self.encoder.encode_text(list(place)).float().cpu().T
        found = []
        for row in range(len(pictures)):
            mine = dict.fromkeys(text for text in texts[row * self.settings.prompts :][: self.settings.prompts] if text)
            at = torch.tensor([place[text] for text in mine], dtype=torch.int64)
            found.append(list(mine)[int(cosine[row, at].argmax())] if mine else "")
        return found


def orders_of(tokens: Sequence[int], count: int, seed: int) -> list[list[int]]:
    """`count` orders of the tokens: as they are, and shuffled."""
    draw = np.random.default_rng(seed)
    return [list(tokens)] + [[tokens[i] for i in draw.permutation(len(tokens))] for _ in range(count - 1)]
