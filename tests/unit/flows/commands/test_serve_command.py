"""`pairwright serve` before it starts a server."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment
from pairwright.components.errors import EngineError, ModelError
from pairwright.flows.captioner_bento import captioner_folder
from pairwright.flows.champion import RECORD, bento_folder, bento_home
from pairwright.flows.commands.serve import command
from pairwright.flows.running.runs import write_record


def test_a_captioner_is_a_folder_or_the_newest_of_a_step(tmp_path):
    environment = Environment(workspace=str(tmp_path))
    for number, results in enumerate(
        ({"fits": {"teller": "$WORKSPACE/models/old"}}, {"models": {"teller": {"0": "$WORKSPACE/models/new"}}})
    ):
        (tmp_path / "models" / ("old", "new")[number]).mkdir(parents=True)
        write_record(str(tmp_path), {"id": f"run-{number}", "recipe": "noc", "results": results})
    assert captioner_folder("teller", environment) == tmp_path / "models" / "new"
    assert captioner_folder(str(tmp_path / "models" / "old"), environment) == tmp_path / "models" / "old"
    with pytest.raises(ModelError, match=r'no step of a run here; did you mean "teller"\?'):
        captioner_folder("tellar", environment)
    (tmp_path / "models" / "new").rmdir()
    with pytest.raises(ModelError, match="is gone; run the recipe again that made teller"):
        captioner_folder("teller", environment)


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
