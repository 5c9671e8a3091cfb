"""Bytes as a tokenizer of another library: the ids our untrained models read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.models.interchange.byte_tokenizer import byte_characters, byte_tokenizer

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60).filter(lambda t: "<|" not in t)
PLAIN, ENDED = byte_tokenizer(256, 257, 24), byte_tokenizer(257, 259, 24, end=258)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_texts_ids_are_its_utf8_bytes(text: str) -> None:
    assert PLAIN(text, truncation=True)["input_ids"] == list(text.encode()[:24])
    assert ENDED(text, truncation=True)["input_ids"] == [*text.encode()[:23], 258]


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_a_batch_is_padded_on_the_right_and_masked(texts: list[str]) -> None:
    coded = ENDED(texts, padding=True, truncation=True)
    lengths = [len(text.encode()[:23]) + 1 for text in texts]
    for ids, mask, length in zip(coded["input_ids"], coded["attention_mask"], lengths, strict=True):
        assert len(ids) == max(lengths)
        assert mask == [1] * length + [0] * (max(lengths) - length)
        assert ids[length:] == [257] * (max(lengths) - length)


def test_every_byte_has_a_character_of_its_own() -> None:
    assert sorted(byte_characters()) == list(range(256))
    assert len(set(byte_characters().values())) == 256
    assert not any(character.isspace() for character in byte_characters().values())


@pytest.mark.parametrize("end", [None, 258])
def test_it_is_the_same_from_its_files(end: int | None, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = byte_tokenizer(257, 259, 24, end=end)
    made.save_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["  two  spaces\n", "ein grünes Dreieck ☃ and more than it reads"]
    assert (
        read(texts, truncation=True, padding=True)["input_ids"]
        == made(texts, truncation=True, padding=True)["input_ids"]
    )
