"""A search that cannot be right is refused before any work, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_project

from pairwright.components.environment import Environment
from pairwright.components.errors import InvalidRecipe
from pairwright.flows.planning.asked import ask
from pairwright.flows.search import Trial, _best, _outcome, wanted_search

pytestmark = pytest.mark.platform


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project(tmp_path_factory.mktemp("search"), pairs=24, shards=1)


def wanted(path: Path, *vary: str, changes: dict[str, Any] | None = None, trials: int | None = None) -> Any:
    from pairwright.flows.running.run import open_run

    place = path
    if changes:
        place = path.with_name("changed.yaml")
        place.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))
    asked = ask(str(place))
    environment = Environment.load(workspace=str(path.parent / "workspace"))
    with open_run(asked.recipe, environment, asked.dataset, flow="search", quiet=True) as run:
        return wanted_search(run, vary, trials)


def test_the_space_is_the_recipes_with_what_the_command_adds(recipe: Path) -> None:
    found = wanted(recipe, "lr=1e-4..1e-2:log", changes={"search": {"space": {"dim": [8, 16]}, "trials": 7}})
    assert set(found.section.space) == {"lr", "dim"}
    assert (found.section.trials, found.metric) == (7, "retrieval.t2i_r5")  # the gate's metric where none is said
    assert wanted(recipe, "dim=8,16", trials=3).section.trials == 3


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        ((), "nothing to search"),
        (("lrr=1..2",), 'unknown key "lrr"; did you mean "lr"'),
        (("dim=0,16",), "dim"),
        (("lr=-1.0..1.0",), "lr"),
        (("seed=1,2",), "no setting to choose"),
        (("dim",), "NAME=LOW..HIGH"),
    ],
)
def test_settings_the_model_cannot_have_are_refused(recipe: Path, vary: tuple[str, ...], told: str) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        wanted(recipe, *vary)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_metric_of_no_benchmark_and_a_recipe_that_trains_nothing_are_refused(recipe: Path) -> None:
    with pytest.raises(InvalidRecipe, match='did you mean "retrieval"'):
        wanted(recipe, changes={"search": {"space": {"dim": [8]}, "metric": "retrievel.t2i_r5"}})
    with pytest.raises(InvalidRecipe, match="needs the sections"):
        wanted(recipe, "dim=8,16", changes={"pretrain": None, "release": None, "evaluate": None})


def test_less_is_more_where_the_metric_says_so(tmp_path: Path) -> None:
    folders = []
    for number, value in enumerate((10.0, 4.0)):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / "metrics.json").write_text(
            f'[{{"name": "r.rank", "value": {value}, "higher_is_better": false}}]'
        )
    assert _outcome(folders, "r.rank") == {"value": 7.0, "gain": -7.0, "reason": ""}
    trials = [Trial(n, {}, f, -f) for n, f in enumerate((10.0, 4.0, 4.0))] + [Trial(3, {}, None, None, "failed")]
    best = _best(trials)
    assert best is not None
    assert best.number == 1
    with pytest.raises(InvalidRecipe, match=r'did you mean "r\.rank"'):
        _outcome(folders, "r.rnak")
