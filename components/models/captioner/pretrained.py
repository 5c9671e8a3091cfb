"""A causal language model of `transformers` as the decoder, by its own class, frozen.

Its input embeddings take the prefix's place; a folder of SmolLM2 works as any other (`decoder: FOLDER` in a recipe).
Only safetensors weights are loaded, and no code of the folder's.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from pairwright.components.models.captioner.decoder import Cache, Decoder, places_of
from pairwright.components.models.causal_lm import load_causal_lm

LONGEST = 1024  # tokens, where a model's configuration does not say how many it reads


class PretrainedCache:
    """A cache of `transformers`, whose layers grow by new tensors, so that a copy of it may share those it has."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def select(self, rows: Tensor) -> PretrainedCache:
        held = copy.copy(self.held)
        held.layers = [copy.copy(layer) for layer in self.held.layers]
        held.batch_select_indices(rows)
        return PretrainedCache(held)


class PretrainedDecoder(Decoder):
    """A model with a language-model head; nothing of it is trained unless `requires_grad` is switched on again."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.width = int(model.get_input_embeddings().weight.shape[1])
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        config = model.config
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        self.longest = min((int(limit) for limit in limits if limit), default=LONGEST)

    def train(self, mode: bool = True) -> Self:
        """A frozen model drops nothing out."""
        return super().train(mode and any(one.requires_grad for one in self.parameters()))

    def embed(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.model.get_input_embeddings()(tokens)
        return found

    def cache(self, rows: int, length: int) -> PretrainedCache:
        from transformers import DynamicCache

        return PretrainedCache(DynamicCache(config=self.model.config))

    def forward(self, x: Tensor, there: Tensor | None, cache: Cache | None = None, last: bool = False) -> Tensor:
        assert cache is None or isinstance(cache, PretrainedCache)
        held = cache.held if cache is not None else None
        given: dict[str, Any] = {}
        if there is not None:
            given = {"attention_mask": there.long(), "position_ids": places_of(there, x.shape[1])}
        said = self.model(
            inputs_embeds=x, past_key_values=held, use_cache=held is not None, logits_to_keep=int(last), **given
        )
        logits: Tensor = said.logits
        return logits

    def states(self, x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, t, width), which are there (n, t) -> what the output layer reads of each, and its logits."""
        said = self.model(
            inputs_embeds=x,
            attention_mask=there.long(),
            position_ids=places_of(there, x.shape[1]),
            use_cache=False,
            output_hidden_states=True,
        )
        return said.hidden_states[-1], said.logits

    @property
    def tied(self) -> bool:
        """Whether tokens are said by the very vectors they are read by."""
        said, read = self.model.get_output_embeddings().weight, self.model.get_input_embeddings().weight
        return said is read or said.data_ptr() == read.data_ptr()


def load_pretrained(folder: str | Path) -> tuple[PretrainedDecoder, Any]:
    """The language model in a folder as a decoder, and its tokenizer.

    Raises:
        ModelError: the folder holds none.
    """
    held = load_causal_lm(folder)
    return PretrainedDecoder(held.model), held.tokenizer
