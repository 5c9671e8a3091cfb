"""The servers of one machine: Prefect with the deployments served, MLflow's UI, the champion's Bento.

    python -m pairwright.flows.servers.servers up        make up
    python -m pairwright.flows.servers.servers down      make down

Process ids and logs are in <workspace>/servers/. A server that is up already is left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment, silence
from pairwright.components.errors import NoChampion, WorkspaceError

START_SECONDS = 120
STOP_SECONDS = 20
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Server:
    """One process: its command, its variables, and the URL that answers once it is up (None: nothing to ask)."""

    name: str
    command: list[str]
    variables: dict[str, str]
    address: str
    health: str | None


def servers(environment: Environment, ports: dict[str, int]) -> list[Server]:
    """The servers to start, in order: each may rely on those before it."""
    workspace = environment.workspace
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    python = sys.executable
    prefect = {"PREFECT_HOME": f"{workspace}/prefect", "PREFECT_API_URL": api, "PAIRWRIGHT_WORKSPACE": workspace}
    reports = f"http://127.0.0.1:{ports['reports']}"
    prefect |= {"PAIRWRIGHT_REPORTS_URL": reports}
    serve_reports = [python, "-m", "pairwright.flows.servers.report_server", workspace, str(ports["reports"])]
    started = [
        Server("reports", serve_reports, {}, reports, f"{reports}/"),
        Server(
            "prefect",
            [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])],
            prefect | {"PREFECT_UI_API_URL": api},
            f"http://127.0.0.1:{ports['prefect']}",
            f"{api}/health",
        ),
        Server(
            "deployments",
            [python, "-m", "pairwright.flows.servers.servers", "deployments"],
            prefect,
            f"{api} (served)",
            None,
        ),
    ]
    if not environment.tracking_uri:
        store = ["--backend-store-uri", environment.tracking, "--artifacts-destination", f"{workspace}/mlartifacts"]
        listen = ["--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"]
        address = f"http://127.0.0.1:{ports['mlflow']}"
        started.append(
            Server("mlflow", [python, "-m", "mlflow", "server", *store, *listen], {}, address, f"{address}/health")
        )
    from pairwright.flows.champion import champion_bento

    try:
        champion_bento(environment)
    except NoChampion:
        return started
    address = f"http://127.0.0.1:{ports['bento']}"
    command = [python, "-m", "pairwright.flows.cli", "serve", "--port", str(ports["bento"]), "--workspace", workspace]
    return [*started, Server("bento", command, {}, address, f"{address}/readyz")]


def up(environment: Environment, ports: dict[str, int]) -> dict[str, Any]:
    """Start what is not up; wait until each answers; {name: {pid, address, log}}.

    Raises:
        WorkspaceError: a server ended or did not answer in time; its log is named.
    """
    folder = Path(environment.workspace) / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    running = _recorded(folder)
    for server in servers(environment, ports):
        if _alive(running.get(server.name)):
            continue
        log = folder / f"{server.name}.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                server.command,
                cwd=REPOSITORY,
                env={**os.environ, **server.variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running[server.name] = {
            "pid": process.pid,
            "started": _start_time(process.pid),
            "address": server.address,
            "log": str(log),
        }
        storage.write_json(str(folder / "servers.json"), running)
        _wait(server, process, log)
    return running


def down(environment: Environment) -> list[str]:
    """End every server that `up` started, youngest first; their names."""
    folder = Path(environment.workspace) / "servers"
    running = _recorded(folder)
    ended = []
    for name in reversed(list(running)):
        if _alive(running[name]):
            _end(running[name]["pid"])
            ended.append(name)
    (folder / "servers.json").unlink(missing_ok=True)
    return ended


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise WorkspaceError(f"{server.name} ended at its start with code {process.returncode}; its log is {log}")
        if server.health is None:
            if b"Your deployments are being served" in log.read_bytes() or _deployed(log):
                return
        else:
            try:
                if httpx.get(server.health, timeout=2).status_code < 400:
                    return
            except httpx.HTTPError:
                pass
        time.sleep(0.3)
    raise WorkspaceError(f"{server.name} did not answer within {START_SECONDS} s; its log is {log}")


def _deployed(log: Path) -> bool:
    return b"pairwright deployments are served" in log.read_bytes()


def _recorded(folder: Path) -> dict[str, Any]:
    path = folder / "servers.json"
    found: dict[str, Any] = storage.read_json(str(path)) if path.is_file() else {}
    return found


def _start_time(pid: int) -> str:
    """The kernel's start time of a process: a recycled pid has another."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _alive(entry: dict[str, Any] | None) -> bool:
    try:
        return entry is not None and _start_time(entry["pid"]) == entry["started"]
    except OSError:
        return False


def _end(pid: int) -> None:
    """Ask the whole process group to end, then make it."""
    for wait, sign in ((STOP_SECONDS, signal.SIGTERM), (2, signal.SIGKILL)):
        try:
            os.killpg(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.1)


def serve_deployments() -> None:
    """Serve the deployments that prefect.yaml lists, in this process, until it is ended."""
    silence()
    import yaml
    from prefect import serve
    from prefect.schedules import Cron

    from pairwright.flows import pipeline as flows

    listed = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    made = []
    for entry in listed:
        flow = getattr(flows, entry["entrypoint"].partition(":")[2])
        schedules = [Cron(s["cron"], timezone=s["timezone"], active=s["active"]) for s in entry.get("schedules", [])]
        made.append(
            flow.to_deployment(
                name=entry["name"],
                description=entry["description"],
                parameters=entry["parameters"],
                concurrency_limit=entry["concurrency_limit"],
                schedules=schedules or None,
            )
        )
    serve(*made, print_starting_message=True, limit=2)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("verb", type=click.Choice(["up", "down", "deployments"]))
@click.option("--workspace", metavar="DIR", help="Workspace whose runs and champion are shown.")
@click.option("--prefect-port", default=4200, show_default=True)
@click.option("--mlflow-port", default=5000, show_default=True)
@click.option("--bento-port", default=3000, show_default=True)
@click.option("--reports-port", default=8323, show_default=True)
def main(verb: str, workspace: str | None, **ports: int) -> None:
    """Start or end the servers of this machine."""
    silence()
    if verb == "deployments":
        serve_deployments()
        return
    environment = Environment.load(workspace=workspace)
    if verb == "down":
        click.echo("ended: " + (", ".join(down(environment)) or "nothing was up"))
        return
    try:
        running = up(environment, {name.removesuffix("_port"): port for name, port in ports.items()})
    except WorkspaceError as error:
        raise click.ClickException(str(error)) from None
    for name, entry in running.items():
        click.echo(f"  {name:<12} {entry['address']:<44} log {entry['log']}")
    if "bento" not in running:
        click.echo("  bento        nothing is packaged yet: start `pipeline` in Prefect's UI, or run make demo")


if __name__ == "__main__":
    main()
