"""`pairwright doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import click

GIB = 2**30
PACKAGES = ("torch", "transformers", "prefect", "ray", "dvc", "mlflow", "bentoml", "great-expectations")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, or what is wrong and how to mend it."""

    what: str
    ok: bool
    says: str
    remedy: str = ""


@click.command("doctor")
@click.option("--workspace", metavar="DIR", help="Workspace to look at.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(workspace: str | None, as_json: bool) -> None:
    """Say what is missing or misconfigured, and how to mend it. Exit code 1 if anything is.

    \b
    Examples:
      pairwright doctor
      PAIRWRIGHT_TRACKING_URI=http://mlflow:5000 pairwright doctor
    """
    import json

    from pairwright.components.environment import silence

    silence()
    findings = [finding for check in checks(workspace) for finding in check()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("MEND", fg="red", bold=True)
            click.echo(f"{mark}  {finding.what:<22} {finding.says}")
            if finding.remedy and not finding.ok:
                click.echo(f"      {finding.remedy}")
    raise SystemExit(0 if all(finding.ok for finding in findings) else 1)


def checks(workspace: str | None) -> list[Callable[[], Iterator[Finding]]]:
    """Every check; one that fails on its own is a finding, not a crash."""
    return [
        _python,
        _packages,
        _weights,
        lambda: _workspace(workspace),
        _memory,
        _data,
        lambda: served(workspace),
        lambda: _servers(workspace),
    ]


def _python() -> Iterator[Finding]:
    import platform
    import sys

    fits = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("python", fits, platform.python_version(), "use Python 3.11 or 3.12: make setup PYTHON=python3.11")


def _packages() -> Iterator[Finding]:
    import importlib.metadata

    for name in PACKAGES:
        try:
            yield Finding(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed", "make setup, or: pip install 'pairwright[platform]'")


def _weights() -> Iterator[Finding]:
    from pairwright.components.errors import PairwrightError
    from pairwright.components.models.resolve import resolve_model

    for reference in ("builtin:efficientnet-lite0", "builtin:minilm"):
        try:
            found = resolve_model(reference)
            yield Finding(reference, True, f"weights {found.weights}")
        except PairwrightError as error:
            yield Finding(reference, False, str(error), "make setup")


def _workspace(workspace: str | None) -> Iterator[Finding]:
    import shutil

    from pairwright.components.environment import Environment
    from pairwright.components.errors import PairwrightError
    from pairwright.flows.running.workspace import check_workspace

    try:
        environment = Environment.load(workspace=workspace)
        check_workspace(environment.workspace)
    except PairwrightError as error:
        yield Finding("workspace", False, str(error), "set PAIRWRIGHT_WORKSPACE to a folder you can write")
        return
    yield Finding("workspace", True, environment.workspace)
    free = shutil.disk_usage(environment.workspace).free / GIB
    yield Finding("disk", free >= 5, f"{free:.0f} GiB free", "free at least 5 GiB, or move PAIRWRIGHT_WORKSPACE")


def _memory() -> Iterator[Finding]:
    import os

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield Finding("memory", total >= 6, f"{total:.0f} GiB", "6 GiB or more; fewer workers help: PAIRWRIGHT_WORKERS=1")
    shared = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if shared is not None:
        size = shared.f_bsize * shared.f_bavail / GIB
        yield Finding("/dev/shm", size >= 0.2, f"{size:.1f} GiB", "Ray wants 200 MiB: docker run --shm-size=1g")


def _data() -> Iterator[Finding]:
    from pathlib import Path

    if not Path("data.dvc").is_file():
        return
    from pairwright.components.versioning.pinned import DEMO, is_current, pulled_together

    for name, folders in (("demo corpus", DEMO), ("emoji corpus", pulled_together("emoji"))):
        here = is_current(Path(), folders)
        yield Finding(
            name,
            True,
            "as data.dvc pins it" if here else f"not pulled yet; the first run on data/{folders[0]} pulls it",
        )


def served(workspace: str | None) -> Iterator[Finding]:
    """The registry's champion and the Bento that `serve` starts must be the same version."""
    from pairwright.components.environment import Environment
    from pairwright.components.errors import NoChampion, TrackingError
    from pairwright.flows.champion import disagreement, served_bento
    from pairwright.flows.running.run import champion_of

    environment = Environment.load(workspace=workspace)
    try:
        champion = champion_of(environment)
        if champion is None and served_bento(environment) is None:
            yield Finding("served model", True, "no version is champion yet")
            return
        problem = disagreement(environment)
    except (NoChampion, TrackingError) as error:
        said, _, remedy = str(error).partition("; ")
        yield Finding("served model", False, said, remedy)
        return
    says = f"version {champion.version}, the champion" if champion else ""
    yield Finding(
        "served model", problem is None, problem or says, "start `pairwright serve` anew: it takes the champion"
    )


def _servers(workspace: str | None) -> Iterator[Finding]:
    """Servers the environment names must answer; none is needed."""
    import os

    from pairwright.components.environment import Environment

    environment = Environment.load(workspace=workspace)
    named = {
        "mlflow": (environment.tracking_uri, "/health"),
        "prefect": (os.environ.get("PREFECT_API_URL"), "/health"),
    }
    for name, (url, path) in named.items():
        if url and url.startswith("http"):
            yield _answers(f"{name} server", url.rstrip("/") + path)
        else:
            yield Finding(f"{name} server", True, "none named; embedded")


def _answers(what: str, url: str) -> Finding:
    import httpx

    try:
        ok = httpx.get(url, timeout=5).status_code < 400
        return Finding(what, ok, url if ok else f"{url} answers an error", "look at its log, or unset its variable")
    except httpx.HTTPError as error:
        return Finding(what, False, f"{url}: {error}", "start it (make up), or unset its variable")
