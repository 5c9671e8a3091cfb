"""A `transformers` causal or sequence-to-sequence model folder as a text model, decoded greedily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.text_backends.protocol import TRUNCATED, Completion
from pairwright.components.models.text_backends.settings import LocalTextModel

LONGEST_PROMPT_TOKENS = 2048


class LocalModel:
    """`TextModel` over a folder. Only safetensors weights and no code of the folder's are loaded.

    Raises:
        ModelError: the reference is not resolved, or the folder holds no text model.
    """

    def __init__(self, settings: LocalTextModel, device: str) -> None:
        if settings.model.path is None:
            raise ModelError(f"{settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.settings = settings
        self.device = device
        self.tokenizer, self.model = _load(settings.model.path, device)

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        answers: list[Completion] = []
        for batch in batches([self._as_chat(prompt) for prompt in prompts], self.settings.batch_size):
            answers.extend(self._decode(list(batch)))
        return answers

    def _as_chat(self, prompt: str) -> str:
        if not getattr(self.tokenizer, "chat_template", None):
            return prompt
        turn = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))

    def _decode(self, prompts: list[str]) -> list[Completion]:
        import torch

        inputs = self.tokenizer(
            prompts, return_tensors="pt", padding=True, truncation=True, max_length=self._room()
        ).to(self.device)
        inputs.pop("token_type_ids", None)  # some tokenizers make them, no generator takes them
        with torch.inference_mode():
            tokens = self.model.generate(
                **inputs, max_new_tokens=self.settings.max_new_tokens, do_sample=False, num_beams=1
            )
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            Completion(text.strip(), None if self._ended(row) else TRUNCATED)
            for text, row in zip(texts, tokens.tolist(), strict=True)
        ]

    def _ended(self, tokens: list[int]) -> bool:
        """Whether an answer came to its end, where the model knows one."""
        ends = self.model.generation_config.eos_token_id
        known = set(ends if isinstance(ends, list) else [ends]) - {None}
        return not known or not known.isdisjoint(tokens[1:] if self.model.config.is_encoder_decoder else tokens)

    def _room(self) -> int:
        """Tokens left for the prompt once the answer has its own."""
        config = self.model.config
        positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        if positions is None or config.is_encoder_decoder:
            return LONGEST_PROMPT_TOKENS
        return max(min(int(positions), LONGEST_PROMPT_TOKENS) - self.settings.max_new_tokens, 1)


def _load(folder: str, device: str) -> tuple[Any, Any]:
    """(tokenizer, model in eval mode on `device`)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **safe)
        auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        # Left padding and truncation: a causal model goes on from the prompt's end, where the evidence stands.
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", truncation_side="left", **safe)
        model = auto.from_pretrained(folder, use_safetensors=True, **safe)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no text model that transformers can load: {reason}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model.eval().to(torch.device(device))
