"""A run's own Prefect server: begun as the command's first act, met when the flow starts.

Prefect starts such a server by itself, but only when a flow begins, and the run then waits for all of its start.
Begun here it starts beside the checks and imports of the run.

A new database is a copy of an empty one that is kept for the machine (`~/.cache/pairwright`), since Prefect's own
way to it, over a hundred migrations, is most of a new server's start.

    python -m pairwright.flows.servers.prefect_server FD   the server, on a socket it inherits, while stdin is open
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pairwright.components.empty_database import keep_empty, take_empty
from pairwright.components.environment import sqlite_address
from pairwright.components.errors import WorkspaceError

STOP_SECONDS = 5
DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"  # Prefect's own name for it


class PrefectServer:
    """A Prefect API on a free port of this machine; it ends when this process does, however that ends.

    Raises:
        WorkspaceError: `home`, where its log and database are, cannot be written.
    """

    def __init__(self, home: str) -> None:
        self.log = Path(home) / "server.log"
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = self.log.open("ab")
        except OSError as error:
            raise WorkspaceError(f"{home} cannot be written ({error}); set PREFECT_HOME elsewhere") from None
        with socket.socket() as bound, log:
            bound.bind(("127.0.0.1", 0))  # the child listens on this very socket, so nobody can take the port
            self.api_url = f"http://127.0.0.1:{bound.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pairwright.flows.servers.prefect_server", str(bound.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[bound.fileno()],
                cwd=Path(__file__).parents[3],
                env=_quoted_database(home) | os.environ | {"PREFECT_SERVER_UI_ENABLED": "false"},
                start_new_session=True,  # Ctrl-C is the run's to answer, which then tells the server
            )
        atexit.register(self.close)

    def answers(self) -> bool:
        """Whether the API is up.

        Raises:
            WorkspaceError: the server ended; its log is named.
        """
        import httpx

        if self._process.poll() is not None:
            raise WorkspaceError(f"Prefect's server ended with code {self._process.returncode}; its log is {self.log}")
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.api_url}/health", timeout=2).status_code == 200
        return False

    def wait(self, meanwhile: Sequence[str] = ()) -> None:
        """Until the API is up; modules named in `meanwhile` are imported as long as it is not.

        Raises:
            WorkspaceError: the server ended or did not answer in time.
        """
        limit, modules = float(os.environ.get(TIMEOUT, "120")), list(meanwhile)
        deadline = time.monotonic() + limit
        while not self.answers():
            if time.monotonic() > deadline:
                raise WorkspaceError(
                    f"Prefect's server did not answer within {limit:.0f} s; its log is {self.log}. "
                    f"On a slow disk set {TIMEOUT}"
                )
            if modules:
                importlib.import_module(modules.pop(0))
            else:
                time.sleep(0.1)

    def close(self) -> None:
        """End the server; safe to call twice."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def own_server() -> PrefectServer | None:
    """A server for this run, which Prefect will find; None where the user's settings may name another.

    Call it before Prefect is imported, with `PREFECT_HOME` set.
    """
    home = os.environ["PREFECT_HOME"]
    if _the_user_may_name_one(Path(home)):
        return None
    server = PrefectServer(home)
    os.environ["PREFECT_API_URL"] = server.api_url
    return server


def _the_user_may_name_one(home: Path) -> bool:
    """Whether Prefect has settings of the user's to read: variables, a profile, files of the current folder."""
    files = (home / "profiles.toml", Path("prefect.toml"), Path(".env"))
    if {"PREFECT_API_URL", "PREFECT_PROFILES_PATH"} & os.environ.keys() or any(file.is_file() for file in files):
        return True
    try:
        return "prefect" in tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a bound socket until standard input ends, which it does with the process that holds it."""

    def end_with_parent() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock a thread would hold while the interpreter ends
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        os._exit(1)  # it waits for a client that is gone

    threading.Thread(target=end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    url = get_current_settings().server.database.connection_url
    if url is not None and url.get_secret_value() == _database_address(os.environ["PREFECT_HOME"]):
        make_database(database)
    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket.socket(fileno=descriptor)])


def _database_address(home: str) -> str:
    return sqlite_address(f"{home}/prefect.db", "sqlite+aiosqlite")


def _quoted_database(home: str) -> dict[str, str]:
    """The setting of the database's address where Prefect's own default would not be one: it quotes nothing."""
    address = _database_address(home)
    named = {DATABASE_URL, "PREFECT_API_DATABASE_CONNECTION_URL"} & os.environ.keys()
    return {} if named or address == f"sqlite+aiosqlite:///{home}/prefect.db" else {DATABASE_URL: address}


def make_database(database: Path) -> None:
    """Make a workspace's database if it has none: migrated once for each version of Prefect, then copied."""
    import prefect

    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / "prefect.db.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs in one workspace
        if take_empty(database, kept := f"prefect-{prefect.__version__}.db"):
            return
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        keep_empty(database, kept)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
