"""`pairwright serve` before it starts a server."""

from __future__ import annotations

import socket

from click.testing import CliRunner

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment
from pairwright.components.errors import EngineError
from pairwright.flows.champion import RECORD, bento_folder, bento_home
from pairwright.flows.commands.serve import command


def test_a_busy_port_is_said_before_a_server_starts(tmp_path):
    environment = Environment(workspace=str(tmp_path))
    bento_folder(environment, "pairwright:1").mkdir(parents=True)
    (bento_folder(environment, "pairwright:1") / "bento.yaml").touch()
    storage.write_json(str(bento_home(environment) / RECORD), {"tag": "pairwright:1", "version": 1})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(command, ["--workspace", str(tmp_path), "--port", str(port)])
    assert isinstance(done.exception, EngineError)
    assert f"port {port} of 127.0.0.1 cannot be had" in str(done.exception)
