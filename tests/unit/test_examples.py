"""Every command that a help text, a docstring, a page of docs or the README prints is one that can be given.

Parsed by the command's own parser, with every name it holds looked up; those of the README are run as well
(tests/e2e/test_readme.py).
"""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pairwright.components.errors import DatasetError
from pairwright.components.registry import component_class
from pairwright.flows.cli import VERBS, pairwright

pytestmark = pytest.mark.platform

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "flows", "serving")
# What stands for something of the reader's in an example.
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+|\./.*|.*\.yaml|/path/.*|s3://.*|\d+")
GIVEN = re.compile(r"(?:^|[`$;|(]|&& )\s*((?:[A-Z_]+=\S+ )*pairwright [^`\n]*)", re.MULTILINE)


def printed() -> Iterator[tuple[str, str]]:
    """(where, command) of every example."""
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        yield from found(page.name, page.read_text(encoding="utf-8"))
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    yield from found(str(path.relative_to(REPOSITORY)), ast.get_docstring(node) or "")
    yield from found("Makefile", (REPOSITORY / "Makefile").read_text().replace("$(BIN)/pairwright", "pairwright"))


def found(where: str, text: str) -> Iterator[tuple[str, str]]:
    for match in GIVEN.finditer(text):
        command = re.split(r"\s{2,}|\s[#|;>&]\s|[.,:;)]*$", match.group(1).strip())[0].strip()
        if len(command.split()) > 1 and not command.endswith("…"):
            yield where, re.sub(r"^([A-Z_]+=\S+ )*", "", command)


EXAMPLES = sorted(set(printed()))


def test_there_are_examples_in_every_place() -> None:
    places = {where.partition("/")[0] for where, _ in EXAMPLES}
    assert {"README.md", "flows", "components", "Makefile", "extend.md", "explore.md", "label.md"} <= places
    assert len(EXAMPLES) > 100


@pytest.mark.parametrize(("where", "command"), EXAMPLES, ids=[f"{w}: {c}" for w, c in EXAMPLES])
def test_an_example_is_a_command_that_can_be_given(where: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] in ("RECIPE", "VERB", "--help", "--version"):
        return
    assert words[0] in VERBS, f"there is no verb {words[0]}"
    verb = pairwright.get_command(click.Context(pairwright), words[0])
    assert verb is not None
    with click.Context(verb, info_name=words[0], parent=click.Context(pairwright)) as context:
        try:
            verb.parse_args(context, words[1:])
        except click.exceptions.Exit:
            return  # --help
        except DatasetError:
            if "KIND" not in words:
                raise
            return
        except click.UsageError as error:
            if len(words) > 1 and not isinstance(error, click.MissingParameter):
                raise
            return  # named in a sentence, without its arguments
    check_names(words[0], context.params)


@functools.cache
def known_by_verb() -> dict[str, tuple[str, list[str]]]:
    """verb -> (its parameter that is a name, the names there are)."""
    from pairwright.components.dataset.ingest import sources
    from pairwright.components.registry import known_names, summaries
    from pairwright.flows.recipes import recipe_names

    return {
        "run": ("recipe", [*recipe_names()]),
        "explain": ("what", [*recipe_names(), *known_names(), *(f"{kind}.{name}" for kind, name in summaries())]),
        "score": ("scorer", [*known_names("scorer")]),
        "ingest": ("kind", [*sources(), "auto"]),
    }


def check_names(verb: str, given: dict[str, object]) -> None:
    known = known_by_verb()
    if verb in known:
        parameter, names = known[verb]
        value = str(given[parameter])
        made_up = PLACEHOLDER.fullmatch(value) or value in ("long_words", "mine")  # as docs/extend.md begins them
        assert made_up or value in names, f"{value} is none of {sorted(names)}"
    if verb == "score" and given["scorer"] in known[verb][1]:
        cls = component_class("scorer", str(given["scorer"]))
        made = cls(cls.settings_model().parse(options(given["settings"]), "an example"))
        assert not made.column_names(), f"{cls.name} reads columns of other steps, which `score` does not make"


def options(settings: object) -> dict[str, str]:
    assert isinstance(settings, tuple)
    return dict(setting.split("=", 1) for setting in settings)


def test_a_port_that_the_makefile_names_is_the_commands_own() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for verb in ("serve", "label", "explore"):
        (port,) = re.findall(rf"^{verb}:.*?http://127\.0\.0\.1:(\d+)", makefile, re.MULTILINE)
        command = pairwright.get_command(click.Context(pairwright), verb)
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), "open")
        assert command is not None
        (default,) = (p.default for p in command.params if p.name == "port")
        assert int(port) == default, verb
