"""Runs from Python: do one, read one, and ask why a pair was dropped.

done = run("quickstart", limit=1)
done.funnel, done.metrics, done.why("raw/animals_ants_ant_01")
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.environment import Environment, silence
from pairwright.components.filter.rules.selection import load_selection, read_summary
from pairwright.components.filter.rules.why import why as reasons
from pairwright.flows.notebook.pairs import Pairs
from pairwright.flows.running.opened import opened
from pairwright.flows.running.runs import checked, chosen_run, title

METRIC = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # the interval's ends
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)
STAGE = pa.schema([("stage", pa.string()), ("status", pa.string()), ("seconds", pa.float64()), ("digest", pa.string())])


class RecordedRun:
    """A run of a recipe as its record has it; what is asked for is read then.

    Attributes:
        record: everything that was written down (`runs/<id>/run.json`).
    """

    def __init__(self, record: dict[str, Any], environment: Environment) -> None:
        self.record = record
        self._environment = environment

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.record["recipe"])

    @property
    def report(self) -> Path | None:
        """The page to look at, if the run came so far."""
        found = self.record["results"].get("report")
        return None if found is None else Path(found)

    @property
    def stages(self) -> pa.Table:
        """A row a stage: its name, whether it ran or was reused, seconds, digest."""
        rows = [stage | {"stage": stage["name"]} for stage in self.record["stages"]]
        return pa.Table.from_pylist(rows, STAGE)

    @property
    def metrics(self) -> pa.Table:
        """A row a metric of each arm, seed and split, with its interval and n; none where nothing was trained."""
        return pa.Table.from_pylist(list(self._metrics()), METRIC)

    def _metrics(self) -> Iterator[dict[str, Any]]:
        for arm, seeds in self.record["results"].get("metrics", {}).items():
            for seed, splits in seeds.items():
                for split, folder in splits.items():
                    for metric in storage.read_json(str(Path(folder) / "metrics.json")):
                        where = {"arm": arm, "seed": int(seed), "split": split, "metric": metric["name"]}
                        yield {name: metric[name] for name in ("value", "low", "high", "n")} | where

    @property
    def funnel(self) -> pa.Table:
        """A row a rule, in order: what came to it, what it dropped and what was left."""
        return pa.Table.from_pylist(read_summary(self._selection)["funnel"])

    @property
    def ledger(self) -> dict[str, Any]:
        """The pairs that came in, by what became of them."""
        return dict(read_summary(self._selection)["ledger"])

    @property
    def selection(self) -> pa.Table:
        """A row a pair: key, status (kept, dropped or failed), and the rule, value and threshold that decided."""
        verdicts = load_selection(self._selection).verdicts
        plain = [pa.string() if pa.types.is_dictionary(field.type) else field.type for field in verdicts.schema]
        return verdicts.cast(pa.schema(list(zip(verdicts.column_names, plain, strict=True))))

    @property
    def _selection(self) -> str:
        return str(checked(self.record)["results"]["selection_folder"])

    @cached_property
    def _view(self) -> ColumnsView:
        return opened(self.record, self._environment)[1]

    @property
    def pairs(self) -> Pairs:
        """The dataset as the run saw it: of a sample its shards, kept and dropped alike."""
        return Pairs(self._view.dataset)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps whose columns can be asked for."""
        return tuple(self._view.steps)

    def columns(self, *names: str) -> pa.Table:
        """`key` and these `step.column`s of every pair, kept and dropped alike.

        Raises:
            ColumnError: the run has no such step, or the step no such column.
        """
        found = {name: self._view.column(name) for name in names}
        return pa.table({"key": self._view.sidecar(["key"])["key"], **found})

    def why(self, key: str) -> list[dict[str, Any]]:
        """Why a pair was kept or dropped: for each pair of this key, its rule, value, threshold, captions and columns.

        Raises:
            DatasetError: no pair is called that.
        """
        return reasons(self._selection, self._view, key)

    def __repr__(self) -> str:
        return f"<{title(self.record)}>"


def run(
    recipe: str,
    *,
    data: Pairs | str | None = None,
    dev: Pairs | str | None = None,
    test: Pairs | str | None = None,
    labels: str | None = None,
    limit: int | None = None,
    only: Literal["curate", "train", "release"] | None = None,
    workspace: str | None = None,
    quiet: bool = False,
) -> RecordedRun:
    """Run a recipe, as `pairwright run` does: what was done before is reused, a run that was killed goes on.

    Args:
        recipe: a shipped recipe's name, or the path of a YAML file.
        data: the dataset to run on instead of the recipe's own.
        dev, test: evaluation sets instead of the recipe's own; with `data` and neither, they are drawn from it.
        labels: folder of people's labels to fit the reward on.
        limit: only this many shards, as a sample.
        only: stop after this chain.

    Raises:
        PairwrightError: whatever stands in the way, in one line.
    """
    from pairwright.flows.start import run_recipe

    sets = {"data": data, "dev": dev, "test": test}
    roots = {name: one.root if isinstance(one, Pairs) else one for name, one in sets.items()}
    record = run_recipe(
        str(recipe),
        data=roots["data"],
        dev=roots["dev"],
        test=roots["test"],
        labels=labels,
        limit=limit,
        only=only,
        workspace=workspace,
        quiet=quiet,
    )
    return RecordedRun(record, Environment.load(workspace=workspace))


def read_run(run: str | None = None, *, workspace: str | None = None) -> RecordedRun:
    """A run by its id, a recipe's latest run by the recipe's name, or the latest of all.

    Raises:
        DatasetError: there is none, or it ended before it had a selection.
    """
    silence()
    environment = Environment.load(workspace=workspace)
    return RecordedRun(chosen_run(environment.workspace, run), environment)


def why(key: str, *, run: str | None = None, workspace: str | None = None) -> list[dict[str, Any]]:
    """Why a pair was kept or dropped in a run (`read_run` says which): `status`, `rule`, `value`, `threshold`, ...

    One answer a pair of this key. Raises as `read_run` and `RecordedRun.why`.
    """
    return read_run(run, workspace=workspace).why(key)
