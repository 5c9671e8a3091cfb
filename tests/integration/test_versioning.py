"""Versions by real DVC: the pinned corpus comes back to the byte, curated versions outlive their cache."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("dvc")

from pairwright.components.errors import DatasetError, WorkspaceError
from pairwright.components.versioning import CuratedVersions, data_version, pull_data, pulled_together
from pairwright.components.versioning.pinned import is_current
from pairwright.components.versioning.repository import guarded, repository
from pairwright.flows.planning.datasets import find_dataset

pytestmark = [pytest.mark.slow, pytest.mark.platform]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "columns").mkdir(parents=True)
    (folder / "kept.parquet").write_bytes(b"rows" * 100)
    (folder / "columns" / "a.parquet").write_bytes(b"scores")
    return folder


@pytest.fixture
def pinned_repo(tmp_path: Path) -> Path:
    """A repository laid out as ours: data.dvc, .dvc/config and the remote under infra/."""
    root = tmp_path / "repo"
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/00000.tar").write_bytes(bytes(range(256)) * 50)
    (root / "data/dataset.json").write_text("{}")
    for name in ("letters", "letters-test"):
        (root / "data" / name).mkdir()
        (root / "data" / name / "00000.tar").write_bytes(name.encode() * 50)
    from dvc.repo import Repo

    Repo.init(str(root), no_scm=True).close()
    with Repo(str(root)) as repo:
        with repo.config.edit("repo") as config:
            config["core"] = {"remote": "embedded", "no_scm": True, "analytics": False}
            config["remote"] = {"embedded": {"url": str(root / "infra/dvc-remote")}}
        repo.add(str(root / "data"))
        repo.push()
    return root


def test_pull_restores_the_pinned_bytes_and_is_idempotent(pinned_repo: Path) -> None:
    import shutil

    before = contents(pinned_repo / "data")
    shutil.rmtree(pinned_repo / "data")
    shutil.rmtree(pinned_repo / ".dvc/cache")
    assert not is_current(pinned_repo)
    assert contents(pull_data(pinned_repo)) == before
    (pinned_repo / "data/raw/00000.tar").chmod(0o644)
    (pinned_repo / "data/raw/00000.tar").write_bytes(b"changed")
    (pinned_repo / "data/dataset.json").unlink()
    assert contents(pull_data(pinned_repo)) == before
    assert data_version(pinned_repo) == yaml.safe_load((pinned_repo / "data.dvc").read_text())["outs"][0]["md5"]


def test_a_corpus_is_pulled_alone_and_leaves_the_others_as_they_are(pinned_repo: Path) -> None:
    import shutil

    before = contents(pinned_repo / "data")
    for gone in ("data", ".dvc/cache"):
        shutil.rmtree(pinned_repo / gone)
    letters, demo = pulled_together("letters-test"), pulled_together("raw")
    assert letters == ("letters", "letters-dev", "letters-test")
    pull_data(pinned_repo, letters)
    assert set(contents(pinned_repo / "data")) == {"letters/00000.tar", "letters-test/00000.tar"}
    assert is_current(pinned_repo, letters)
    assert not is_current(pinned_repo, demo)
    assert not is_current(pinned_repo)
    (pinned_repo / "data/letters/mine").write_text("not pinned")
    pull_data(pinned_repo, demo)
    assert (pinned_repo / "data/letters/mine").exists(), "a pull of one corpus touches no other"
    (pinned_repo / "data/letters/mine").unlink()
    assert contents(pull_data(pinned_repo)) == before
    assert pull_data(pinned_repo, pulled_together("no-such")) == pinned_repo / "data", "what is not pinned is no pull"


def test_a_recipes_dataset_brings_its_own_corpus(pinned_repo: Path) -> None:
    import shutil

    for gone in ("data", ".dvc/cache"):
        shutil.rmtree(pinned_repo / gone)
    with pytest.raises(DatasetError):  # what was pinned here is no dataset, but it came
        find_dataset(str(pinned_repo / "data/letters"))
    assert set(contents(pinned_repo / "data")) == {"letters/00000.tar", "letters-test/00000.tar"}


def test_a_second_pull_does_not_import_dvc(pinned_repo: Path) -> None:
    code = f"""
        import sys
        from pairwright.components.versioning import data_version, pull_data
        data_version({str(pinned_repo)!r}); pull_data({str(pinned_repo)!r})
        assert "dvc" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=Path(__file__).parents[2])


def test_a_damaged_embedded_remote_is_one_line(pinned_repo: Path) -> None:
    md5 = data_version(pinned_repo)
    (pinned_repo / "infra/dvc-remote/files/md5" / md5[:2] / md5[2:]).unlink()
    with pytest.raises(DatasetError, match="missing or damaged; restore it") as caught:
        pull_data(pinned_repo)
    assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match=r"data\.dvc is missing"):
        pull_data(pinned_repo / "infra")


