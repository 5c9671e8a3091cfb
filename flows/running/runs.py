"""The runs of a workspace: their records on disk, and which one a verb means.

    record = chosen_run("workspace")                 the latest run of a whole dataset
    record = chosen_run("workspace", "quickstart")   that recipe's latest, or a run by its id
    print(title(record))                             quickstart on raw, 2026-11-28 17:03, run ...

A sample (`--limit`) is never "the latest" while a whole run is there: it is named, or it is not used. A record names
what lies in the workspace by `$WORKSPACE/...`, so that a workspace can be moved.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.errors import DatasetError, nearest
from pairwright.components.workspace_paths import PLACE, found, moved, named

LATEST = "latest"


def write_record(workspace: str, record: dict[str, Any]) -> None:
    """`runs/<id>/run.json`, whole or not at all."""
    storage.write_json(str(Path(workspace) / "runs" / record["id"] / "run.json"), named(record, workspace))


def read_record(workspace: str, run_id: str) -> dict[str, Any]:
    """A run's record, with the paths it has in this workspace.

    Raises:
        DatasetError: it is not there, or no JSON.
    """
    record: dict[str, Any] = storage.read_json(str(Path(workspace) / "runs" / run_id / "run.json"))
    folder = str(record.get("results", {}).get("selection_folder", PLACE))
    if folder.startswith(PLACE):
        return found(record, workspace)
    return moved(record, str(Path(folder).parents[1]), workspace)  # as it was written before there was `$WORKSPACE`


def run_records(workspace: str) -> list[dict[str, Any]]:
    """Every run's record, oldest first; a record that cannot be read is left out."""
    records = []
    for path in sorted((Path(workspace) / "runs").glob("*/run.json")):
        try:
            records.append(read_record(workspace, path.parent.name))
        except DatasetError:
            continue
    return records


def is_sample(record: dict[str, Any]) -> bool:
    """Whether the run saw only some of its dataset's shards (`--limit`)."""
    return bool(record.get("sample")) or "projection" in record.get("results", {})


def has_selection(record: dict[str, Any]) -> bool:
    return "selection_folder" in record.get("results", {})


def chosen_run(
    workspace: str,
    name: str | None = None,
    *,
    fits: Callable[[dict[str, Any]], bool] = has_selection,
    whole: bool = False,
) -> dict[str, Any]:
    """The record of a run by its id, of a recipe's latest run, or of the latest.

    Args:
        fits: what the record must hold to be chosen without being named by its id.
        whole: refuse a sample that was not named by its id, even if nothing else was run.

    Raises:
        DatasetError: nothing was run here, nothing of that name, or only a sample where a whole run is wanted.
    """
    records = run_records(workspace)
    for record in records:
        if record["id"] == name:
            return checked(record, fits)
    wanted = [r for r in records if fits(r) and name in (None, LATEST, r.get("recipe"))]
    if not wanted:
        raise _none(workspace, records, name)
    complete = [r for r in wanted if not is_sample(r)]
    if whole and not complete:
        raise DatasetError(
            f"only samples were run in {workspace}; run the whole, or name a sample: --run {wanted[-1]['id']}"
        )
    return (complete or wanted)[-1]


def checked(record: dict[str, Any], fits: Callable[[dict[str, Any]], bool] = has_selection) -> dict[str, Any]:
    """The record.

    Raises:
        DatasetError: it does not hold what it must.
    """
    if not fits(record):
        raise DatasetError(f"run {record['id']} ended before it had a selection; run its recipe again: it goes on")
    return record


def _none(workspace: str, records: list[dict[str, Any]], name: str | None) -> DatasetError:
    if name in (None, LATEST) or not records:
        return DatasetError(
            f"nothing was run in {workspace} yet that this asks of; run a recipe: pairwright run quickstart"
        )
    known = {record["id"] for record in records} | {str(record.get("recipe")) for record in records}
    return DatasetError(f'there is no run "{name}" in {workspace}{nearest(str(name), known)}')


def title(record: dict[str, Any]) -> str:
    """One line that tells a run from every other: recipe, data, time, whether it is a sample, id."""
    when = str(record.get("started", ""))[:16].replace("T", " ")
    return f"{record.get('recipe')} on {record['dataset']['name']}, {when}, {_extent(record)}run {record['id']}"


def _extent(record: dict[str, Any]) -> str:
    if not is_sample(record):
        return ""
    sample = record.get("sample") or {}
    return f"a SAMPLE of {sample['shards']} of {sample['of']} shards, " if sample else "a SAMPLE, "


def as_it_was(dataset: Any, digest: str) -> Any:
    """The shards that the run saw: of a run with `--limit`, the same sample; otherwise all of them."""
    if dataset.digest == digest:
        return dataset
    for shards in range(1, len(dataset.shards)):
        sample = dataset.limited(shards)
        if sample.digest == digest:
            return sample
    return dataset
