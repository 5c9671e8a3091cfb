"""The engine on a real local Ray: resume, per-row errors, killed workers, deadly shards, training."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sockets import listening, outside_loopback

pytest.importorskip("ray")
sys.path.insert(0, str(Path(__file__).parent))

from tars import flip

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask, run_local
from pairwright.components.engine.cluster import Session, import_ray
from pairwright.components.engine.launch import TrainingGroup, training_group
from pairwright.components.engine.shard_map import Progress, map_shards
from pairwright.components.engine.shard_workers import ShardWorker, standing_workers
from pairwright.components.errors import DataChanged, EngineError, ModelError, WorkspaceError

pytestmark = [pytest.mark.slow, pytest.mark.platform]


@pytest.fixture(scope="module", autouse=True)
def workers_import_our_components() -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def session(workers_import_our_components: None) -> Iterator[Session]:
    session = Session(workers=2)
    yield session
    session.close()


def witness(root: Path, name: str = "witness", **settings: Any) -> ColumnJob:
    notes = root / "notes"
    notes.mkdir(exist_ok=True, parents=True)
    settings |= {"notes": str(notes)}
    return ColumnJob(
        name, "scorer", "engine_witness", settings, StepColumns("engine_witness", "d" + name), "engine_components"
    )


def fussy() -> ColumnJob:
    return ColumnJob("fussy", "scorer", "engine_fussy", {}, StepColumns("engine_fussy", "d"), "engine_components")


def scan_task(root: Path, *jobs: ColumnJob, **options: Any) -> ScanTask:
    return ScanTask(jobs, str(root / "columns"), **options)


def column(task: ScanTask, dataset: Dataset, name: str) -> list[Any]:
    view = ColumnsView(dataset, task.store, {job.step: job.columns for job in task.jobs})
    return view.column(name).to_pylist()


def notes(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "notes").iterdir())


def record_times(task: ScanTask, dataset: Dataset) -> dict[str, float]:
    """Shard -> when its first job was committed, of those that are."""
    paths = {s.name: Path(task.store.path(task.jobs[0].columns, s.digest) + ".json") for s in dataset.shards}
    return {name: path.stat().st_mtime for name, path in paths.items() if path.exists()}


def test_the_map_equals_the_local_loop_and_reports_as_it_goes(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=60, shards=5)
    seen: list[Progress] = []
    here, there = (scan_task(tmp_path / where, witness(tmp_path / where), fussy()) for where in ("here", "there"))
    local = run_local(here, dataset.shards)
    mapped = map_shards(there, dataset.shards, session, workers=2, on_progress=seen.append)
    for name in ("witness.mean", "witness._error", "fussy.length", "fussy._error"):
        assert column(here, dataset, name) == column(there, dataset, name)
    assert [report.shard for report in mapped] == [shard.name for shard in dataset.shards]
    assert [report.failed for report in mapped] == [report.failed for report in local]
    assert [progress.done for progress in seen] == list(range(6))
    assert (seen[-1].rows, seen[-1].total, seen[-1].eta) == (60, 5, 0)
    assert seen[-1].failed == sum(sum(report.failed.values()) for report in mapped) > 0
    assert set(column(there, dataset, "fussy._error")) == {None, "ValueError: no yellow"}
    share = max(1, session.cpus() // 2)
    assert set(column(there, dataset, "witness.threads")) == {share}, "two workers share the cores"


def test_what_is_finished_starts_no_ray_and_is_not_done_again(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=24, shards=3)
    task = scan_task(tmp_path, witness(tmp_path))
    map_shards(task, dataset.shards, session, workers=2)
    before, times = notes(tmp_path), record_times(task, dataset)
    idle = Session()
    reports = map_shards(task, dataset.shards, idle)
    assert not idle.started
    assert {report.computed for report in reports} == {()}
    lost = dataset.shards[1]
    Path(task.store.path(task.jobs[0].columns, lost.digest)).write_bytes(b"cut short behind our back")
    reports = map_shards(task, dataset.shards, session)
    assert [report.computed for report in reports] == [(), ("witness",), ()]
    assert len(notes(tmp_path)) == len(before) + 1
    changed = {name for name, when in record_times(task, dataset).items() if when != times[name]}
    assert changed == {lost.name}


def test_a_killed_worker_costs_at_most_the_shard_in_its_hand(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=160, shards=8)
    whole = scan_task(tmp_path / "whole", witness(tmp_path / "whole"), batch_size=5)
    run_local(whole, dataset.shards)
    killed = scan_task(tmp_path / "killed", witness(tmp_path / "killed", pause=0.1), batch_size=5)
    murders: list[tuple[float, int]] = []

    def murder() -> None:
        while not notes(tmp_path / "killed"):
            time.sleep(0.02)
        time.sleep(random.uniform(0.1, 1.2))
        victim = int(notes(tmp_path / "killed")[-1].split("-")[1])
        murders.append((time.time(), victim))
        os.kill(victim, signal.SIGKILL)

    murderer = threading.Thread(target=murder)
    murderer.start()
    reports = map_shards(killed, dataset.shards, session, workers=2)
    murderer.join()
    for name in ("witness.mean", "witness._error"):
        assert column(whole, dataset, name) == column(killed, dataset, name)
    assert sum(report.rows for report in reports) == 160
    begun = [name.split("-")[0] for name in notes(tmp_path / "killed")]
    firsts = [f"{20 * shard:06d}" for shard in range(8)]
    redone = sum(begun.count(key) - 1 for key in firsts)
    assert len(murders) == 1
    assert redone <= 1, "only the shard in the dead worker's hand is begun again"
    finished_before = [name for name, when in record_times(killed, dataset).items() if when < murders[0][0]]
    for name in finished_before:
        assert begun.count(firsts[int(name)]) == 1, "a committed shard is never touched again"


def workers_of(root: Path) -> set[int]:
    """Processes that began a batch."""
    return {int(name.split("-")[1]) for name in notes(root)}


def free_cpus_come_to(cpus: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if import_ray().available_resources().get("CPU", 0) == cpus:
            return True
        time.sleep(0.1)
    return False


def test_what_one_map_of_a_run_started_the_next_finds_and_the_run_ends(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    """Also where one was killed while it stood, and where the next wants another number of them."""
    dataset = shapes(pairs=24, shards=6)

    def work(name: str, workers: int) -> set[int]:
        root = tmp_path / name
        map_shards(scan_task(root, witness(root, pause=0.3)), dataset.shards, session, workers=workers)
        assert [int(t) for t in column(scan_task(root, witness(root)), dataset, "witness.threads")] == [
            max(1, session.cpus() // workers)
        ] * 24
        return workers_of(root)

    with standing_workers(session):
        first = work("first", 2)
        assert len(first) == 2
        assert work("second", 2) == first
        (one,) = work("alone", 1)
        assert one in first, "with more threads than it had"
        os.kill(one, signal.SIGKILL)
        after = work("after", 2)
        assert len(after) == 2
        assert one not in after
    assert free_cpus_come_to(session.cpus())


def test_workers_that_stand_are_in_nobodys_way(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    """In a session that stood before a run its workers stand when it is over, till a map needs their cores."""
    dataset = shapes(pairs=24, shards=6)
    session.ensure()

    def work(name: str) -> set[int]:
        root = tmp_path / name
        with Session() as own, standing_workers(own):
            map_shards(scan_task(root, witness(root, pause=0.3)), dataset.shards, own, workers=2)
        return workers_of(root)

    first = work("first")
    assert work("second") == first
    map_shards(scan_task(tmp_path / "other", witness(tmp_path / "other")), dataset.shards, session, workers=2)
    assert not workers_of(tmp_path / "other") & first
    assert free_cpus_come_to(session.cpus())


def test_a_worker_that_waits_holds_no_model(tmp_path: Path, shapes: Callable[..., Dataset]) -> None:
    dataset = shapes(pairs=8, shards=1)
    task = scan_task(tmp_path, fussy())
    worker = ShardWorker(task, 1)
    worker.run(dataset.shards[0])
    (component,) = task._components.values()
    model, task, component = weakref.ref(component), None, None
    worker.take(None, 1)
    assert model() is None


def test_a_shard_that_kills_its_workers_is_named_after_all_others_are_finished(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=30, shards=5)
    task = scan_task(tmp_path, witness(tmp_path, deadly="000014"))
    with pytest.raises(EngineError, match=r"shard 00002: its worker died .*after 2 tries.*other 4 shards are finished"):
        map_shards(task, dataset.shards, session, workers=2, max_restarts=2)
    assert [shard.name for shard in dataset.shards if task.missing(shard)] == ["00002"]


def test_a_shard_that_cannot_be_read_is_named_after_all_others_are_finished(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=12, shards=3)
    Path(dataset.shards[0].tar).unlink()
    task = scan_task(tmp_path, witness(tmp_path))
    with pytest.raises(EngineError, match=r"shard 00000: .*00000.tar cannot be read"):
        map_shards(task, dataset.shards, session, workers=1, max_restarts=2)
    assert [shard.name for shard in dataset.shards if task.missing(shard)] == ["00000"]


def test_a_shard_that_changed_is_named_with_the_remedy_after_all_others_are_finished(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=12, shards=3)
    for shard in dataset.shards[:2]:
        flip(Path(shard.tar), shard.read_sidecar(["media"])["media"][2].as_py()[0]["offset"])
    task = scan_task(tmp_path, witness(tmp_path))
    said = r"00000.tar changed since it was indexed: member 000002.* of 1 more shards the same is true"
    with pytest.raises(DataChanged, match=rf"{said}; the other 1 shards are finished$"):
        map_shards(task, dataset.shards, session, workers=1)
    assert [shard.name for shard in dataset.shards if task.missing(shard)] == ["00000", "00001"]


def test_an_unwritable_store_is_one_clear_error(
    tmp_path: Path, session: Session, shapes: Callable[..., Dataset]
) -> None:
    dataset = shapes(pairs=12, shards=3)
    (tmp_path / "columns").write_text("a file where the folder should be")
    with pytest.raises(WorkspaceError, match="columns"):
        map_shards(scan_task(tmp_path, witness(tmp_path)), dataset.shards, session, workers=1)


def test_two_workers_train_one_model_after_another_and_their_reports_arrive(tmp_path: Path, session: Session) -> None:
    held: list[str] = []

    @contextmanager
    def slot() -> Iterator[None]:
        held.append("taken")
        yield
        held.append("given back")

    group = TrainingGroup(session, storage_path=str(tmp_path / "ray"), workers=2, slot=slot)
    with closing(group):
        assert not (tmp_path / "ray").exists(), "nothing starts before the first model"
        assert held == []
        for name in ("first", "second"):
            reports: list[dict[str, Any]] = []
            (tmp_path / name).mkdir()
            config = {"checkpoint_dir": str(tmp_path / name), "steps": 3}
            result = group.train("engine_components:train", config, reports.append)
            assert result == {"steps": 3, "resumed_at": 0, "world": 2}
            assert reports == [{"step": step, "world": 2} for step in range(3)]
            assert held == ["taken"], "workers keep their GPUs between models, so the slot is kept, too"
    assert held == ["taken", "given back"]
    workers = [(tmp_path / name / "step-000").read_text() for name in ("first", "second")]
    assert workers[0] == workers[1], "the same process trains both"
    assert list((tmp_path / "ray").iterdir()) == []


def test_a_killed_training_worker_goes_on_from_its_newest_checkpoint(tmp_path: Path, session: Session) -> None:
    """In the second model of a group, so that the first is seen not to be trained again."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    reports: list[dict[str, Any]] = []
    with closing(TrainingGroup(session, storage_path=str(tmp_path / "ray"))) as group:
        group.train("engine_components:train", {"checkpoint_dir": str(first), "steps": 2})
        config = {"checkpoint_dir": str(second), "steps": 6, "die_at": 3}
        result = group.train("engine_components:train", config, reports.append)
    assert result["resumed_at"] == 4
    pids = [path.read_text().split()[0] for path in sorted(second.glob("step-*"))]
    assert len(set(pids[:4])) == len(set(pids[4:])) == 1
    assert pids[0] != pids[-1]
    assert (first / "step-001").read_text().split()[0] == pids[0]
    assert [report["step"] for report in reports][-2:] == [4, 5]