def test_a_version_is_restored_from_the_remote_alone(curated: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    version = CuratedVersions(tmp_path / "workspace", remote).snapshot("run-1", curated)
    assert (version.files, version.size) == (2, 406)
    assert version.md5.endswith(".dir")
    elsewhere = CuratedVersions(tmp_path / "another", remote)
    assert contents(elsewhere.checkout(version.dvc_text, tmp_path / "restored")) == contents(curated)


def test_same_files_same_md5_and_a_name_may_be_used_again(curated: Path, tmp_path: Path) -> None:
    versions = CuratedVersions(tmp_path / "workspace")
    first = versions.snapshot("run-1", curated)
    other = versions.snapshot(
        "run-2", {"kept.parquet": curated / "kept.parquet", "columns/a.parquet": curated / "columns/a.parquet"}
    )
    assert first.md5 == other.md5
    (curated / "kept.parquet").write_bytes(b"fewer")
    changed = versions.snapshot("run-1", curated)
    assert changed.md5 != first.md5
    old, new = (versions.checkout(v.dvc_text, tmp_path / v.md5) for v in (first, changed))
    assert (old / "kept.parquet").read_bytes() == b"rows" * 100
    assert (new / "kept.parquet").read_bytes() == b"fewer"


def test_bad_names_missing_files_and_full_folders_are_one_line(curated: Path, tmp_path: Path) -> None:
    versions = CuratedVersions(tmp_path / "workspace")
    for name, files in [
        ("../x", curated),
        ("a", {}),
        ("a", {"../up": curated / "kept.parquet"}),
        ("a", {"b": curated / "no"}),
    ]:
        with pytest.raises(DatasetError) as caught:
            versions.snapshot(name, files)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match=r"not the \.dvc text"):
        versions.checkout("outs: []", tmp_path / "x")
    version = versions.snapshot("a", curated)
    with pytest.raises(WorkspaceError, match="not empty"):
        versions.checkout(version.dvc_text, curated)
    lost = version.dvc_text.replace(version.md5, "0" * 32 + ".dir")
    with pytest.raises(DatasetError, match="cannot be pulled") as caught:
        versions.checkout(lost, tmp_path / "y")
    assert "\n" not in str(caught.value)


def test_two_processes_wait_for_each_other(curated: Path, tmp_path: Path) -> None:
    versions = CuratedVersions(tmp_path / "workspace")
    versions.snapshot("first", curated)
    code = f"""
        import sys
        from pairwright.components.versioning.repository import repository
        from pathlib import Path
        with repository(Path({str(tmp_path / "workspace/dvc")!r})) as repo, repo.lock:
            print("held", flush=True); sys.stdin.readline()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    made: list[str] = []
    waiting = threading.Thread(target=lambda: made.append(versions.snapshot("second", curated).md5))
    waiting.start()
    waiting.join(6)  # longer than DVC itself is willing to wait
    assert waiting.is_alive()
    assert not made
    holder.communicate("go\n")
    waiting.join(60)
    assert made == [versions.snapshot("third", curated).md5]


def test_a_lock_that_never_opens_is_one_line(curated: Path, tmp_path: Path) -> None:
    versions = CuratedVersions(tmp_path / "workspace")
    versions.snapshot("first", curated)
    with repository(tmp_path / "workspace/dvc") as repo, repo.lock:

        def attempt() -> None:
            with repository(tmp_path / "workspace/dvc") as other, other.lock:
                raise AssertionError("the lock was not exclusive")

        with pytest.raises(WorkspaceError, match="held DVC's lock") as caught:
            guarded(attempt, "x", patience_s=0.0)
    assert "\n" not in str(caught.value)


def test_the_users_git_repository_is_not_touched(curated: Path, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    CuratedVersions(tmp_path / "workspace").snapshot("run", curated)
    staged = subprocess.run([*git, "diff", "--cached", "--name-only"], check=True, capture_output=True, text=True)
    assert staged.stdout == ""
    assert not list((tmp_path / "workspace").rglob(".gitignore"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("dvc_s3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="versions")
    yield "s3://versions/curated"
    server.stop()


def test_versions_live_on_object_storage(curated: Path, tmp_path: Path, bucket: str) -> None:
    version = CuratedVersions(tmp_path / "workspace", bucket).snapshot("run", curated)
    restored = CuratedVersions(tmp_path / "another", bucket).checkout(version.dvc_text, tmp_path / "restored")
    assert contents(restored) == contents(curated)
