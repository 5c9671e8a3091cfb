"""The criteria file: what the packaged one asks, and what a broken one is told."""

from __future__ import annotations

import pytest

from pairwright.components.errors import InvalidRecipe
from pairwright.components.preference.criteria import PACKAGED, parse_criteria, read_criteria


def test_the_packaged_criteria_are_the_papers_kind_and_ask_one_ranking():
    criteria = read_criteria(None)
    assert [one.name for one in criteria.rank] == ["preference", "informativeness", "fluency"]
    assert [one.name for one in criteria.asked] == ["preference"]
    assert {flag.name for flag in criteria.flags} == {"object", "attribute", "relation", "text", "invented"}
    assert criteria.text == PACKAGED.read_text(encoding="utf-8")


def test_an_edited_copy_is_another_version(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(PACKAGED.read_text().replace("ask: false", "ask: true"))
    criteria = read_criteria(str(path))
    assert len(criteria.asked) == 3
    assert criteria.digest != read_criteria(None).digest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rank: [", "is not YAML"),
        ("- a list", "criteria are a mapping"),
        ("rank: []", "rank"),
        ("rank: [{name: preference, question: q}]", "no ranking has `ask: true`"),
        ("rank: [{name: Two Words, question: q, ask: true}]", "rank.0.name"),
        ("rank: [{name: a, question: q, ask: true, wieght: 1}]", "wieght"),
        ("rank: [{name: a, question: q, ask: true}, {name: a, question: q}]", '"a" is used twice'),
        ("{rank: [{name: a, question: q, ask: true}], flags: [{name: f, label: l, key: t}]}", "page's own"),
        (
            "{rank: [{name: a, question: q, ask: true}], "
            "flags: [{name: f, label: l, key: o}, {name: g, label: l, key: O}]}",
            'key "o" is used twice',
        ),
    ],
)
def test_a_broken_file_is_named_with_the_reason(text, why):
    with pytest.raises(InvalidRecipe, match=why) as caught:
        parse_criteria(text, "mine.yaml")
    assert "mine.yaml" in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        read_criteria(str(tmp_path / "none.yaml"))
