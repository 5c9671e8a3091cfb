"""`pairwright label`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DEFAULT_PORT = 3100


class OpensByDefault(click.Group):
    """`label DATASET` opens the page; `label export`, `label import` and `label status` are verbs of their own."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["open", *args]
        return super().parse_args(context, args)


def stored(work: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which dataset's labels are meant, and where they are kept."""
    work = click.option("--store", metavar="FILE", help="The labels' SQLite file; default in the workspace.")(work)
    work = click.option("--workspace", metavar="DIR", help="Workspace whose captions and scores are used.")(work)
    return click.argument("dataset")(work)


@click.group("label", cls=OpensByDefault, no_args_is_help=True)
def command() -> None:
    """Judge captions on a page: `pairwright label DATASET` opens it in the browser.

    Pictures and captions are chosen so that an answer teaches most; a random share is kept for evaluation.
    Every answer is on the disk before the next picture. The same command goes on where it stopped.

    \b
    Examples:
      pairwright label data/raw                           200 pictures, straight from a dataset folder
      pairwright label data/raw --workspace workspace     with the captions its latest run made
      pairwright label export data/raw labels/raw         the labels, for the `labels` step of a recipe
      pairwright label status data/raw                    progress, agreement, consistency
      pairwright label open --help                        every option of the page
    """


@command.command("open")
@stored
@click.option("--labeller", metavar="NAME", help="Who labels; the page can change it. Default: your user name.")
@click.option("--items", type=click.IntRange(min=1), default=200, show_default=True, help="Pictures to label in all.")
@click.option("--sources", metavar="A,B", help="Caption sources: alt, keywords, translation@de ...")
@click.option(
    "--captions", type=click.IntRange(2, 9), default=3, show_default=True, help="Captions a picture, at most."
)
@click.option(
    "--random",
    "random_share",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share drawn blindly, kept for honest evaluation.",
)
@click.option(
    "--score",
    "scores",
    multiple=True,
    metavar="SOURCE=STEP.COLUMN",
    help="A reward of a source's captions: even matches come first. Repeatable.",
)
@click.option("--reward", metavar="FOLDER", help="A reward model: what it is least sure of comes first.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share answered by two labellers, for agreement.",
)
@click.option(
    "--repeats",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="Share asked again of the same labeller, for consistency.",
)
@click.option("--criteria", metavar="FILE", help="What is asked, instead of the packaged criteria.yaml.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="0.0.0.0 lets other machines label, with a key.",
)
@click.option("--api-key-file", metavar="FILE", help="The key that is asked for; or in PAIRWRIGHT_API_KEY.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any free one.")
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def open_page(dataset: str, workspace: str | None, store: str | None, **said: Any) -> None:
    """Open the labelling page for DATASET until Ctrl-C."""
    from pairwright.components.environment import silence

    silence()
    from pairwright.components.guard import api_key, check_exposure, names_of
    from pairwright.components.preference.criteria import read_criteria
    from pairwright.components.preference.store import LabelStore
    from pairwright.components.preference.web import labelling_app
    from pairwright.components.web_server import listening_socket
    from pairwright.flows.planning.datasets import find_dataset

    key = api_key(said["api_key_file"])
    check_exposure(said["host"], key)
    criteria = read_criteria(said["criteria"])
    data = find_dataset(dataset)
    with listening_socket(said["host"], said["port"]) as listening:  # busy is said before anything is sampled
        labels = LabelStore(store or store_path(data, workspace))
        fill(labels, data, workspace, said)
        app = labelling_app(
            labels,
            data,
            criteria,
            labeller=said["labeller"] or user_name(),
            command=f"pairwright label export {dataset} labels/{data.name}",
            seed=said["seed"],
            repeat_share=said["repeats"],
            names=names_of(said["host"]),
            key=key,
        )
        serve(app, listening, said["host"], said["labeller"], not said["no_open"])
        labels.close()
    click.echo("ended; the same command goes on where it stopped", err=True)


def fill(labels: Any, data: Any, workspace: str | None, said: dict[str, Any]) -> None:
    """Sample items until the store has as many as were asked for; what is there stays."""
    from pairwright.components.preference.candidates import SIDECAR_SOURCES
    from pairwright.components.preference.pool import feature_column, read_pool
    from pairwright.components.preference.sampling import sample_items
    from pairwright.components.recaption.captioners.clean import clean_caption

    shards = {shard.digest for shard in data.shards}
    here = [item for item in labels.items() if item.shard in shards]
    missing = said["items"] - len(here)
    if missing > 0:
        view, made = columns_of(data, workspace)
        pool = read_pool(
            data,
            sources=said["sources"].split(",") if said["sources"] else SIDECAR_SOURCES,
            view=view,
            made=made,
            variants={"cleaned": clean_caption},
            features=feature_column(view) if view else None,
            rewards=parsed_scores(said["scores"], view),
            seed=said["seed"],
        )
        if said["reward"]:
            ask_reward(pool, said["reward"], view)
        items = sample_items(
            pool,
            missing,
            before=here,
            random_share=said["random_share"],
            most_candidates=said["captions"],
            seed=said["seed"],
        )
        labels.add_items(items, overlap=said["overlap"])
        here = [item for item in labels.items() if item.shard in shards]
    click.echo(f"{len(here)} pictures to label, kept in {labels.path}", err=True)


def ask_reward(pool: Any, reference: str, view: Any) -> None:
    """Score the pool's captions by a reward model.

    Raises:
        ModelError: the reference is no reward model.
        ColumnError: no run has picture features it could score by.
    """
    from pairwright.components.artifact import check_committed
    from pairwright.components.errors import ColumnError
    from pairwright.components.models.resolve import resolve_model
    from pairwright.components.models.reward import load_reward
    from pairwright.components.preference.rewarded import add_rewards, feature_of_width

    if view is None:
        raise ColumnError(f"--reward {reference} needs picture features; run a recipe with them on this dataset first")
    folder = str(resolve_model(reference).path)
    check_committed(folder)
    reward = load_reward(folder)
    column = feature_of_width(view, reward.image_width)
    click.echo(f"asking the reward about {sum(map(len, pool.candidates)):,} captions ...", err=True)
    add_rewards(pool, reward, view, column)


def columns_of(data: Any, workspace: str | None) -> tuple[Any, list[str]]:
    """The columns of the newest run over any of these shards, and its captioner steps; (None, []) if there is none."""
    from pathlib import Path

    from pairwright.components.dataset.shards import storage
    from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
    from pairwright.components.environment import Environment

    environment = Environment.load(workspace=workspace)
    store = ColumnStore(environment.columns_root)
    for path in sorted(Path(environment.workspace).glob("runs/*/run.json"), reverse=True):
        record = storage.read_json(str(path))
        steps = {name: StepColumns(**where) for name, where in record.get("columns", {}).items()}
        if any(store.has(step, shard.digest) for step in steps.values() for shard in data.shards):
            return ColumnsView(data, store, steps), list(record.get("captions", []))
    return None, []


def parsed_scores(scores: tuple[str, ...], view: Any) -> dict[str, str]:
    """`--score SOURCE=STEP.COLUMN` as a mapping.

    Raises:
        InvalidRecipe: another form, or no run's columns to read.
        ColumnError: no such step.
    """
    from pairwright.components.errors import InvalidRecipe

    found = {}
    for text in scores:
        source, equals, column = text.partition("=")
        if not equals or "." not in column:
            raise InvalidRecipe(f'--score "{text}" is not SOURCE=STEP.COLUMN; write --score alt=reward_alt.score')
        if view is None:
            raise InvalidRecipe(f'--score "{text}": no run in the workspace has columns of this dataset; run a recipe')
        view.split(column)
        found[source] = column
    return found


def store_path(data: Any, workspace: str | None) -> str:
    """Where a dataset's labels are kept: in the file with most of its answers, if there are several."""
    from pairwright.components.environment import Environment
    from pairwright.components.preference.store_files import store_files

    first, *others = store_files(f"{Environment.load(workspace=workspace).workspace}/labels", data)
    for other in others:
        click.echo(f"{other} has labels of {data.name} too; reach them with --store {other}", err=True)
    return str(first)


def opened_store(data: Any, workspace: str | None, store: str | None) -> Any:
    """The store of a dataset that was labelled.

    Raises:
        DatasetError: nobody did.
    """
    from pathlib import Path

    from pairwright.components.errors import DatasetError
    from pairwright.components.preference.store import LabelStore

    path = store or store_path(data, workspace)
    if not Path(path).is_file():
        raise DatasetError(
            f"{path} is not there: nothing of {data.name} is labelled; run `pairwright label {data.root}`"
        )
    return LabelStore(path)


def user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "labeller"


def serve(app: Any, listening: Any, host: str, labeller: str | None, browser: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; the address is printed once it answers."""
    from urllib.parse import quote

    from pairwright.components.guard import page_address
    from pairwright.components.web_server import serve_until_ended

    def started() -> None:
        address = page_address(host, listening.getsockname()[1])
        address += f"?labeller={quote(labeller)}" if labeller else ""
        click.echo(f"label on {address}    Ctrl-C ends it, nothing is lost", err=True)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve_until_ended(app, listening, started=started)


@command.command("export")
@stored
@click.argument("dest", type=click.Path(file_okay=False))
@click.option("--format", "form", type=click.Choice(["folder", "label-studio"]), default="folder", show_default=True)
@click.option("--criteria", metavar="FILE", help="Criteria of Label Studio's configuration; default the packaged ones.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def export(
    dataset: str, dest: str, workspace: str | None, store: str | None, form: str, criteria: str | None, as_json: bool
) -> None:
    """Write DATASET's labels to DEST: a folder for the `labels` step, or Label Studio's tasks and configuration.

    \b
    Examples:
      pairwright label export data/raw labels/raw
      pairwright label export data/raw to-label-studio --format label-studio
    """
    import json

    from pairwright.components.preference.labels_folder import export_labels
    from pairwright.flows.planning.datasets import find_dataset

    data = find_dataset(dataset)
    labels = opened_store(data, workspace, store)
    if form == "folder":
        said = export_labels(labels, dest)
        words = (
            f"{said['judgements']} judgements from {said['answers']} answers by {len(said['by_labeller'])} in {dest}"
        )
    else:
        said = export_tasks(labels, data, dest, criteria)
        words = (
            f"{said['tasks']} tasks with {said['annotations']} annotations in {dest}; set up the project by config.xml"
        )
    click.echo(json.dumps(said, indent=1) if as_json else words)


def export_tasks(labels: Any, data: Any, dest: str, criteria: str | None) -> dict[str, int]:
    from pairwright.components.preference.criteria import read_criteria
    from pairwright.components.preference.label_studio import labelling_config, tasks, write_tasks
    from pairwright.components.preference.picture import Pictures

    pictures = Pictures(data)
    shards = {shard.digest for shard in data.shards}
    items = [item for item in labels.items() if item.shard in shards]
    jpegs = {item.id: jpeg for item in items if (jpeg := pictures.jpeg(item.shard, item.row)) is not None}
    exported = tasks([item for item in items if item.id in jpegs], labels.given(), jpegs)
    most = max((len(item.candidates) for item in items), default=2)
    write_tasks(dest, exported, labelling_config(read_criteria(criteria), most))
    return {"tasks": len(exported), "annotations": sum(len(task["annotations"]) for task in exported)}


@command.command("import")
@stored
@click.argument("annotated", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def import_(dataset: str, annotated: str, workspace: str | None, store: str | None, as_json: bool) -> None:
    """Take the annotations of Label Studio's JSON export (ANNOTATED) in as answers. Twice is as good as once.

    \b
    Example:
      pairwright label import data/raw project-1-at-2026-11-21.json
    """
    import json

    from pairwright.components.preference.label_studio import read_annotated
    from pairwright.components.preference.store import LabelStore
    from pairwright.flows.planning.datasets import find_dataset

    data = find_dataset(dataset)
    found = read_annotated(annotated)
    labels = LabelStore(store or store_path(data, workspace))
    said = {
        "annotations": len(found),
        "new": labels.take_in(found, {shard.digest: shard.rows for shard in data.shards}),
    }
    click.echo(json.dumps(said) if as_json else f"{said['new']} new answers of {said['annotations']} annotations")


@command.command("status")
@stored
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(dataset: str, workspace: str | None, store: str | None, as_json: bool) -> None:
    """How far DATASET is labelled, how far labellers agree, and each one with themselves."""
    import json
    from collections import Counter

    from pairwright.components.preference.reliability import reliability
    from pairwright.flows.planning.datasets import find_dataset

    data = find_dataset(dataset)
    labels = opened_store(data, workspace, store)
    given = labels.given()
    first = [one for one in given if not one.repeat]
    said: dict[str, Any] = {
        "store": str(labels.path),
        "items": len(labels.items()),
        "items_answered": len({one.item.id for one in first}),
        "by_labeller": dict(sorted(Counter(one.labeller for one in first).items())),
        **reliability(given),
    }
    if as_json:
        click.echo(json.dumps(said, indent=1))
        return
    click.echo(f"{said['items_answered']} of {said['items']} pictures answered, in {said['store']}")
    for who, count in said["by_labeller"].items():
        again = said["consistency"].get(who)
        same = f", {again['same']} of {again['comparisons']} comparisons the same when asked again" if again else ""
        click.echo(f"  {who:<20} {count:>5} answers{same}")
    for kind, one in said["agreement"].items():
        value = "cannot be told yet" if one["alpha"] is None else f"{one['alpha']:.3f}"
        click.echo(f"  {kind:<20} alpha {value} ({one['metric']}, {one['units']} units, {one['labellers']} labellers)")
