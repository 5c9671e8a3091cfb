"""A memory of phrases: kept beside a language model as beside a decoder of ours, told as words or as vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from language_models import tiny_language_model

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.memory import Memory
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, prompts_of
from pairwright.components.models.decoding.settings import Decoding

PHRASES, WIDTH = ("a red bus", "the old tree", "a dog"), 8


def captioner(folder: Path, as_words: bool) -> Captioner:
    decoder, tokenizer = load_pretrained(tiny_language_model(folder))
    tokens = PretrainedTokens(tokenizer, decoder.vocabulary)
    told = Part("concepts", "words", 8) if as_words else Part("concepts", "vector", WIDTH, most=2)
    torch.manual_seed(0)
    model = Captioner([Part("image", "vector", WIDTH, 2), told], decoder, tokens, 6).eval()
    vectors = torch.nn.functional.normalize(torch.randn(len(PHRASES), WIDTH), dim=1)
    model.memory = Memory("concepts", PHRASES, vectors, 2, prompts_of(tokens, PHRASES, 4) if as_words else None)
    return model


@pytest.mark.parametrize("as_words", [True, False])
def test_beside_a_language_model_it_is_kept_with_the_folder(tmp_path: Path, as_words: bool) -> None:
    model = captioner(tmp_path / "lm", as_words)
    save_captioner(model, tmp_path / "captioner", "# card")
    again, x = load_captioner(tmp_path / "captioner"), torch.randn(5, WIDTH)
    assert again.memory is not None
    assert again.memory.phrases == PHRASES
    assert again.generate({"image": x}) == model.generate({"image": x})


def test_what_is_recalled_is_what_is_told_by_hand_and_is_left_out_with_the_picture(tmp_path: Path) -> None:
    model, x = captioner(tmp_path, as_words=True), torch.randn(5, WIDTH)
    assert model.memory is not None
    tokens = torch.full((5, 1), model.tokens.start)
    with torch.no_grad():
        recalled = model.logits({"image": x}, tokens)
        by_hand = model.logits({"image": x, "concepts": model.memory(x)}, tokens)
        others = model.logits({"image": x, "concepts": model.memory(-x)}, tokens)
        nothing = model.logits({"image": torch.full_like(x, torch.nan)}, tokens)
    assert torch.equal(recalled, by_hand)
    assert not torch.allclose(recalled, others)
    assert torch.allclose(nothing, nothing[:1].expand_as(nothing))
    assert len(model.generate({"image": x}, Decoding(guidance=2.0))) == 5
