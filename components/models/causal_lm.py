"""A causal language model of `transformers`, for the probability it gives to whole texts.

    model = load_causal_lm(folder, "cpu")
    model.nll(["A red bus.", "sub der A."])     # [(nats, tokens), ...]

Texts are padded on the right behind a mask: a causal model never looks there, so what stands beside a
text in its batch does not change its probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.errors import ModelError

LONGEST_TOKENS = 1024


class CausalLm:
    """A model and its tokenizer, in evaluation mode on a device."""

    def __init__(self, tokenizer: Any, model: Any, device: str) -> None:
        self.tokenizer, self.model, self.device = tokenizer, model, device
        config = model.config
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        self.longest = min([LONGEST_TOKENS, *(int(limit) for limit in limits if limit)])
        starts = (tokenizer.bos_token_id, config.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
        self.start = next((one for one in starts if one is not None), 0)

    def nll(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """Negative log-probability in nats of each text's tokens after a start token, and their number."""
        import torch

        bare = self.tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=self.longest - 1)
        coded = [[self.start, *ids] for ids in bare["input_ids"]]
        width = max((len(ids) for ids in coded), default=1)
        ids = torch.zeros((len(coded), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(coded):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        if width < 2:
            return [(0.0, 0) for _ in coded]
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            chosen = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
        sums = -(chosen * mask[:, 1:]).sum(-1)
        return [(float(total), len(one) - 1) for total, one in zip(sums, coded, strict=True)]


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
