"""A gate's warning says what was measured, what was found and which setting to change."""

import pytest

from pairwright.components.validation.settings import CuratedGateSettings, RawGateSettings
from pairwright.flows.stages.gates import warned

CHECK = {"observed": 0.63, "expected": "at most 0.5", "worst_shards": [{"shard": "00003"}]}


@pytest.mark.parametrize(
    ("gate", "settings", "name", "meaning", "setting"),
    [
        ("raw", RawGateSettings(), "repeated_share", "sampled pairs whose caption recurs", "max_repeated_share"),
        ("raw", RawGateSettings(), "unlicensed_share", "pairs without a licence", "max_unlicensed_share"),
        ("curated", CuratedGateSettings(), "caption_null_share", "kept pairs without a caption", "max_null_share"),
        ("curated", CuratedGateSettings(), "largest_rule_share", "pairs dropped by any one rule", "max_rule_share"),
    ],
)
def test_a_warning_teaches(gate, settings, name, meaning, setting):
    said = warned(gate, settings, CHECK | {"name": name})
    assert said.startswith(f"gate {gate}: {name} is 0.63, expected at most 0.5 ({meaning}")
    assert f"change gates.{gate}.{setting}" in said
    assert said.endswith("worst shards: 00003")
