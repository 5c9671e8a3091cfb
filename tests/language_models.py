"""Tiny random language models of `transformers`' real classes with a real tokenizer, as folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = [
    "a red bus under the old tree",
    "the blue dog on a small bus",
    "an old cat and a red dog",
    "a clipart of a zeppelin, 1937!",
]


def tiny_language_model(folder: Path, kind: str = "llama") -> Path:
    """A `llama` or `gpt2` of some twenty thousand weights, with a byte-level BPE learnt of a few lines."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    learnt = ByteLevelBPETokenizer()
    learnt.train_from_iterator(TEXTS * 4, vocab_size=300, min_frequency=2, special_tokens=["<s>", "</s>"])
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learnt._tokenizer, **special)
    size = len(tokenizer) + 4  # more rows than tokens, as real ones have
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(7)
    model: LlamaForCausalLM | GPT2LMHeadModel
    if kind == "llama":
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 64}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=size, initializer_range=0.4, **shape, **heads, **ids))
    else:
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4, **ids)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def taught_language_model(folder: Path, texts: Sequence[str], words: Sequence[str], **changes: Any) -> dict[str, Any]:
    """A language model of ours that learnt these texts and words of theirs, as a folder; what it measured of itself."""
    from pairwright.components.dataset.examples.population import ArrayPopulation
    from pairwright.components.pretrain.captioners.language_model import LanguageModel, LanguageModelSettings
    from pairwright.components.training.contract import Trained
    from pairwright.components.training.here import fit_here

    said = {
        "width": 32,
        "layers": 1,
        "heads": 2,
        "longest": 40,
        "max_tokens": 12,
        "vocabulary": 340,
        "steps": 300,
        "sources": ["alt", "words"],
    }
    said |= {"batch_size": 64, "lr": 1e-2, "warmup_steps": 10}
    task = LanguageModel(LanguageModelSettings.parse(said | changes, "test"))
    fit_here(task, ArrayPopulation({}, {"alt": texts, "words": words}))
    return dict(task.save(folder, Trained(len(texts), 0, 0, 1, [], 1.0)))
