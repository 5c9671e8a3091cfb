"""Student's t against its tables."""

from __future__ import annotations

import pytest

from pairwright.components.evaluate.statistics.student import t_inside, t_quantile

# Two-sided 95% quantiles of the usual table.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 29: 2.045, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("freedom", "table"), T95.items())
def test_quantiles_are_those_of_the_table(freedom: int, table: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(table, abs=6e-4)


@pytest.mark.parametrize(
    ("probability", "freedom", "value"), [(0.9995, 2, 31.599), (0.9995, 4, 8.610), (0.95, 7, 1.895)]
)
def test_far_tails_too(probability: float, freedom: int, value: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.9999])
@pytest.mark.parametrize("freedom", [31, 32, 60, 400])
def test_the_expansion_for_many_degrees_agrees_with_the_closed_form(probability: float, freedom: int) -> None:
    assert t_inside(t_quantile(probability, freedom), freedom) == pytest.approx(2 * probability - 1, abs=1e-6)


def test_what_has_no_quantile_is_an_error() -> None:
    assert [t_inside(0.0, freedom) for freedom in (1, 2, 3, 8)] == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(0.975, 0)
