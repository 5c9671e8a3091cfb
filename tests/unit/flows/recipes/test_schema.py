"""The JSON schema of a recipe says what our own parser says."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pairwright.flows.recipes import FOLDER, recipe_names
from pairwright.flows.recipes.schema import recipe_schema

pytestmark = pytest.mark.platform  # jsonschema comes with prefect


@pytest.fixture(scope="module")
def checker() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid(checker: Any, name: str) -> None:
    said = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    problems = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in checker.iter_errors(said)]
    assert problems == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"filters": {}},
        {"filter": {"score": {"hash": "pqd"}}},
        {"filter": {"score": {"hash": {"uses": "caption_text", "with": {"sorce": "alt"}}}}},
        {"filter": {"budget": 7}},
        {"pretrain": {"uses": "dual_encoder", "with": {"steps": "many"}}},
        {"steps": [{"name": "hash", "uses": "pqd"}]},
        {"evaluate": {"dev": "data/dev"}},
        {"filter": {"keep": {"readable": None}}},
        {"extends": "quickstart", "filters": {}},
        {"extends": "quickstart", "filter": {"score": {"hash": {"uses": "caption_text", "with": {"sorce": "alt"}}}}},
        {"extends": ["quickstart"]},
    ],
)
def test_a_wrong_key_component_or_setting_is_not(checker: Any, wrong: dict[str, Any]) -> None:
    assert not checker.is_valid({"name": "mine", **wrong})


def test_a_step_may_be_written_short_or_whole(checker: Any) -> None:
    short = {
        "name": "mine",
        "filter": {"score": {"hash": "pdq", "text": {"uses": "caption_text"}}},
        "pretrain": {"with": {"objective": "siglip"}},
    }
    assert list(checker.iter_errors(short)) == []


def test_a_recipe_that_extends_another_may_leave_out_and_take_away(checker: Any) -> None:
    own = {
        "name": "mine",
        "extends": "quickstart",
        "filter": {"score": {"ocr": None, "text_features": {"with": {"source": None}}}, "keep": {"readable": None}},
        "pretrain": {"with": {"captions": {"alt": None}}},
        "evaluate": {"test": "data/mine"},
        "release": None,
    }
    assert list(checker.iter_errors(own)) == []
