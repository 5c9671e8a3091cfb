"""Runs, registry and lineage against real MLflow stores: a SQLite file and a server process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mlflow")

from pairwright.components.digest import folder_digest
from pairwright.components.errors import ModelError, NoChampion, TrackingError
from pairwright.components.tracking.lineage import lineage, render
from pairwright.components.tracking.registry import Registry, Standing
from pairwright.components.tracking.runs import Tracker
from pairwright.components.tracking.store import connect

pytestmark = pytest.mark.platform

PEDIGREE = {
    "data_version": "5d41402abc4b2a76b9719d911017c592.dir",
    "dvc_text": "outs:\n- md5: 5d41402abc4b2a76b9719d911017c592.dir\n",
    "dataset": "shapes",
    "dataset_digest": "d" * 32,
    "recipe": "quickstart",
    "recipe_digest": "r" * 32,
    "recipe_text": "name: quickstart\n",
    "code_commit": "c0ffee+dirty",
    "lock_hash": "10c" * 8,
    "selection_digest": "5e1" * 8,
    "ledger": {"pairs_in": 48, "kept": 30, "dropped": {"large_enough": 18}},
    "gates": [{"name": "raw", "passed": True, "failed": []}],
}


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/workspace/mlflow.db"


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[[int], Path]:
    def make(seed: int) -> Path:
        from safetensors.numpy import save_file

        folder = tmp_path / f"model{seed}"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"seed": seed}))
        save_file({"w": np.full((4, 4), seed, np.float32)}, str(folder / "model.safetensors"))
        return folder

    return make


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A real `mlflow server` on loopback, ended with all its workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "served")),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=folder)
        try:
            wait_for(port, process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.3)
    raise AssertionError(f"mlflow server did not start: {log.read_text()[-2000:]}")


def a_run(uri: str) -> str:
    with Tracker(uri).pipeline("quickstart") as run:
        return run.id


def test_a_pipeline_is_a_parent_run_with_a_child_a_stage(uri: str, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("<p>report")
    with Tracker(uri).pipeline("quickstart", {"recipe_digest": "abc"}) as run:
        run.log_dataset("raw", "d" * 60, source="data/raw", rows=48, context="raw", md5="m" * 32)
        run.log_artifact(tmp_path / "report", "report")
        with run.stage("train") as stage:
            stage.log_params({"steps": 400, "optimizer": {"lr": 3e-4, "betas": [0.9, 0.98]}})
            for step in range(1200):
                stage.log_metrics({"loss": 1 / (step + 1), "retrieval.R@1": 0.5}, step=step)
    client = connect(uri)
    parent, child = client.get_run(run.id), client.get_run(stage.id)
    assert child.data.tags["mlflow.parentRunId"] == run.id
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert child.data.params == {"steps": "400", "optimizer.lr": "0.0003", "optimizer.betas": "[0.9, 0.98]"}
    assert [point.step for point in client.get_metric_history(stage.id, "loss")] == list(range(1200))
    assert child.data.metrics["retrieval.R_at_1"] == 0.5
    dataset = parent.inputs.dataset_inputs[0].dataset
    assert dataset.digest == "d" * 36
    assert json.loads(dataset.profile) == {"rows": 48, "md5": "m" * 32}
    assert [entry.path for entry in client.list_artifacts(run.id, "report")] == ["report/index.html"]
    assert Path(parent.info.artifact_uri).is_relative_to(tmp_path / "workspace" / "mlartifacts")


def test_an_exception_ends_parent_and_child_failed_with_its_reason(uri: str) -> None:
    ids: list[str] = []

    def fail() -> None:
        with Tracker(uri).pipeline("quickstart") as run, run.stage("train") as stage:
            ids.extend([run.id, stage.id])
            stage.log_metrics({"loss": 1.0}, step=3)
            raise ModelError("weights are gone")

    with pytest.raises(ModelError):
        fail()
    client = connect(uri)
    for identifier in ids:
        ended = client.get_run(identifier)
        assert ended.info.status == "FAILED"
        assert ended.data.tags["pairwright.error"] == "ModelError: weights are gone"
    assert client.get_run(ids[1]).data.metrics == {"loss": 1.0}


KILLED = """
import os, sys
from pairwright.components.tracking.runs import Tracker
with Tracker(sys.argv[1]).pipeline("quickstart", {"recipe_digest": "abc"}) as run, run.stage("train") as stage:
    stage.log_params({"steps": 10})
    for step in range(6):
        stage.log_metrics({"loss": float(step)}, step=step)
    stage.flush()
    os.kill(os.getpid(), 9)
