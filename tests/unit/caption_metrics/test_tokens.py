"""Tokens: what PTBTokenizer said of the same captions, lower case and without punctuation."""

from __future__ import annotations

import pytest

from pairwright.components.caption_metrics.tokens import tokens_of

# As Stanford's PTBTokenizer (CoreNLP 3.4.1, -preserveLines -lowerCase) and COCO's list of punctuation left them.
PTB = {
    "A dog runs.": "a dog runs",
    "It's a dog's life, isn't it?": "it 's a dog 's life is n't it",
    "Two well-known cats (black & white) -- sleeping...": "two well-known cats black & white sleeping",
    "They cannot fly; they're 3.5 m long": "they can not fly they 're 3.5 m long",
    'A sign that says "STOP"': "a sign that says stop",
    "Mr. Smith of the U.S. has $5": "mr. smith of the u.s. has $ 5",
    "1,000 people at 10:30": "1,000 people at 10:30",
    "I'm gonna go": "i 'm gon na go",
    "a café in Zürich": "a café in zürich",
    "50% off": "50 % off",
    "the dogs' bowl": "the dogs bowl",
    "the 1st and 2nd": "the 1st and 2nd",
    "red/blue flag no. 5, no.": "red/blue flag no. 5 no",
    "black_cat file_name.png": "black_cat file_name png",
    "size 10x20 & 3/4": "size 10x20 & 3/4",
}


@pytest.mark.parametrize("text", PTB)
def test_tokens_are_ptbtokenizers(text: str) -> None:
    assert tokens_of(text) == PTB[text].split()


@pytest.mark.parametrize("text", ["", "   ", "...", '"" () -- ?!'])
def test_a_text_without_words_has_no_tokens(text: str) -> None:
    assert tokens_of(text) == []


def test_tokens_of_tokens_are_the_same() -> None:
    for text in PTB.values():
        assert tokens_of(text) == text.split()


def test_curly_quotes_are_straight_ones() -> None:
    assert tokens_of("the dog’s “bone”") == tokens_of('the dog\'s "bone"')
