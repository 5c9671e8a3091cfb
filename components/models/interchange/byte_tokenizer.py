"""UTF-8 bytes as a tokenizer of `transformers`: what our untrained models read, for libraries that want a tokenizer.

    byte_tokenizer(pad=256, size=257, longest=96)("été")["input_ids"]      # [195, 169, 116, 195, 169]

A byte's id is its value. It is byte-level BPE (Radford et al., 2019) that learnt no merge. A text that spells a token's
own name is read as that token, and an empty text has no byte at all: give a space, which is how our towers read one.
"""

from __future__ import annotations

from typing import Any

PAD_TOKEN, END_TOKEN = "<|padding|>", "<|end|>"


def byte_tokenizer(pad: int, size: int, longest: int, end: int | None = None) -> Any:
    """Args:
    pad, end: ids past the byte values; without `end` no token ends a text.
    size: of the vocabulary; ids that are neither a byte nor named stand for nothing.
    longest: ids a text, the end among them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: value for value, character in byte_characters().items()}
    named = {pad: PAD_TOKEN} | ({} if end is None else {end: END_TOKEN})
    for number in range(256, size):
        vocabulary[named.get(number, f"<|unused {number}|>")] = number
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if end is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {END_TOKEN}", special_tokens=[(END_TOKEN, end)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=None if end is None else END_TOKEN,
        model_max_length=longest,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
    )


def byte_characters() -> dict[int, str]:
    """Byte -> the printable character that stands for it in GPT-2's byte-level BPE (`bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    found = {value: chr(value) for value in shown}
    hidden = [value for value in range(256) if value not in found]
    return found | {value: chr(256 + number) for number, value in enumerate(hidden)}
