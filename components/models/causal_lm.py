"""A causal language model of `transformers`, for the probability it gives to whole texts.

    model = load_causal_lm(folder, "cpu")
    model.nll(["A red bus.", "sub der A."])     # [(nats, tokens, bytes), ...]

Texts are padded on the right behind a mask: a causal model never looks there, so what stands beside a
text in its batch does not change its probability. A text longer than the model reads is scored as far as
it is read: its bytes are counted where its probability is, so that length alone makes no text likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairwright.components.errors import ModelError

LONGEST_TOKENS = 1024


class Scored(NamedTuple):
    """What a model said of the part of a text that it read.

    Attributes:
        nats: negative log-probability of its tokens after a start token; no end is scored.
        tokens: how many they are.
        size: UTF-8 bytes of the text from the first of them to the last; 0 where it has none.
    """

    nats: float
    tokens: int
    size: int


class CausalLm:
    """A model and its tokenizer, in evaluation mode on a device."""

    def __init__(self, tokenizer: Any, model: Any, device: str) -> None:
        self.tokenizer, self.model, self.device = tokenizer, model, device
        config = model.config
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        self.longest = min([LONGEST_TOKENS, *(int(limit) for limit in limits if limit)])
        starts = (tokenizer.bos_token_id, config.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
        self.start = next((one for one in starts if one is not None), 0)

    def nll(self, texts: Sequence[str]) -> list[Scored]:
        """Negative log-probability of each text, as far as the model reads it."""
        import torch

        found, sizes = self._read(texts)
        coded = [[self.start, *ids] for ids in found]
        width = max((len(ids) for ids in coded), default=1)
        ids = torch.zeros((len(coded), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(coded):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        if width < 2:
            return [Scored(0.0, 0, 0) for _ in coded]
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            chosen = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
        sums = -(chosen * mask[:, 1:]).sum(-1)
        return [Scored(float(nats), len(one), size) for nats, one, size in zip(sums, found, sizes, strict=True)]

    def _read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """The tokens of each text that fit the model beside a start token, and the UTF-8 bytes they stand for."""
        wish = {"add_special_tokens": False, "truncation": True, "max_length": self.longest - 1}
        if self.tokenizer.is_fast:
            coded = self.tokenizer(list(texts), return_offsets_mapping=True, **wish)
            return coded["input_ids"], [_span_size(*one) for one in zip(texts, coded["offset_mapping"], strict=True)]
        coded = self.tokenizer(list(texts), **wish)
        return coded["input_ids"], [self._decoded_size(*one) for one in zip(texts, coded["input_ids"], strict=True)]

    def _decoded_size(self, text: str, ids: Sequence[int]) -> int:
        """Bytes of these tokens as text, where the tokenizer cannot say where they stand."""
        said = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False) if ids else ""
        return min(_size(said), _size(text))  # an unknown word may be written longer than it is


def _span_size(text: str, offsets: Sequence[tuple[int, int]]) -> int:
    """Bytes from the first token to the last, by the characters each stands for."""
    first, last = min((start for start, _ in offsets), default=0), max((end for _, end in offsets), default=0)
    return _size(text[first:last])


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def load_causal_lm(folder: str | Path, device: str = "cpu") -> CausalLm:
    """The causal language model in a folder. Only safetensors weights and no code of the folder's are loaded.

    Raises:
        ModelError: the folder holds none.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **safe)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no causal language model that transformers can load: {reason}") from None
    return CausalLm(tokenizer, model.eval().to(torch.device(device)), device)
