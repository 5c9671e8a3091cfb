"""A run's own Prefect server: begun as the command's first act, met when the flow starts.

Prefect starts such a server by itself, but only when a flow begins, and the run then waits for it: twenty seconds
where its database is new, five where it is not. Begun beside the checks and imports of a run it costs a few.

A new database is a copy of an empty one that is kept for the machine (`~/.cache/pairwright`), since Prefect's own
way to it, 114 migrations, is most of those twenty seconds.

    python -m flows.prefect_server FD        the server, on a bound socket it inherits, for as long as stdin is open
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from components.errors import WorkspaceError

START_SECONDS = 120
STOP_SECONDS = 5
DATABASE_URLS = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
OF_THE_USER = ("profiles.toml", "prefect.toml", ".env")  # files that may name a server


class PrefectServer:
    """A Prefect API on a free port of this machine; it ends when this process does, however that ends."""

    def __init__(self, home: str) -> None:
        self.log = Path(home) / "server.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as bound, self.log.open("wb") as log:
            bound.bind(("127.0.0.1", 0))  # the child listens on this very socket, so nobody can take the port
            self.api_url = f"http://127.0.0.1:{bound.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.prefect_server", str(bound.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[bound.fileno()],
                cwd=Path(__file__).parents[1],
                env=os.environ | {"PREFECT_SERVER_UI_ENABLED": "false"},
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
        deadline, modules = time.monotonic() + START_SECONDS, list(meanwhile)
        while not self.answers():
            if time.monotonic() > deadline:
                raise WorkspaceError(f"Prefect's server did not answer within {START_SECONDS} s; its log is {self.log}")
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
    files = [Path(home) / OF_THE_USER[0], *map(Path, OF_THE_USER[1:])]
    if "PREFECT_API_URL" in os.environ or any(file.is_file() for file in files):
        return None
    server = PrefectServer(home)
    os.environ["PREFECT_API_URL"] = server.api_url
    return server


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a bound socket until standard input ends, which it does with the process that holds it."""

    def end_with_parent() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock a thread would hold while the interpreter ends
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    if not any(name in os.environ for name in DATABASE_URLS):
        make_database(Path(os.environ["PREFECT_HOME"]) / "prefect.db", cache_folder())
    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[socket.socket(fileno=descriptor)])


def cache_folder() -> Path:
    """Where what is the same for every workspace of this machine's user is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairwright"


def make_database(database: Path, cache: Path) -> None:
    """Make a workspace's database if it has none: migrated once for each version of Prefect, then copied.

    Prefect migrates what stands there in any case, so a copy that is missing or old costs time and nothing else.
    """
    import prefect

    if database.exists():
        return
    empty = cache / f"prefect-{prefect.__version__}.db"
    if not empty.is_file():
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        with contextlib.suppress(OSError):  # a cache that cannot be written is no cache
            _copy_database(database, empty)
    else:
        _copy_database(empty, database)


def _copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database, its log included, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    with contextlib.closing(sqlite3.connect(source)) as read, contextlib.closing(sqlite3.connect(partial)) as written:
        read.backup(written)
    partial.replace(target)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
