"""A run's own Prefect server: it answers, it ends with the run, and the user's settings come first."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sockets import listening, outside_loopback

pytest.importorskip("prefect")

from pairwright.components.environment import cache_folder
from pairwright.components.errors import WorkspaceError
from pairwright.flows.servers.prefect_server import PrefectServer, make_database, own_server

pytestmark = [pytest.mark.slow, pytest.mark.platform]
REPOSITORY = Path(__file__).parents[2]
HOLD_A_SERVER = """
import os, signal
from pairwright.components.environment import cache_folder
from pairwright.flows.servers.prefect_server import own_server
server = own_server()
server.wait()
print(server.api_url, server._process.pid, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("PAIRWRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return tmp_path / "prefect"


def revision(database: Path) -> list[tuple[str]]:
    with sqlite3.connect(database) as opened:
        return opened.execute("SELECT version_num FROM alembic_version").fetchall()


def gone(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_it_answers_until_it_is_closed_and_a_second_workspace_starts_from_a_copy(home: Path, tmp_path: Path) -> None:
    import httpx

    server = PrefectServer(str(home))
    sys.modules.pop("quopri", None)
    server.wait(["quopri"])
    assert "quopri" in sys.modules, "it was imported meanwhile"
    assert httpx.post(f"{server.api_url}/flows/filter", json={}).json() == []
    assert not outside_loopback(listening(server._process.pid))
    server.close()
    server.close()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.api_url}/health")
    (kept,) = cache_folder().iterdir()
    assert revision(kept) == revision(home / "prefect.db")
    second = tmp_path / "second/prefect.db"
    make_database(second)
    assert revision(second) == revision(kept)
    second.write_bytes(b"mine")
    make_database(second)
    assert second.read_bytes() == b"mine", "a database that is there stays"


def test_it_ends_with_a_run_that_was_killed(home: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER], cwd=REPOSITORY, env=os.environ, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    _, pid = holder.stdout.readline().split()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert gone(int(pid))


def test_a_damaged_cache_costs_time_and_nothing_else(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prefect

    empty = tmp_path / "cache" / f"prefect-{prefect.__version__}.db"
    empty.parent.mkdir(parents=True)
    empty.write_bytes(b"not a database" * 500)
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    server = PrefectServer(str(home))
    server.wait()
    server.close()
    assert revision(empty) == revision(home / "prefect.db"), "made anew"
    assert list(empty.parent.iterdir()) == [empty]


def test_two_first_runs_of_a_workspace_share_one_database(home: Path) -> None:
    import httpx

    servers = [PrefectServer(str(home)), PrefectServer(str(home))]
    for server in servers:
        server.wait()
    made = httpx.post(f"{servers[0].api_url}/flows/", json={"name": "pipeline"}).json()
    (seen,) = httpx.post(f"{servers[1].api_url}/flows/filter", json={}).json()
    assert seen["id"] == made["id"]
    for server in servers:
        server.close()


@pytest.mark.parametrize("named", ["variable", "profiles", "profile", "prefect.toml", ".env", "pyproject.toml"])
def test_a_server_the_user_names_is_used_instead(
    home: Path, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    if named == "variable":
        monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    elif named == "profiles":
        monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "mine.toml"))
    elif named == "profile":
        (home / "profiles.toml").write_text('active = "mine"\n')
    else:
        (tmp_path / named).write_text('[tool.prefect.api]\nurl = "http://prefect:4200/api"\n')
    assert own_server() is None
    assert not (home / "server.log").exists()


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        PrefectServer(str(tmp_path / "file/prefect"))


def test_a_server_that_cannot_start_names_its_log(home: Path) -> None:
    home.mkdir()
    (home / "prefect.db").write_bytes(b"not a database, whatever its name says" * 200)
    server = PrefectServer(str(home))
    with pytest.raises(WorkspaceError, match=r"ended with code .*; its log is .*server\.log"):
        server.wait()
    assert "not a database" in server.log.read_text()
