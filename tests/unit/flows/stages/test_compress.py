"""The compression stage: what names a point of the curve, and the shares that can be kept at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pairwright.components.errors import InvalidRecipe
from pairwright.components.recipe import CompressionSection
from pairwright.flows.planning.digests import curve_inputs
from pairwright.flows.stages.compress import _reachable

pytestmark = pytest.mark.platform


def section(**changes: Any) -> CompressionSection:
    return CompressionSection.model_validate({"order": "best.rank"} | changes)


def planned(**changes: str) -> Any:
    """As much of a run as names a point: the digests of steps, data and splits."""
    digests = {"image_features": "a", "text_features": "b", "fused": "c", "best": "d"} | changes
    return SimpleNamespace(
        plan=SimpleNamespace(steps={name: SimpleNamespace(digest=digest) for name, digest in digests.items()}),
        dataset=SimpleNamespace(digest="data"),
        splits={"dev": SimpleNamespace(digest="dev"), "test": SimpleNamespace(digest="test")},
    )


def test_a_point_is_named_by_all_it_is_trained_on_and_by_nothing_that_only_chooses_its_rows() -> None:
    said = curve_inputs(planned(), section())
    assert curve_inputs(planned(), section(shares=[0.5], seeds=[4], margin=0.1, order="image_features.vector")) == said
    assert curve_inputs(planned(best="other"), section()) == said
    other = [
        curve_inputs(planned(), section(source="fused")),
        curve_inputs(planned(image_features="other"), section()),
        curve_inputs(planned(evaluation_overlap="e"), section()),  # who is held out for evaluation
        curve_inputs(planned(), section(image_features="image_features.turned")),
    ]
    assert all(one != said for one in other)
    assert curve_inputs(planned(fused="other"), section(source="fused")) != other[0], "the captions a step made"


def test_a_share_that_too_few_pairs_are_ordered_for_is_not_drawn_as_if_it_were_smaller() -> None:
    order = np.r_[np.arange(60.0), np.full(40, np.nan)]
    assert _reachable(section(shares=[0.75, 0.6, 0.1]), order) == [0.6, 0.1]
    with pytest.raises(InvalidRecipe, match="a value for 60 of 100 pairs"):
        _reachable(section(shares=[0.9]), order)


def test_the_curve_is_drawn_on_dev_alone() -> None:
    """Another test split names the same points: it is read once, for the report."""
    run = planned()
    said = curve_inputs(run, section())
    run.splits["test"] = SimpleNamespace(digest="another")
    assert curve_inputs(run, section()) == said
    run.splits["dev"] = SimpleNamespace(digest="another")
    assert curve_inputs(run, section()) != said