def test_a_model_has_its_own_restarts(tmp_path: Path, session: Session) -> None:
    """Two models that each kill their worker once; one restart a model is enough."""
    with closing(TrainingGroup(session, storage_path=str(tmp_path / "ray"), max_failures=1)) as group:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            config = {"checkpoint_dir": str(tmp_path / name), "steps": 3, "die_at": 1}
            assert group.train("engine_components:train", config)["resumed_at"] == 2


def test_a_training_that_always_dies_fails(tmp_path: Path, session: Session) -> None:
    with (
        closing(TrainingGroup(session, storage_path=str(tmp_path / "ray"), max_failures=0)) as group,
        pytest.raises(EngineError, match="training failed"),
    ):
        group.train("engine_components:train_never", {})


def test_in_a_session_that_stands_the_next_run_finds_the_group_and_every_cpu(tmp_path: Path, session: Session) -> None:
    """A run's own session object finds the one that stands; a failure costs the group, and the next gets another."""
    session.ensure()
    ray, cpus = import_ray(), session.cpus()

    def run(name: str, function: str = "train") -> str:
        (tmp_path / name).mkdir()
        config = {"checkpoint_dir": str(tmp_path / name), "steps": 1}
        with Session() as own, training_group(own, storage_path=str(tmp_path / "ray")) as group:
            group.train(f"engine_components:{function}", config)
        return (tmp_path / name / "step-000").read_text().split()[0]

    first = run("first")
    assert run("second") == first
    assert ray.available_resources()["CPU"] == cpus  # what waits for a model holds none that shards are scored on
    with pytest.raises(ModelError, match="name a model folder"):
        run("bad", "train_badly")
    assert run("third") != first


def test_an_error_of_ours_in_training_arrives_as_it_was(tmp_path: Path) -> None:
    with (
        Session() as own,
        closing(TrainingGroup(own, storage_path=str(tmp_path / "ray"))) as group,
        pytest.raises(ModelError, match="name a model folder"),
    ):
        group.train("engine_components:train_badly", {})


def test_a_failed_training_leaves_no_session_behind(tmp_path: Path) -> None:
    """Ray starts a session for whoever asks it something without one: a thread that outlived its own, for instance."""
    code = (
        "import sys, time; from contextlib import closing\n"
        "from pairwright.components.engine.cluster import Session, import_ray\n"
        "from pairwright.components.engine.launch import TrainingGroup\n"
        "from pairwright.components.errors import ModelError\n"
        "with Session() as own, closing(TrainingGroup(own, storage_path=sys.argv[1])) as group:\n"
        "    try: group.train('engine_components:train_badly', {})\n"
        "    except ModelError: pass\n"
        "time.sleep(3); assert not import_ray().is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=240)


def test_a_session_of_our_own_listens_on_loopback_alone(session: Session) -> None:
    session.ensure()
    found = listening()
    assert {"gcs_server", "raylet"} <= found.keys()
    assert not outside_loopback(found)
