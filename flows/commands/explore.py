"""`pairwright explore`."""

from __future__ import annotations

from typing import Any

import click

from pairwright.flows.terminal.completion import RUN


@click.command("explore")
@click.argument("run", default="latest", metavar="[RUN|latest]", shell_complete=RUN)
@click.option("--workspace", metavar="DIR", help="Workspace of the run.")
@click.option("--selection", "folders", metavar="DIR", multiple=True, help="Another selection's folder, to compare.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines look, with a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="0: any free one.")
@click.option("--api-key-file", metavar="FILE", help="The key that is asked for; or in PAIRWRIGHT_API_KEY.")
@click.option("--open/--no-open", "open_browser", default=True, help="Open the page in a browser.")
def command(
    run: str,
    workspace: str | None,
    folders: tuple[str, ...],
    host: str,
    port: int,
    api_key_file: str | None,
    open_browser: bool,
) -> None:
    """Look at a run's pairs: filter by SQL, sort by any score, compare selections, see why of each pair.

    RUN is a run's id, or a recipe's name for its newest run. The data is only read.

    \b
    Examples:
      pairwright explore                     the latest run, on http://127.0.0.1:8321
      pairwright explore quickstart --port 9000 --no-open
      pairwright explore --selection ./other/selection
    """
    from pairwright.components.environment import Environment, silence
    from pairwright.components.errors import MissingDependency
    from pairwright.components.guard import api_key, check_exposure, page_address

    silence()
    key = api_key(api_key_file)
    check_exposure(host, key)
    try:
        from pairwright.components.explore.web import serve
    except ImportError as error:
        raise MissingDependency(f"the explorer needs {error.name}; pip install 'pairwright[platform]'") from None
    from pairwright.components.explore.explorer import open_explorer
    from pairwright.components.web_server import listening_socket

    exploration = exploration_of(Environment.load(workspace=workspace), run, folders)
    with listening_socket(host, port) as listening:
        address = page_address(host, listening.getsockname()[1])
        pairs = exploration.view.rows
        click.echo(f"{exploration.name}: {pairs:,} pairs of {exploration.view.dataset.name} ...", err=True)
        with open_explorer(exploration) as explorer:
            for gap in explorer.tables.gaps.values():
                click.secho(f"  {gap.says()}", fg="yellow", err=True)

            def started() -> None:
                click.echo(f"on {address} until Ctrl-C{'; it asks for the key' if key else ''}", err=True)
                if open_browser:
                    click.launch(address)

            serve(explorer, listening, started, host=host, key=key)
            click.echo("ended; the same command opens it again", err=True)


def exploration_of(environment: Any, run: str, folders: tuple[str, ...] = ()) -> Any:
    """The run's dataset, columns and selections, with those of the workspace's other runs on the same data.

    Raises:
        DatasetError: there is no such run, its dataset is gone, or a folder holds no selection.
    """
    from pathlib import Path

    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
    from pairwright.components.explore.exploration import Exploration, SelectionPlace
    from pairwright.components.filter.rules.selection import read_summary
    from pairwright.flows.running.runs import as_it_was, chosen_run, run_records, title

    records = run_records(environment.workspace)
    record = chosen_run(environment.workspace, run, fits=lambda record: True)
    dataset = as_it_was(open_dataset(record["dataset"]["root"]), record["dataset"]["digest"])
    steps = {name: StepColumns(**where) for name, where in record.get("columns", {}).items()}
    places: dict[str, SelectionPlace] = {}
    for other in [record, *reversed(records)]:
        folder = other.get("results", {}).get("selection_folder")
        if folder and other["dataset"]["root"] == record["dataset"]["root"]:
            places.setdefault(folder, SelectionPlace(Path(folder).name, folder, title(other)))
    for given in folders:
        read_summary(given)
        path = str(Path(given).resolve())
        places.setdefault(path, SelectionPlace(f"folder-{len(places)}", path, Path(path).name))
    own = record.get("results", {}).get("selection_folder")
    return Exploration(
        name=record["id"],
        view=ColumnsView(dataset, ColumnStore(environment.columns_root), steps),
        selections=tuple(places.values()),
        own=places[own].name if own else None,
        captioners=tuple(record.get("captions", ())),
        workspace=environment.workspace,
    )
