"""The caption grid: a row a cell, exact mixes, and words no stronger than the intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.components.dataset.captions.caption_mix import cycle_of
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.caption_grid import Cell, best_of, cells_of, grid_rows, in_words
from pairwright.components.recipe import GridSection
from pairwright.components.report.data import Grid, GridCell
from pairwright.components.report.heat_map import heat_map

FORMATS, SHARES = ("short", "dense"), (0.0, 0.5, 1.0)


def items_of(gain: float, seeds: int = 3, seed: int = 0) -> dict[Cell, np.ndarray]:
    """Hits of 400 queries, of mixes so much likelier."""
    draw = np.random.default_rng(seed)
    ease = draw.random(400)
    return {
        cell: (ease < 0.4 + gain * cell.mixes + 0.1 * draw.normal(size=(seeds, 400))).astype(np.float64)
        for cell in cells_of(FORMATS, SHARES)
    }


def test_alt_text_alone_is_one_cell_and_every_mix_is_a_cycle_of_exactly_its_shares() -> None:
    cells = cells_of(FORMATS, (0.0, 0.25, 0.5, 0.75, 1.0))
    assert len(cells) == 2 * 4 + 1
    for cell in cells:
        weights = cell.captions("alt")
        turns = cycle_of(weights)
        got = {source: turns.count(index) / len(turns) for index, source in enumerate(weights)}
        wanted = {"alt": cell.share, cell.format: 1 - cell.share}
        assert got == {source: share for source, share in wanted.items() if share}
    assert Cell("", 1.0).captions("alt") == {"alt": 1.0}
    assert len({cell.name for cell in cells}) == len(cells)


def test_a_row_a_format_and_share_with_its_seeds_and_its_differences() -> None:
    rows = grid_rows(items_of(0.2), np.arange(400), FORMATS)
    assert [(row["format"], row["share"]) for row in rows] == [(f, s) for f in FORMATS for s in SHARES]
    for row in rows:
        assert row["low"] < row["mean"] < row["high"]
        assert len(row["values"]) == 3
        assert (row["to_alt"] is None) == (row["to_format"] is None) == (row["share"] != 0.5)
    assert best_of(rows)["share"] == 0.5
    assert best_of(rows, higher_is_better=False)["share"] != 0.5
    said = in_words(rows, "r.t2i_r5")
    assert "better at short with 50%; dense with 50% alt-text" in said


def test_what_is_better_by_a_low_metric_is_better_and_few_seeds_let_nothing_be_said() -> None:
    rows = grid_rows(items_of(-0.2), np.arange(400), FORMATS, higher_is_better=False)
    assert "Lowest mean r.rank" in in_words(rows, "r.rank", higher_is_better=False)
    assert "better at" in in_words(rows, "r.rank", higher_is_better=False)
    assert "worse at" in in_words(grid_rows(items_of(-0.2), np.arange(400), FORMATS), "r.t2i_r5")
    few = grid_rows(items_of(0.2, seeds=2), np.arange(400), FORMATS)
    assert "No verdict" in in_words(few, "r.t2i_r5")


def test_cells_that_differ_by_chance_alone_are_not_said_to_differ() -> None:
    wrong = sum(
        "not shown to differ" not in in_words(grid_rows(items_of(0.0, seed=seed), np.arange(400), FORMATS), "m")
        for seed in range(40)
    )
    assert wrong <= 8  # two comparisons at 5% each


def test_the_heat_map_has_every_cell_and_rings_the_best() -> None:
    rows = grid_rows(items_of(0.2), np.arange(400), FORMATS)
    grid = Grid([GridCell(**row) for row in rows], "r.t2i_r5", 3, "dev", verdict='<b>"said"</b>')
    drawn = str(heat_map(grid))
    assert drawn.count('class="cell"') == len(rows)
    assert drawn.count('class="best"') == 1
    assert "<b>" not in drawn
    assert f"{best_of(rows)['mean']:.3f}" in drawn


def section(**said: Any) -> GridSection:
    return GridSection.model_validate({"formats": FORMATS, "shares": SHARES} | said)


def test_a_grid_that_mixes_alt_text_with_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="is what formats are mixed with"):
        section(formats=["alt", "short"])
    with pytest.raises(ValueError, match="stands there twice"):
        section(shares=[0.5, 0.5])


pytest.importorskip("prefect")


def written(root: Path, cell: Cell, seed: int, hits: np.ndarray) -> Path:
    folder = root / f"{cell.name}-{seed}"
    folder.mkdir(parents=True)
    metric = {"name": "r.t2i_r5", "value": float(hits.mean()), "higher_is_better": True, "definition": "hits"}
    (folder / "metrics.json").write_text(json.dumps([metric, metric | {"name": "r.mean"}]))
    np.savez(folder / "items.npz", **{"r.t2i_r5": hits, "r.groups": np.arange(len(hits)) // 2})
    return folder


def test_the_grid_is_made_of_the_models_own_metrics(tmp_path: Path) -> None:
    from pairwright.flows.grid import told

    items = items_of(0.2)
    folders = {c: [written(tmp_path, c, s, row) for s, row in enumerate(of)] for c, of in items.items()}
    found = told(folders, section(metric="r.t2i_r5"))
    assert found["rows"] == grid_rows(items, np.arange(400) // 2, FORMATS)
    assert found["definition"] == "hits"
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(InvalidRecipe, match="queries have no values"):
        told(folders, section(metric="r.mean"))
