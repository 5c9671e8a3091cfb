"""The team's set-up says only what the code knows: files, variables, verbs, versions, names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairwright.components.environment import Environment
from pairwright.components.guard import HOSTS_VARIABLE, KEY_VARIABLE
from pairwright.flows.cli import VERBS

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
YAMLS = sorted(p for p in INFRA.rglob("*.yaml") if "dvc-remote" not in p.parts)
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())
MANIFESTS = [
    document
    for path in sorted((INFRA / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every (key, value) at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def of_kind(kind: str) -> dict[str, Any]:
    return {document["metadata"]["name"]: document for document in MANIFESTS if document["kind"] == kind}


def pods() -> Iterator[dict[str, Any]]:
    """Every pod template of the manifests."""
    for document in MANIFESTS:
        yield from (value for key, value in walk(document) if key == "template")


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_every_image_is_pinned_and_every_variable_of_ours_is_known(path: Path) -> None:
    text = path.read_text()
    pairs = [pair for document in yaml.safe_load_all(text) for pair in walk(document)]
    for key, value in pairs:
        if key == "image":
            assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", value), f"{path.name}: {value} is not pinned"
    known = {f"PAIRWRIGHT_{field.upper()}" for field in Environment.model_fields} | {KEY_VARIABLE, HOSTS_VARIABLE}
    assert set(re.findall(r"PAIRWRIGHT_[A-Z_]+", text)) <= known


def test_compose_names_only_files_services_and_volumes_that_are_there() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for other in service.get("depends_on", []):
            assert other in services, f"{name} waits for {other}"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            there = (INFRA / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert there, f"{name} mounts {source}"
        if "build" in service:
            assert (INFRA / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for host in re.findall(r"(?://|@)(\w+):\d+", (INFRA / "compose.yaml").read_text()):
        assert host in services or host == "localhost", f"{host} is no service"


def test_every_secret_of_compose_is_asked_for_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (INFRA / "compose.yaml").read_text()))
    wanted |= {secret["environment"] for secret in COMPOSE["secrets"].values()}
    assert wanted == set(re.findall(r"^(\w+)=", (INFRA / "env.example").read_text(), re.MULTILINE))


def test_what_waits_for_health_waits_for_a_service_that_reports_it() -> None:
    for service in COMPOSE["services"].values():
        conditions = service.get("depends_on", {})
        for other, wanted in conditions.items() if isinstance(conditions, dict) else ():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in COMPOSE["services"][other]


def test_containers_run_verbs_that_exist() -> None:
    commands = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    commands += [c["command"] for pod in pods() for c in pod["spec"]["containers"] if "command" in c]
    verbs = [command[1] for command in commands if command[0] == "pairwright"]
    assert verbs
    assert set(verbs) <= set(VERBS)
    modules = {command[2] for command in commands if command[:2] == ["python", "-m"]}
    modules |= set(re.findall(r"python -m ([\w.]+)", "".join(p.read_text() for p in YAMLS)))
    assert modules == {"pairwright.flows.servers.servers"}
    assert (ROOT / "flows" / "servers" / "servers.py").is_file()


def test_what_is_reached_from_other_machines_has_a_key() -> None:
    """In compose by a file, which Prometheus reads too; in Kubernetes by the variable of the secret."""
    mounted = {f"/run/secrets/{name}" for name in COMPOSE["secrets"]}
    for service in COMPOSE["services"].values():
        command = service.get("command", [])
        if command[:1] == ["pairwright"] and "0.0.0.0" in command:
            file = command[command.index("--api-key-file") + 1]
            assert file in mounted
            assert file.rpartition("/")[2] in service["secrets"]
    assert KEY_VARIABLE in {secret["environment"] for secret in COMPOSE["secrets"].values()}
    [bento] = [
        job
        for job in yaml.safe_load((INFRA / "prometheus.yaml").read_text())["scrape_configs"]
        if job["job_name"] == "bento"
    ]
    assert bento["authorization"]["credentials_file"] in mounted
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["api_key"]
    assert KEY_VARIABLE in of_kind("Secret")["pairwright-secrets"]["stringData"]
    for pod in pods():
        for container in pod["spec"]["containers"]:
            if container.get("command", [])[:2] == ["pairwright", "serve"]:
                assert {"secretRef": {"name": "pairwright-secrets"}} in container["envFrom"]


def test_prometheus_scrapes_services_at_ports_they_have() -> None:
    scraped = yaml.safe_load((INFRA / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [
        target.split(":")[0] for job in scraped for config in job["static_configs"] for target in config["targets"]
    ]
    assert set(targets) <= {*COMPOSE["services"], "localhost"}


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    sources = yaml.safe_load((INFRA / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    dashboard = json.loads((INFRA / "grafana/dashboards/pairwright.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {sources[0]["uid"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    folder = yaml.safe_load((INFRA / "grafana/provisioning/dashboards/pairwright.yaml").read_text())
    mounted = [mount.split(":")[1] for mount in COMPOSE["services"]["grafana"]["volumes"]]
    assert folder["providers"][0]["options"]["path"] in mounted


def test_the_kustomization_lists_every_manifest_but_the_example() -> None:
    folder = INFRA / "kubernetes"
    listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"])
    there = {path.name for path in folder.glob("*.yaml")}
    assert listed == there - {"kustomization.yaml", "secrets.example.yaml", "secrets.yaml"}


def test_selectors_settings_and_claims_name_things_that_exist() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    for service in of_kind("Service").values():
        assert any(service["spec"]["selector"].items() <= own.items() for own in labels)
    for deployment in of_kind("Deployment").values():
        own = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= own.items()
    for document in MANIFESTS:
        for key, value in walk(document):
            if key in ("configMapRef", "secretRef"):
                assert value["name"] in of_kind("ConfigMap" if key == "configMapRef" else "Secret")
            if key == "persistentVolumeClaim":
                assert value["claimName"] in of_kind("PersistentVolumeClaim")
    for pod in pods():
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_the_cluster_runs_the_locked_ray() -> None:
    locked = re.search(r"^ray==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert of_kind("RayCluster")["pairwright"]["spec"]["rayVersion"] == locked[1]
    assert (
        "pairwright-head-svc:6379"
        in of_kind("Deployment")["runner"]["spec"]["template"]["spec"]["containers"][0]["args"][0]
    )


def test_the_dockerfile_copies_what_is_there() -> None:
    text = (INFRA / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?:--\S+ )*(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), f"COPY {source}"


def test_no_secret_is_in_the_repository() -> None:
    for path in [*YAMLS, INFRA / "env.example"]:
        for name, value in re.findall(
            r"^\s*(\w*(?:PASSWORD|SECRET|ACCESS_KEY)\w*)[:=] *(\S*)$", path.read_text(), re.M
        ):
            assert value in ("", '""', "pairwright") or value.startswith("${"), f"{path.name}: {name}"