"""


def test_a_killed_pipeline_goes_on_in_the_same_run_without_logging_a_step_twice(uri: str) -> None:
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, uri], cwd=root, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tracker = Tracker(uri)
    found = tracker.unfinished({"recipe_digest": "abc"})
    assert found is not None
    assert tracker.unfinished({"recipe_digest": "other"}) is None
    with tracker.pipeline("quickstart", run_id=found) as run, run.stage("train") as stage:
        stage.log_params({"steps": 10})
        for step in range(4, 10):  # from its last checkpoint
            stage.log_metrics({"loss": float(step)}, step=step)
    client = connect(uri)
    assert run.id == found
    assert [point.step for point in client.get_metric_history(stage.id, "loss")] == list(range(10))
    assert client.get_run(found).info.status == "FINISHED"
    assert len(client.search_runs([client.get_run(found).info.experiment_id])) == 2
    assert tracker.unfinished({"recipe_digest": "abc"}) is None


def test_flows_in_threads_never_log_into_each_others_runs(uri: str) -> None:
    ids: dict[int, str] = {}

    def flow(number: int) -> None:
        with Tracker(uri).pipeline(f"flow{number}") as run, run.stage("train") as stage:
            for step in range(20):
                stage.log_metrics({"number": number}, step=step)
            stage.flush()
            ids[number] = stage.id

    threads = [threading.Thread(target=flow, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = connect(uri)
    assert len(set(ids.values())) == 4
    for number, identifier in ids.items():
        assert {point.value for point in client.get_metric_history(identifier, "number")} == {number}


FIRST = """
import sys
from pairwright.components.tracking.runs import Tracker
with Tracker(sys.argv[1]).pipeline("quickstart") as run, run.stage("train") as stage:
    for step in range(20):
        stage.log_metrics({"loss": step}, step=step)
        stage.flush()
