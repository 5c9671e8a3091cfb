"""`pairwright label` without a browser: what is sampled, kept and gone on with; export, import, status, mistakes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pyarrow as pa
import pytest
from click.testing import CliRunner
from labelling import captioned_dataset, label_by_taste, many_captions

from pairwright.components import web_server
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnStore, StepColumns
from pairwright.components.errors import DatasetError, EngineError, GuardError, InvalidRecipe, PairwrightError
from pairwright.components.preference.labels_folder import read_judgements
from pairwright.components.preference.store import LabelStore
from pairwright.flows.cli import pairwright
from pairwright.flows.commands import label

TestClient = pytest.importorskip("starlette.testclient").TestClient

pytestmark = pytest.mark.platform
REAL_SOCKET = web_server.listening_socket


class Served:
    """Stands in for the server: what it was started with, and what a client does while it is up."""

    def __init__(self):
        self.where, self.meanwhile = (), lambda client: None
        self.sockets = []

    def listening_socket(self, host, port):
        self.sockets.append((host, port))
        return REAL_SOCKET("127.0.0.1", 0)  # a port that nobody else has

    def __call__(self, app, listening, *where):
        self.where = (*self.sockets[-1], *where[1:])
        self.meanwhile(TestClient(app, base_url="http://127.0.0.1"))


@pytest.fixture
def served(monkeypatch):
    stand_in = Served()
    monkeypatch.setattr(label, "serve", stand_in)
    monkeypatch.setattr(web_server, "listening_socket", stand_in.listening_socket)
    return stand_in


def run(*arguments):
    result = CliRunner().invoke(pairwright, ["label", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def store_of(workspace):
    (path,) = (workspace / "labels").glob("*.sqlite")
    return LabelStore(path)


def test_a_plain_folder_is_labelled_exported_and_counted(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(30))
    where = ("--workspace", tmp_path / "w")

    def meanwhile(client):
        assert client.get("/api/session").json()["command"] == f"pairwright label export {dataset.root} labels/labelled"
        assert label_by_taste(client, "ann", len, 99) == 13

    served.meanwhile = meanwhile
    run(dataset.root, *where, "--items", 12, "--labeller", "ann", "--overlap", 0)
    assert served.where == ("127.0.0.1", label.DEFAULT_PORT, "ann", True)
    said = json.loads(run("status", dataset.root, *where, "--json"))
    assert (said["items"], said["by_labeller"]) == (12, {"ann": 12})  # one more was a repetition
    assert said["consistency"]["ann"] == {"comparisons": 3, "same": 3}
    assert "12 of 12 pictures answered" in run("status", dataset.root, *where)
    assert "judgements from 12 answers by 1" in run("export", dataset.root, tmp_path / "out", *where)
    assert set(read_judgements(tmp_path / "out")["by"].to_pylist()) == {"ann"}


def test_a_server_for_other_machines_asks_for_its_key_and_answers_to_no_foreign_name(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(4))
    where = ("--workspace", tmp_path / "w", "--host", "0.0.0.0")
    with pytest.raises(GuardError, match="a key is needed; give --api-key-file"):
        run(dataset.root, *where)
    assert served.sockets == [], "nothing listened"
    (tmp_path / "key").write_text("a key of the lab\n".replace(" ", "-"))

    def meanwhile(client):
        assert client.get("/api/session").status_code == 401
        client.headers["authorization"] = "Bearer a-key-of-the-lab"
        assert client.get("/api/session", headers={"host": "192.0.2.7:3100"}).status_code == 200
        assert client.get("/api/session", headers={"host": "evil.example:3100"}).status_code == 400

    served.meanwhile = meanwhile
    run(dataset.root, *where, "--api-key-file", tmp_path / "key")
    assert served.where[0] == "0.0.0.0"


def test_the_same_command_goes_on_and_a_larger_number_adds_items(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(30))
    where = ("--workspace", tmp_path / "w")
    run(dataset.root, *where, "--items", 10)
    first = store_of(tmp_path / "w").items()
    run(dataset.root, *where, "--items", 10, "--seed", 7)
    assert store_of(tmp_path / "w").items() == first
    run(dataset.root, *where, "--items", 25)
    more = store_of(tmp_path / "w").items()
    assert more[:10] == first
    assert len({(item.shard, item.row) for item in more}) == 25
    assert [item.share for item in first].count("random") == 2
    assert [item.share for item in more].count("random") == 5
    run(dataset.root, "--workspace", tmp_path / "at-once", "--items", 25)
    blind = [
        {item.key for item in kept if item.share == "random"} for kept in (more, store_of(tmp_path / "at-once").items())
    ]
    assert blind[0] == blind[1]


def test_a_dataset_that_grew_by_a_shard_goes_on_with_its_labels(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(20), shards=2)
    where = ("--workspace", tmp_path / "w")
    sessions = []

    def meanwhile(client):
        sessions.append(client.get("/api/session").json()["store"])  # the browser's outbox is kept under it
        label_by_taste(client, "ann", len, 10)

    served.meanwhile = meanwhile
    run(dataset.root, *where, "--items", 10, "--repeats", 0)
    first = store_of(tmp_path / "w").items()
    more = captioned_dataset(tmp_path, many_captions(10), name="more", start=20)
    replace(dataset, shards=(*dataset.shards, *more.shards)).save()
    assert "10 of 10 pictures answered" in run("status", dataset.root, *where)
    run(dataset.root, *where, "--items", 20, "--repeats", 0)
    items = store_of(tmp_path / "w").items()  # which is the only one
    assert items[:10] == first
    assert more.shards[0].digest in {item.shard for item in items}
    assert "from 20 answers by 1" in run("export", dataset.root, tmp_path / "out", *where)
    assert len(sessions) == 2
    assert len(set(sessions)) == 1


def test_another_dataset_of_the_same_name_has_labels_of_its_own(tmp_path, served):
    one = captioned_dataset(tmp_path / "one", many_captions(6))
    two = captioned_dataset(tmp_path / "two", many_captions(6), start=50)
    where = ("--workspace", tmp_path / "w")
    served.meanwhile = lambda client: label_by_taste(client, "ann", len, 3)
    run(one.root, *where)
    with pytest.raises(DatasetError, match="nothing of labelled is labelled"):
        run("status", two.root, *where)
    run(two.root, *where, "--repeats", 0)
    assert len(list((tmp_path / "w" / "labels").glob("*.sqlite"))) == 2
    assert json.loads(run("status", two.root, *where, "--json"))["by_labeller"] == {"ann": 3}


def test_of_two_files_of_one_dataset_the_fuller_is_gone_on_with_and_the_other_named(tmp_path, served):
    """As an earlier release left them: it began anew whenever the dataset grew."""
    dataset = captioned_dataset(tmp_path, many_captions(8))
    where = ("--workspace", tmp_path / "w")
    served.meanwhile = lambda client: label_by_taste(client, "ann", len, 2)
    run(dataset.root, *where)
    served.meanwhile = lambda client: label_by_taste(client, "bob", len, 5)
    fuller = tmp_path / "w" / "labels" / "labelled-00000000.sqlite"
    run(dataset.root, *where, "--store", fuller)
    result = CliRunner().invoke(pairwright, ["label", "status", dataset.root, *map(str, where)])
    assert f"5 of 8 pictures answered, in {fuller}" in result.stdout
    assert f"labelled-{dataset.digest[:8]}.sqlite has labels of labelled too; reach them with --store" in result.stderr


def test_a_runs_captions_are_judged_beside_the_sidecars(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(10))
    columns = ColumnStore(f"{tmp_path}/w/columns")
    steps = {"fused": StepColumns("fuse", "d1"), "reward": StepColumns("reward", "d2")}
    (shard,) = dataset.shards
    columns.write(steps["fused"], shard.digest, {"text": pa.array([f"A fused caption {n}." for n in range(10)])}, 10)
    scores = pa.array([float(n) for n in range(10)], pa.float32())
    columns.write(steps["reward"], shard.digest, {"score": scores}, 10)
    record = {"columns": {name: asdict(step) for name, step in steps.items()}, "captions": ["fused"]}
    storage.write_json(f"{tmp_path}/w/runs/20260101-000000-000-mine/run.json", record)
    where = ("--workspace", tmp_path / "w", "--captions", 4)
    run(dataset.root, *where, "--score", "alt=reward.score")
    items = store_of(tmp_path / "w").items()
    assert len(items) == 10
    assert all("fused" in {one.source for one in item.candidates} for item in items)
    with pytest.raises(InvalidRecipe, match="is not SOURCE="):
        run(dataset.root, *where, "--items", 11, "--score", "reward.score")
    with pytest.raises(PairwrightError, match='did you mean "reward"'):
        run(dataset.root, *where, "--items", 11, "--score", "alt=rewardd.score")


def test_to_label_studio_and_back(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(8))
    where = ("--workspace", tmp_path / "w")
    served.meanwhile = lambda client: label_by_taste(client, "ann", len, 5)
    run(dataset.root, *where, "--items", 8, "--repeats", 0)
    run("export", dataset.root, tmp_path / "studio", "--format", "label-studio", *where)
    exported = json.loads((tmp_path / "studio" / "tasks.json").read_text())
    assert len(exported) == 8
    assert "<Ranker" in (tmp_path / "studio" / "config.xml").read_text()
    elsewhere = ("--workspace", tmp_path / "elsewhere")
    said = run("import", dataset.root, tmp_path / "studio" / "tasks.json", *elsewhere)
    assert "5 new answers of 5" in said
    assert "0 new answers of 5" in run("import", dataset.root, tmp_path / "studio" / "tasks.json", *elsewhere)
    answers = [[(one.item.key, one.answer) for one in store_of(tmp_path / w).given()] for w in ("w", "elsewhere")]
    assert answers[0] == answers[1]


def test_mistakes_are_one_line_with_a_remedy(tmp_path, served):
    dataset = captioned_dataset(tmp_path, many_captions(4))
    where = ("--workspace", tmp_path / "w")
    with pytest.raises(DatasetError, match="nothing of labelled is labelled; run `pairwright label"):
        run("export", dataset.root, tmp_path / "out", *where)
    with pytest.raises(DatasetError, match='did you mean "keywords"'):
        run(dataset.root, *where, "--sources", "alt,keywrds")
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        run(dataset.root, *where, "--criteria", tmp_path / "none.yaml")


def test_a_taken_port_is_said_before_anything_is_sampled(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(4))
    with web_server.listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} of 127.0.0.1 cannot be had .*choose another with --port"):
            run(dataset.root, "--workspace", tmp_path / "w", "--port", port)
    assert not (tmp_path / "w").exists()
