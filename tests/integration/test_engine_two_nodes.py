"""The shard map on a Ray cluster of two nodes, found by RAY_ADDRESS; one of them is lost midway."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
sys.path.insert(0, str(Path(__file__).parent))

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.engine import cluster as engine_cluster
from pairwright.components.engine.cluster import Session
from pairwright.components.engine.shard_map import map_shards
from pairwright.components.environment import silence
from pairwright.components.errors import EngineError

pytestmark = [pytest.mark.slow, pytest.mark.platform]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    silence()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    from ray.cluster_utils import Cluster

    # A lost node is noticed in 2 s instead of Ray's 20.
    notice = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False, "_system_config": notice}
    )
    cluster.second = cluster.add_node(**node)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()
    os.environ.pop("PYTHONPATH")


def scan_task(root: Path, **settings: Any) -> ScanTask:
    notes = root / "notes"
    notes.mkdir(parents=True)
    settings |= {"notes": str(notes)}
    job = ColumnJob("w", "scorer", "engine_witness", settings, StepColumns("engine_witness", "d"), "engine_components")
    return ScanTask([job], str(root / "columns"))


def column(task: ScanTask, dataset: Dataset, name: str) -> list[Any]:
    return ColumnsView(dataset, task.store, {"w": task.jobs[0].columns}).column(name).to_pylist()


def _files(package: Path) -> set[str]:
    """Every file of a package but bytecode; through links, as an import goes."""
    return {
        os.path.relpath(os.path.join(folder, name), package)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if not name.endswith(".pyc")
    }


def test_the_nodes_of_other_machines_are_sent_the_whole_package(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    import pairwright

    def sent() -> set[str]:
        (place,) = (path for path in sys.path if "py_modules_files" in path)
        return _files(Path(place) / "pairwright")

    monkeypatch.setattr(engine_cluster, "_is_here", lambda address: False)
    with Session(address=cluster.address) as session:
        session.ensure()
        files = ray.get(ray.remote(sent).remote())
    assert files == _files(Path(pairwright.__file__).parent)
    assert "components/models/towers/imagenet_labels.txt" in files


def test_both_nodes_of_the_cluster_at_ray_address_work_and_one_may_be_lost(
    tmp_path: Path, cluster: Any, shapes: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    dataset = shapes(pairs=120, shards=12)
    here, both, one = (scan_task(tmp_path / name, pause=0.3 * (name != "here")) for name in ("here", "both", "one"))
    run_local(here, dataset.shards)
    with Session() as session:
        map_shards(both, dataset.shards, session)
        assert session.cpus() == 2
        assert len(set(column(both, dataset, "w.node"))) == 2
        assert column(both, dataset, "w.mean") == column(here, dataset, "w.mean")

        def lose_a_node() -> None:
            while len(list((tmp_path / "one" / "notes").iterdir())) < 3:
                time.sleep(0.05)
            cluster.remove_node(cluster.second, allow_graceful=False)

        loss = threading.Thread(target=lose_a_node)
        loss.start()
        reports = map_shards(one, dataset.shards, session, workers=2)
        loss.join()
        assert [report.rows for report in reports] == [10] * 12
        assert column(one, dataset, "w.mean") == column(here, dataset, "w.mean")


def test_an_address_where_nothing_listens_is_one_clear_error() -> None:
    with Session(address="127.0.0.1:9") as session, pytest.raises(EngineError, match=r"no Ray cluster answers at 127"):
        session.ensure()
