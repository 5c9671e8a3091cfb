"""docs/text_models.md: each of its settings is one, and its table of states is whole."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairwright.components.models.text_backends import protocol
from pairwright.components.recaption.captioners.fuse import FuseSettings
from pairwright.components.recaption.validator import INVALID
from pairwright.components.registry import component_class

PAGE = (Path(__file__).parents[3] / "docs" / "text_models.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(textwrap.dedent(one)) for one in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: next(iter(block)))
def test_a_block_of_the_page_is_a_recipes(block: dict[str, Any]) -> None:
    steps = block.get("recaption")
    if steps is None:
        FuseSettings.parse(block, "page")
        return
    for name, step in steps.items():
        component_class("captioner", step["uses"]).settings_model().parse(step["with"], name)


def test_every_text_model_and_every_status_is_on_the_page() -> None:
    assert len(BLOCKS) == 3
    kinds = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    states = {protocol.OK, protocol.REFUSED, protocol.BLOCKED, protocol.TRUNCATED, protocol.BUDGET, protocol.ERROR}
    assert kinds == {"rules", "student", "local", "openai", "openai_batch"} | states | {INVALID}
