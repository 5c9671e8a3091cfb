"""Without a network, and without room: the pipeline passes the one and refuses the other in a line."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from tiny import pairwright, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]

LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def sealed(*command: str, **options) -> subprocess.CompletedProcess:
    """Run Python in a network namespace of its own, where only loopback exists."""
    inside = [sys.executable, "-c", LOOPBACK_UP, *command]
    return subprocess.run(["unshare", "--net", *inside], capture_output=True, text=True, timeout=600, **options)


def can_seal() -> bool:
    return shutil.which("unshare") is not None and sealed("-c", "pass").returncode == 0


needs_namespaces = pytest.mark.skipif(not can_seal(), reason="network namespaces need root: unshare --net failed")


@needs_namespaces
def test_nothing_beyond_loopback_can_be_reached_in_the_seal():
    done = sealed("-c", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=3)")
    assert "Network is unreachable" in done.stderr


@needs_namespaces
def test_the_pipeline_passes_without_a_network(tmp_path):
    recipe = tiny_project(tmp_path, pairs=48, shards=2)
    done = sealed("-m", "pairwright.flows.cli", "run", str(recipe), "--workspace", "workspace", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "workspace" / "bentoml" / "champion.json").is_file()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_before_long_work(tmp_path, small_disk):
    recipe = tiny_project(tmp_path, pairs=24, shards=1)
    done = pairwright("run", str(recipe), "--workspace", str(small_disk / "ws"), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("WorkspaceError: ")
    assert "MiB left" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
