"""A folder of others' files: nothing outside of it is read, and what cannot be had is a reason."""

from __future__ import annotations

import os

import pytest

from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.sources.folder import Folder, count_by_suffix
from pairwright.components.errors import DatasetError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "beyond").mkdir()
    (tmp_path / "beyond/x.jpg").write_bytes(b"secret")
    (root / "a.jpg").write_bytes(b"a")
    (root / "sub/b.jpg").write_bytes(b"b")
    for name, target in {
        "inside.jpg": "sub/b.jpg",
        "dangling.jpg": "nowhere.jpg",
        "out.jpg": "../secret.jpg",
        "outdir": "../beyond",
        "indir": "sub",
        "sub/loop": "..",
        "self.jpg": "self.jpg",
    }.items():
        os.symlink(target, root / name)
    os.mkfifo(root / "pipe.jpg")
    return Folder(str(root))


def test_links_are_followed_inside_and_refused_where_they_lead_out(folder):
    listing = folder.listing()
    assert listing.files == [
        "a.jpg", "dangling.jpg", "indir/b.jpg", "inside.jpg", "out.jpg", "pipe.jpg", "self.jpg", "sub/b.jpg",
    ]  # fmt: skip
    assert listing.refused == {"outdir": "unsafe_link"}
    assert {path: folder.read(path) for path in [*listing.files, "outdir/x.jpg"]} == {
        "a.jpg": (b"a", None),
        "sub/b.jpg": (b"b", None),
        "indir/b.jpg": (b"b", None),
        "inside.jpg": (b"b", None),
        "dangling.jpg": (b"", "missing_file"),
        "self.jpg": (b"", "missing_file"),
        "out.jpg": (b"", "unsafe_link"),
        "outdir/x.jpg": (b"", "unsafe_link"),
        "pipe.jpg": (b"", "unreadable:no regular file"),
    }


def test_links_lead_out_only_when_told(folder):
    trusting = Folder(folder.root, follow_links=True)
    assert trusting.read("out.jpg") == (b"secret", None)
    assert "outdir/x.jpg" in trusting.listing().files


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "sub/../../secret.jpg", "..", "a\\..\\..\\b"])
def test_no_name_leads_out(folder, name):
    assert folder.place(name) is None
    assert folder.read(name) == (b"", "unsafe_path")


@pytest.mark.parametrize("name", ["nul\0.jpg", "half\ud83d.jpg", "x" * 300 + ".jpg", "a.jpg/b.jpg", "sub"])
def test_a_name_no_file_system_takes_is_no_file(folder, name):
    data, error = folder.read(name)
    assert (data, error) in [(b"", "missing_file"), (b"", "unreadable:no regular file")]


def test_a_name_that_climbs_and_stays_inside_is_where_it_leads(folder):
    assert folder.place("../a.jpg", "sub") == "a.jpg"
    assert folder.place("./b.jpg", "sub") == "sub/b.jpg"


def test_a_folder_that_is_not_there_is_one_line_and_one_that_cannot_be_entered_a_reason(folder, monkeypatch):
    with pytest.raises(DatasetError, match="nowhere cannot be read"):
        Folder(folder.root + "/nowhere").listing()
    scandir = os.scandir

    def locked(path):
        if path.endswith("/sub"):
            raise PermissionError(13, "Permission denied")  # root may enter everything
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert folder.listing().refused["sub"] == "unreadable:Permission denied"


def test_fingerprints_hold_in_spite_of_dangling_links(folder):
    before = folder.fingerprints()
    os.utime(os.path.join(folder.root, "a.jpg"), ns=(1, 1))
    after = folder.fingerprints()
    assert {path for path in before if before[path] != after[path]} == {"a.jpg"}


@pytest.mark.slow
@pytest.mark.platform
@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "auto"])
def test_a_store_that_lets_nobody_in_is_one_line(tmp_path, monkeypatch, kind):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DatasetError, match="cannot be reached"):
        ingest(kind, "s3://nobody/x", str(tmp_path / "out"))


def test_files_are_counted_by_suffix():
    assert count_by_suffix(["a.ZIP", "b.zip", "c", "d.svg"]) == "2 .zip, 1 .svg, 1 without suffix"
