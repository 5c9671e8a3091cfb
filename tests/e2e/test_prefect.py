"""A run started from Prefect's API, as the UI's button does, does the whole job on real servers."""

from __future__ import annotations

import re
import socket
import time

import httpx
import pytest
from sockets import listening, outside_loopback
from tiny import tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(900)]

DONE = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    from pairwright.components.environment import Environment
    from pairwright.flows.servers.servers import down, up

    root = tmp_path_factory.mktemp("served")
    recipe = tiny_project(root, pairs=48, shards=2)
    environment = Environment.load(workspace=str(root / "workspace"))
    ports = {name: free_port() for name in ("prefect", "mlflow", "bento", "reports")}
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


def test_the_servers_of_one_machine_listen_on_loopback_alone(servers):
    found = listening(*(entry["pid"] for entry in servers[3].values()))
    assert found
    assert not outside_loopback(found)


def test_every_flow_is_deployed_with_a_form_and_retrain_has_a_schedule(api):
    found = {d["name"]: d for d in api.post("/deployments/filter", json={}).json()}
    assert set(found) == {"pipeline", "curate", "train", "release", "retrain"}
    for deployment in found.values():
        form = deployment["parameter_openapi_schema"]["properties"]
        assert form["recipe"]["description"]
        assert "quickstart" in next(way["enum"] for way in form["recipe"]["anyOf"] if "enum" in way)
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
    (link,) = re.findall(r"\((http\S+report\.html)\)", artifacts["report"]["data"])
    assert "<title>" in httpx.get(link).raise_for_status().text, "the link opens in a browser"
    assert any(a["type"] == "progress" and float(a["data"]) == 100.0 for a in artifacts.values())


def test_the_run_is_named_tagged_and_says_what_was_kept(api, flow_run):
    run = api.get(f"/flow_runs/{flow_run['id']}").json()
    assert run["name"] == "tiny on raw"
    assert {"recipe:tiny", "data:raw"} <= set(run["tags"])
    wanted = {"logs": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    said = "\n".join(log["message"] for log in api.post("/logs/filter", json=wanted).json())
    assert re.search(r"\d+ of 48 pairs kept; dropped: \w+ \d+", said)


def test_every_stage_is_a_task_of_the_run(api, flow_run):
    wanted = {"task_runs": {"flow_run_id": {"any_": [flow_run["id"]]}}, "limit": 200}
    names = {t["name"].rsplit("-", 1)[0] for t in api.post("/task_runs/filter", json=wanted).json()}
    assert {"gate raw", "score", "keep", "train curated 0", "register", "package", "report"} <= names


def test_mlflow_shows_the_registered_champion(servers, flow_run):
    address = f"http://127.0.0.1:{servers[2]['mlflow']}/api/2.0/mlflow"
    found = httpx.get(f"{address}/registered-models/alias", params={"name": "pairwright", "alias": "champion"}).json()
    assert found["model_version"]["version"] == "1"
    assert re.match(r"tiny on raw: \d+ of 48 pairs kept", found["model_version"]["description"])
    wanted = {"experiment_ids": ["1"], "filter": "tags.`pairwright.kind` = 'pipeline'"}
    (parent,) = httpx.post(f"{address}/runs/search", json=wanted).json()["runs"]
    assert parent["info"]["run_name"] == "tiny on raw"
    assert {"filter.score.pdq.uses", "pretrain.with.steps", "release.arm"} <= {
        p["key"] for p in parent["data"]["params"]
    }
    metrics = {m["key"]: m["value"] for m in parent["data"]["metrics"]}
    assert (
        metrics["pairs.pairs_in"]
        == 48
        == metrics["pairs.kept"]
        + sum(value for name, value in metrics.items() if name.startswith(("dropped.", "pairs.failed")))
    )
    assert {"test.curated.retrieval.t2i_r5", "dev.raw.zero_shot.accuracy", "curve.curated 0.loss"} <= set(metrics)


def test_up_again_adds_the_bento_and_it_answers(servers, flow_run):
    from pairwright.flows.servers.servers import up

    _, environment, ports, _ = servers
    running = up(environment, ports)
    assert "bento" in running
    answer = httpx.post(
        f"http://127.0.0.1:{ports['bento']}/search", json={"text": "a red circle", "k": 3}, timeout=60
    ).raise_for_status()
    assert len(answer.json()["items"]) == 3
