"""Settings: ranges are checked, and an unknown key is refused with the nearest known one named."""

from __future__ import annotations

import pytest
from pydantic import Field

from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.settings import ModelFolder, Settings


class Inner(Settings):
    radius_px: int = Field(3, ge=1)


class Outer(Settings):
    threshold: float = Field(0.5, ge=0, le=1)
    inner: Inner = Inner()
    model: ModelFolder | None = None
    name: str


def _message(values) -> str:
    with pytest.raises(InvalidRecipe) as caught:
        Outer.parse(values, "recipes/mine.yaml: filter.blur")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_key_names_the_nearest_known_one():
    assert (
        _message({"name": "x", "treshold": 0.1})
        == 'recipes/mine.yaml: filter.blur: unknown key "treshold"; did you mean "threshold"?'
    )


def test_a_nested_unknown_key_names_the_nearest_of_its_own_section():
    assert 'unknown key "inner.radius"; did you mean "radius_px"?' in _message({"name": "x", "inner": {"radius": 1}})


def test_a_key_like_none_lists_what_is_known():
    assert "; known: " in _message({"name": "x", "zzz": 1})


def test_a_misspelt_key_is_named_before_the_key_it_leaves_missing():
    assert 'unknown key "nmae"; did you mean "name"?' in _message({"nmae": "x"})


@pytest.mark.parametrize("values", [{"threshold": 1.5}, {"threshold": "high"}, {"inner": {"radius_px": 0}}])
def test_a_value_out_of_range_is_shown(values):
    message = _message({"name": "x"} | values)
    assert "threshold" in message or "radius_px" in message
    assert any(repr(value) in message for value in (1.5, "high", 0))


def test_a_missing_key_is_asked_for():
    assert '"name" is required; add it' in _message({})


def test_settings_cannot_change_after_they_were_digested():
    with pytest.raises(ValueError, match="frozen"):
        Outer.parse({"name": "x"}, "x").name = "y"  # type: ignore[misc]


def test_a_model_is_written_as_plain_text_until_it_is_resolved():
    settings = Outer.parse({"name": "x", "model": "builtin:minilm"}, "x")
    assert settings.model == ModelFolder(reference="builtin:minilm")
    assert not settings.model.resolved
    assert settings.model_dump()["model"] == "builtin:minilm"


def test_nearest_is_silent_when_nothing_is_known():
    assert nearest("x", []) == ""
