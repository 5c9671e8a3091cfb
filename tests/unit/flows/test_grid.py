"""A caption grid that cannot be right is refused before any work; what a cell trains follows from its mix alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_project

from pairwright.components.digest import op_digest
from pairwright.components.environment import Environment
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.caption_grid import Cell
from pairwright.flows.planning.asked import ask
from pairwright.flows.stages.grid_cells import cell_fits, check_grid

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_project(tmp_path_factory.mktemp("grid"), pairs=24, shards=1)
    said = yaml.safe_load(path.read_text())
    for name in ("keywords", "title"):
        features = {"uses": "text_features", "with": {"tower": "builtin:tiny-text", "source": name}}
        said["filter"]["score"][f"{name}_features"] = features
        said["pretrain"]["with"]["text_features"][name] = f"{name}_features.vector"
    said["evaluate"]["grid"] = {"formats": ["keywords", "title"], "shares": [0, 0.25, 1], "seeds": [0, 1]}
    path.write_text(yaml.safe_dump(said, sort_keys=False))
    return path


@contextmanager
def opened(path: Path, **changes: Any) -> Iterator[Any]:
    """A run of the recipe with another grid, or without its `pretrain`."""
    from pairwright.flows.running.run import open_run

    said = yaml.safe_load(path.read_text())
    if "pretrain" in changes:
        said |= {"pretrain": None, "release": None}
    said["evaluate"]["grid"] |= {name: value for name, value in changes.items() if name != "pretrain"}
    place = path.with_name("changed.yaml")
    place.write_text(yaml.safe_dump(said, sort_keys=False))
    asked = ask(str(place))
    environment = Environment.load(workspace=str(path.parent / "workspace"))
    with open_run(asked.recipe, environment, asked.dataset, flow="grid", quiet=True) as run:
        yield run


def test_a_cell_is_pretrain_with_its_mix_by_turns_and_alt_text_alone_is_one_model(recipe: Path) -> None:
    with opened(recipe) as run:
        fits = cell_fits(run, run.recipe.evaluate.grid)
        assert set(fits) == {Cell(f, s) for f in ("keywords", "title") for s in (0.0, 0.25)} | {Cell("", 1.0)}
        for cell, seeds in fits.items():
            for seed, fit in seeds.items():
                wish = fit.settings
                assert (wish.mix, wish.seed, wish.dim) == ("cycle", seed, 16)
                assert wish.captions == cell.captions("alt")
        every = [op_digest(fit) for seeds in fits.values() for fit in seeds.values()]
        assert len(set(every)) == len(every) == 10


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "retrievel.t2i_r5"}, 'did you mean "retrieval"'),
        ({"metric": "retrieval"}, "no BENCHMARK.METRIC"),
        ({"formats": ["keywords", "dense"]}, 'captions names "dense", text_features does not'),
        ({"shares": [0.0, 0.123456]}, "no cycle of at most 100 turns"),
        ({"pretrain": None}, "add that section"),
    ],
)
def test_a_grid_that_cannot_be_right_is_refused_in_one_line(recipe: Path, changes: dict[str, Any], told: str) -> None:
    with opened(recipe, **changes) as run, pytest.raises(InvalidRecipe) as refused:
        check_grid(run, run.recipe.evaluate.grid)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
