import pytest

from pairwright.components.recaption.prompts.prompt import Prompt
from pairwright.components.recaption.validate import Limits, problem_with, tidy

INSTRUCTION = Prompt.model_validate("fuse").text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("…!", "empty"),
        ("I'm sorry, but I can't describe this picture.", "refusal"),
        ("As an AI language model, I have no eyes.", "refusal"),
        ("I cannot assist with that.", "refusal"),
        ("Please provide the caption.", "refusal"),
        ("a red bus on a road " * 6, "repeats"),
        ("dog dog dog dog", "repeats"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "repeats"),
        (" ".join(f"word{i}" for i in range(200)), "too_long"),
        (INSTRUCTION, "echo"),
        ("红色的消防车停在街道上", "script"),
        ("Красная пожарная машина", "script"),
    ],
)
def test_an_unfit_caption_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert problem_with(text, instruction=INSTRUCTION, allowed=["a red fire truck"]) == reason


@pytest.mark.parametrize(
    "text",
    [
        "A red fire truck in front of a house, in front of a tree.",
        'A sign that says "I am sorry for your loss"'.replace("I am sorry", "so sorry"),
        "Zürich, the old town",
        "A can of soup; I can see the label",
        "Sorry! (a board game)",
        "e=mc²",
    ],
)
def test_an_honest_caption_passes(text: str) -> None:
    assert problem_with(text, instruction=INSTRUCTION, allowed=["a picture"]) is None


def test_the_captions_own_script_is_allowed() -> None:
    assert problem_with("赤い車が走る", allowed=["赤い車"]) is None


def test_limits_are_settings() -> None:
    assert problem_with("one two three four", limits=Limits(longest_words=3)) == "too_long"


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("Sure! Here is the caption: A red bus.", "A red bus."),
        ('"A red bus."', "A red bus."),
        ("Caption: A red bus.", "A red bus."),
        ("A red\nbus.", "A red bus."),
        ('"STOP" and "GO" signs', '"STOP" and "GO" signs'),
        ("Here is a red bus", "Here is a red bus"),
    ],
)
def test_preamble_and_quotes_are_taken_off(answer: str, caption: str) -> None:
    assert tidy(answer) == caption
