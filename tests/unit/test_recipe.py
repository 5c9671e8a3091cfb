"""The recipe: one YAML, checked before any long work."""

import pytest

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import parse_recipe


def recipe(text: str):
    return parse_recipe(text, "mine.yaml")


BASE = """
name: mine
filter:
  score:
    image: image
    text: {uses: caption_text, with: {source: alt}}
  keep:
    a: "image.width > 1"
    b: "text.words > 1"
"""


def test_short_form_is_uses():
    steps = recipe(BASE).named_steps
    assert steps["image"].uses == "image"
    assert steps["text"].with_ == {"source": "alt"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: mine\nfliter: {}\n", 'unknown key "fliter"; did you mean "filter"?'),
        ("name: mine\nfilter: {scores: {}}\n", 'did you mean "score"?'),
        ("name: mine\nfilter: {score: {image: {usess: image}}}\n", 'did you mean "uses"?'),
        ("name: mine\nevaluate: {dev: a, tst: b}\n", 'did you mean "test"?'),
        ("description: no name\n", '"name" is required'),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("name: [1\n", "is not YAML"),
        ("name: m\nfilter: {budget: 7}\n", "less than or equal to 1"),
        ("name: m\nfilter: {score: {Image: image}}\n", "must be lower-case"),
        ("name: m\nfilter: {score: {a: image}, select: {a: near_duplicates}}\n", 'two steps are called "a"'),
    ],
)
def test_a_wrong_recipe_is_one_line_with_a_remedy(text, said):
    with pytest.raises(InvalidRecipe) as error:
        recipe(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "mine.yaml" in str(error.value) or "m:" in str(error.value) or "mine" in str(error.value)


def test_digest_ignores_prose_and_heeds_meaning():
    same = BASE + "description: words # and a comment\n"
    assert recipe(BASE).digest == recipe(same).digest
    assert recipe(BASE).digest != recipe(BASE.replace("> 1", "> 2")).digest


def test_a_changed_copy_has_a_digest_of_its_own():
    one = recipe(BASE)
    before = one.digest
    changed = one.model_copy(update={"filter": recipe(BASE.replace("> 1", "> 2")).filter})
    assert changed.digest == recipe(BASE.replace("> 1", "> 2")).digest != before


def test_order_of_keep_rules_counts():
    swapped = BASE.replace(
        '    a: "image.width > 1"\n    b: "text.words > 1"', '    b: "text.words > 1"\n    a: "image.width > 1"'
    )
    assert recipe(BASE).digest != recipe(swapped).digest


def test_steps_are_ordered_by_what_they_read():
    steps = recipe("name: m\nsteps: [{name: late, uses: x}, {name: early, uses: y}]\n")
    assert steps.order({"late": {"early"}}) == ["early", "late"]
    with pytest.raises(InvalidRecipe, match="circle"):
        steps.order({"late": {"early"}, "early": {"late"}})
    with pytest.raises(InvalidRecipe, match='did you mean "early"'):
        steps.order({"late": {"erly"}})
