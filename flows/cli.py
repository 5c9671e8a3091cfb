"""`pairwright …`: the command. Nothing heavy is imported until a verb has work to do."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from typing import Any

import click

VERBS = {
    "run": "Run a recipe: crawl in, curated set, model, Bento and report out.",
    "search": "Search a recipe's settings on dev, then train, judge and release the best.",
    "ingest": "Make a dataset from a folder, a list of URLs, COCO, Parquet, tars ...",
    "score": "Score one dataset with one scorer and look at the numbers.",
    "label": "Judge captions on a page, for a reward model to learn from.",
    "explore": "Look at a run's pairs: filter by SQL, sort, compare selections, open one.",
    "why": "Say why a pair was dropped, or kept.",
    "dropped": "List dropped pairs by the rule that dropped them.",
    "explain": "Say what a recipe would do, without doing it; or describe a component.",
    "recipes": "List the recipes that ship with Pairwright.",
    "components": "List what a recipe's steps may use, one line each.",
    "new": "Begin a component of your own: a folder with its code, test and packaging.",
    "compare": "Compare runs on the items all were measured on, and draw a page of it.",
    "power": "How many test items a difference needs, and what so many could have seen.",
    "lineage": "From a model to the data, recipe, code and gates that made it.",
    "export": "Write the curated set as a WebDataset and a Parquet to take away.",
    "export-model": "Write a model for transformers, open_clip, sentence-transformers or ONNX, checked.",
    "import-model": "Make a model folder of a CLIP or SigLIP of open_clip or transformers, checked.",
    "checkout": "Restore the data a model was trained on.",
    "rollback": "Make the previous champion champion again.",
    "serve": "Serve the champion: embed, score, classify, search, and a page.",
    "doctor": "Say what is missing or misconfigured, and how to mend it.",
}


class Verbs(click.Group):
    """Verbs whose modules are imported only when called; `--help` needs none of them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"pairwright.flows.commands.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "; see `pairwright --help`"
            raise click.UsageError(f'there is no verb "{args[0]}"{hint}')
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pairwright")
def pairwright() -> None:
    """Turn a noisy crawl of image-text pairs into a small, aligned, versioned training set, a model
    trained on it and a served endpoint.

    \b
    Begin with:
      pairwright run quickstart              the demo corpus, from crawl to report
      pairwright serve                       then ask the model it made
      pairwright why raw/KEY                 why a pair was dropped
      pairwright run quickstart --data DIR   the same on your own data
    """


def main(arguments: list[str] | None = None) -> None:
    """The entry point: a user's mistake is one line on standard error, never a traceback."""
    try:
        _answered(arguments)
    except BaseException:
        code = _signalled()
        if code is None:
            raise
        leave(code)  # whatever a library made of the interruption


def _answered(arguments: list[str] | None) -> None:
    from pairwright.components.errors import InvalidRecipe, PairwrightError

    try:
        pairwright.main(arguments, prog_name="pairwright", standalone_mode=False)
        leave(0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):  # click makes the first of the second
        leave(_signalled() or 130)  # a run has said what it had to say
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PairwrightError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        leave(2 if isinstance(error, InvalidRecipe) else 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from pairwright.flows.terminal.full_disk import is_full

        if not is_full(error):
            raise
        click.echo(
            "WorkspaceError: the disk is full; free space or set PAIRWRIGHT_WORKSPACE elsewhere, then run the same "
            "command, which goes on where this one stopped",
            err=True,
        )
        leave(1)


def _signalled() -> int | None:
    """The exit code of a run that a signal ended."""
    interrupt = sys.modules.get("pairwright.flows.terminal.interrupt")
    return interrupt.exit_code() if interrupt else None


def leave(code: int) -> None:
    """Exit with `code`; after a flow, without waiting for the interpreter to take itself apart.

    Prefect's threads outlive the flow, and DuckDB's bindings then report every object they kept as a leak.
    What was registered to run at exit (Prefect's own server, Ray's session) still runs.
    """
    if "prefect" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
