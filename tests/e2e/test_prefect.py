"""A run started from Prefect's API, as the UI's button does, does the whole job on real servers."""

from __future__ import annotations

import socket
import time

import httpx
import pytest
from tiny import tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]

DONE = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    from components.environment import Environment
    from flows.servers import down, up

    root = tmp_path_factory.mktemp("served")
    recipe = tiny_project(root, pairs=48, shards=2)
    environment = Environment.load(workspace=str(root / "workspace"))
    ports = {name: free_port() for name in ("prefect", "mlflow", "bento")}
    running = up(environment, ports)
    yield recipe, environment, ports, running
    assert "prefect" in down(environment)


@pytest.fixture(scope="module")
def api(servers):
    with httpx.Client(base_url=f"http://127.0.0.1:{servers[2]['prefect']}/api", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def flow_run(servers, api):
    deployment = api.get("/deployments/name/pipeline/pipeline").raise_for_status().json()
    body = {"parameters": {"recipe": str(servers[0])}}
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status().json()
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        state = api.get(f"/flow_runs/{run['id']}").json()["state"]
        if state["type"] in DONE:
            assert state["type"] == "COMPLETED", state["message"]
            return run
        time.sleep(1)
    raise AssertionError("the run did not end within 10 minutes")


def test_every_flow_is_deployed_with_a_form_and_retrain_has_a_schedule(api):
    found = {d["name"]: d for d in api.post("/deployments/filter", json={}).json()}
    assert set(found) == {"pipeline", "curate", "train", "release", "retrain"}
    for deployment in found.values():
        form = deployment["parameter_openapi_schema"]["properties"]
        assert form["recipe"]["description"]
        assert form["data"]["description"]
    assert found["retrain"]["schedules"][0]["schedule"]["cron"] == "0 3 * * *"


def test_parameters_are_typed(api):
    deployment = api.get("/deployments/name/pipeline/pipeline").json()
    refused = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": {"limit": "many"}})
    assert refused.status_code in (409, 422)


def test_the_run_carries_its_artifacts(api, flow_run):
    wanted = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    artifacts = {a["key"]: a for a in api.post("/artifacts/filter", json=wanted).json()}
    assert artifacts["funnel"]["type"] == "table"
    assert "described" in artifacts["funnel"]["data"]
    assert artifacts["metrics"]["type"] == "table"
    assert "report.html" in artifacts["report"]["data"]
    assert any(a["type"] == "progress" and float(a["data"]) == 100.0 for a in artifacts.values())


def test_every_stage_is_a_task_of_the_run(api, flow_run):
    wanted = {"task_runs": {"flow_run_id": {"any_": [flow_run["id"]]}}, "limit": 200}
    names = {t["name"].rsplit("-", 1)[0] for t in api.post("/task_runs/filter", json=wanted).json()}
    assert {"gate raw", "score", "keep", "train curated 0", "register", "package", "report"} <= names


def test_mlflow_shows_the_registered_champion(servers, flow_run):
    address = f"http://127.0.0.1:{servers[2]['mlflow']}/api/2.0/mlflow"
    found = httpx.get(f"{address}/registered-models/alias", params={"name": "pairwright", "alias": "champion"}).json()
    assert found["model_version"]["version"] == "1"


def test_up_again_adds_the_bento_and_it_answers(servers, flow_run):
    from flows.servers import up

    _, environment, ports, _ = servers
    running = up(environment, ports)
    assert "bento" in running
    answer = httpx.post(
        f"http://127.0.0.1:{ports['bento']}/search", json={"text": "a red circle", "k": 3}, timeout=60
    ).raise_for_status()
    assert len(answer.json()["items"]) == 3