"""


@pytest.mark.slow
def test_processes_that_meet_at_a_store_that_is_not_there_yet_all_log(uri: str) -> None:
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", FIRST, uri], cwd=root, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, problem = process.communicate(timeout=120)
        assert process.returncode == 0, problem[-2000:]
    found = connect(uri).search_runs([connect(uri).get_experiment_by_name("pairwright").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 6


def test_the_same_model_registered_twice_is_one_version(uri: str, model_folder: Callable[[int], Path]) -> None:
    registry = Registry(uri, "shapes")
    first = registry.register(model_folder(1), run_id=a_run(uri), pedigree=PEDIGREE)
    assert registry.register(model_folder(1), run_id=a_run(uri), pedigree=PEDIGREE) == first
    assert registry.register(model_folder(2), run_id=a_run(uri), pedigree=PEDIGREE) == first + 1


def test_rollback_walks_back_through_the_champions_one_by_one(uri: str, model_folder: Callable[[int], Path]) -> None:
    registry = Registry(uri, "shapes")
    one, two, three = (registry.register(model_folder(n), run_id=a_run(uri), pedigree=PEDIGREE) for n in (1, 2, 3))
    assert registry.champion() is None
    with pytest.raises(NoChampion, match="has no champion; `pairwright run"):
        registry.rollback()
    registry.promote(one, "first")
    registry.set_challenger(two)
    registry.promote(two, "better")
    assert (registry.champion(), registry.challenger()) == (two, None)
    assert registry.rollback("it was not") == one
    registry.promote(three, "better still")
    registry.promote(two, "after all")
    registry.promote(two, "said twice")
    assert registry.rollback() == three
    assert registry.rollback() == one
    with pytest.raises(NoChampion, match="no champion before version 1"):
        registry.rollback()
    assert registry.champion() == one
    moves = [(event["action"], event["version"], event["replaced"]) for event in registry.history()]
    assert moves == [
        ("promote", one, None),
        ("promote", two, one),
        ("rollback", one, two),
        ("promote", three, one),
        ("promote", two, three),
        ("rollback", three, two),
        ("rollback", one, three),
    ]


def test_a_promotion_killed_before_the_alias_moved_can_still_be_rolled_back_past(
    uri: str, model_folder: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(uri, "shapes")
    one, two, three = (registry.register(model_folder(n), run_id=a_run(uri), pedigree=PEDIGREE) for n in (1, 2, 3))
    registry.promote(one, "first")
    registry.promote(two, "second")
    with monkeypatch.context() as patch:
        patch.setattr(connect(uri), "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.promote(three, "killed half way")
    assert registry.champion() == two
    assert registry.rollback() == one


def test_lineage_says_what_made_the_model(uri: str, model_folder: Callable[[int], Path]) -> None:
    registry = Registry(uri, "shapes")
    run = a_run(uri)
    version = registry.register(model_folder(1), run_id=run, pedigree=PEDIGREE, metrics={"retrieval.R@1": 0.375})
    registry.promote(version, "no champion yet")
    answer = json.loads(json.dumps(lineage(registry, "champion")))
    assert answer["model"]["version"] == version
    assert answer["model"]["digest"] == folder_digest(model_folder(1))
    assert answer["data"]["data_version"] == PEDIGREE["data_version"]
    assert answer["dvc_text"] == PEDIGREE["dvc_text"]
    assert answer["recipe"]["text"] == "name: quickstart\n"
    assert answer["code"] == {"code_commit": "c0ffee+dirty", "lock_hash": PEDIGREE["lock_hash"]}
    assert answer["run"]["id"] == run
    assert answer["champion_moves"][0]["reason"] == "no champion yet"
    text = render(answer)
    for said in ("shapes version 1 (champion)", "c0ffee+dirty", "raw: passed", "retrieval.R@1: 0.375"):
        assert said in text


def test_a_model_changed_in_the_store_is_refused(uri: str, model_folder: Callable[[int], Path], tmp_path: Path) -> None:
    registry = Registry(uri, "shapes")
    registry.register(model_folder(1), run_id=a_run(uri), pedigree=PEDIGREE)
    path, digest = registry.resolve("models:/shapes/1")
    assert folder_digest(path) == digest
    (path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="not those that were registered"):
        registry.resolve("models:/shapes/1")
    with pytest.raises(ModelError, match="not those that were registered"):
        registry.download(1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_references_are_one_line(uri: str, model_folder: Callable[[int], Path]) -> None:
    registry = Registry(uri, "shapes")
    registry.register(model_folder(1), run_id=a_run(uri), pedigree=PEDIGREE)
    for reference in ("models:/shapes/7", "models:/shapes", "shapes@champion", "models:/shapes@champoin"):
        with pytest.raises(ModelError) as caught:
            registry.resolve(reference)
        assert "\n" not in str(caught.value)
    with pytest.raises(TrackingError, match="does not answer as an MLflow server"):
        Registry("http://127.0.0.1:9", "shapes").champion()


LOADED = """
import json, sys
import mlflow, pandas
from shapes import encoded
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/shapes@champion")
frame = pandas.DataFrame({"text": ["a red circle", None, None, None], "image": [None, encoded(3), b"no picture", None]})
answer = model.predict(frame)
assert not {"pairwright.flows", "ray", "prefect"} & set(sys.modules)
print(json.dumps(answer.astype(object).where(answer.notna(), None).to_dict("records")))
"""


@pytest.mark.slow
def test_the_champion_loads_in_plain_mlflow_without_our_flows_and_embeds(uri: str, tmp_path: Path) -> None:
    import torch

    from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
    from pairwright.components.models.resolve import resolve_model
    from pairwright.components.models.towers.untrained import new_dual_encoder

    towers = [resolve_model(f"builtin:{name}") for name in ("tiny-image", "tiny-text")]
    folder = tmp_path / "trained"
    new_dual_encoder(*towers, dim=16, train_towers=True).save(folder)
    registry = Registry(uri, "shapes")
    registry.promote(registry.register(folder, run_id=a_run(uri), pedigree=PEDIGREE), "first")
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", LOADED, uri], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text, image, broken, nothing = json.loads(done.stdout)
    expected = load_dual_encoder(folder).encode_text(["a red circle"])[0]
    assert torch.allclose(torch.tensor(text["embedding"]), expected, atol=1e-5)
    assert torch.tensor(image["embedding"]).norm() == pytest.approx(1, abs=1e-4)
    assert broken == {"embedding": None, "error": "decode:not_an_image"}
    assert nothing == {"embedding": None, "error": "neither text nor image"}
    served = Path(registry._client.get_model_version("shapes", "1").source)
    assert not list(served.rglob("*.pkl"))


@pytest.mark.slow
def test_a_real_server_does_all_that_sqlite_does(tmp_path: Path, model_folder: Callable[[int], Path]) -> None:
    with mlflow_server(tmp_path / "server") as uri:
        with Tracker(uri).pipeline("quickstart") as run, run.stage("train") as stage:
            stage.log_metrics({"loss": 0.5}, step=7)
            stage.log_text("hello", "notes/hello.txt")
        assert run.url is not None
        assert run.id in run.url
        registry = Registry(uri, "shapes", cache=tmp_path / "cache")
        one = registry.register(model_folder(1), run_id=run.id, pedigree=PEDIGREE, metrics={"R@1": 0.1})
        two = registry.register(model_folder(2), run_id=run.id, pedigree=PEDIGREE)
        assert registry.register(model_folder(2), run_id=run.id, pedigree=PEDIGREE) == two
        registry.promote(one, "first")
        registry.promote(two, "second")
        path, digest = registry.resolve("models:/shapes@champion")
        assert path.is_relative_to(tmp_path / "cache")
        assert folder_digest(path) == digest == folder_digest(model_folder(2))
        assert registry.rollback() == one
        registry.download("champion", tmp_path / "taken")
        assert folder_digest(tmp_path / "taken") == folder_digest(model_folder(1))
        assert lineage(registry, "champion")["metrics"] == {"R@1": 0.1}
        assert connect(uri).get_run(stage.id).data.metrics == {"loss": 0.5}
        with pytest.raises(NoChampion):
            Registry(uri, "nobody").rollback()


def test_asking_for_the_champion_loads_no_other_version(uri: str, model_folder: Callable[[int], Path]) -> None:
    """So thousands of versions cost no more than one."""
    import sqlalchemy.event
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion

    registry = Registry(uri, "shapes")
    run = a_run(uri)
    version = registry.register(model_folder(1), run_id=run, pedigree=PEDIGREE)
    client = connect(uri)
    source = client.get_model_version("shapes", str(version)).source
    for number in range(40):
        client.create_model_version("shapes", source, run, tags={"model_digest": f"{number:032x}"})
    registry.promote(version, "first")  # MLflow itself goes through all versions when an alias is written
    loaded: set[int] = set()

    def note(target: SqlModelVersion, _: object) -> None:
        loaded.add(target.version)

    sqlalchemy.event.listen(SqlModelVersion, "load", note)
    try:
        assert registry.champion() == version
        assert registry.register(model_folder(1), run_id=run, pedigree=PEDIGREE) == version
        lineage(registry, "champion")
        registry.resolve("models:/shapes@champion")
    finally:
        sqlalchemy.event.remove(SqlModelVersion, "load", note)
    assert version in loaded
    assert len(loaded) <= 2  # it, and the newest, which MLflow shows with the model


def test_who_is_champion_is_told_as_the_registry_tells_it(
    model_folder: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairwright.components.environment import Environment
    from pairwright.flows.running.run import champion_of, version_of

    environment = Environment(workspace=str(tmp_path / "workspace"))
    assert champion_of(environment) is None
    assert not (tmp_path / "workspace").exists(), "asking makes no store"
    registry, run = Registry(environment.tracking, "pairwright"), a_run(environment.tracking)
    assert champion_of(environment) is None
    first, second = (registry.register(model_folder(seed), run_id=run, pedigree=PEDIGREE) for seed in (1, 2))
    digests = [folder_digest(model_folder(seed)) for seed in (1, 2)]
    assert champion_of(environment) is None
    registry.promote(second, "better")
    assert champion_of(environment) == registry.standing() == Standing(second, digests[1])
    assert [version_of(environment, one) for one in (*digests, "unknown")] == [first, second, None]
    assert [registry.find(one) for one in (*digests, "unknown")] == [first, second, None]
    assert version_of(environment, digests[0], "another") is None
    connect(environment.tracking).delete_model_version("pairwright", str(first))
    assert version_of(environment, digests[0]) is None
    monkeypatch.setattr(
        "pairwright.components.tracking.embedded.REVISIONS", frozenset()
    )  # as if MLflow had changed its tables
    assert champion_of(environment) == Standing(second, digests[1])
