"""ShardWriter: deterministic bytes, committed shards, no manifest before the end."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards.keys import safe_key
from pairwright.components.dataset.shards.sidecar import caption, sidecar_table
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, WorkspaceError


def _tree(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_the_same_pairs_give_the_same_bytes(shapes, tmp_path):
    first, second = shapes(pairs=10, shards=3, root=tmp_path / "a"), shapes(pairs=10, shards=3, root=tmp_path / "b")
    assert _tree(Path(first.root)) == _tree(Path(second.root))
    assert first.digest == second.digest


def test_one_changed_caption_changes_the_shard_and_no_other(tmp_path):
    def write(root: Path, word: str):
        with ShardWriter(str(root), "words", pairs_per_shard=1) as writer:
            writer.add("a", [("image", "image", "jpg", b"x")], [caption("same")])
            writer.add("b", [("image", "image", "jpg", b"x")], [caption(word, source="keywords")])
        return [shard.digest for shard in writer.dataset.shards]

    before, after = write(tmp_path / "a", "one"), write(tmp_path / "b", "two")
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_any_picture_is_read_by_byte_range(shapes):
    from shapes import encoded

    dataset = shapes(pairs=7, shards=2)
    numbers = iter(range(7))
    for shard, table in dataset.iter_sidecars():
        for entry in table.to_pylist():
            image = entry["media"][0]
            assert shard.read_member(image) == encoded(next(numbers))


def test_a_killed_writer_leaves_no_dataset_and_the_same_calls_finish_it(tmp_path):
    def pairs(writer, upto: int, fail: bool):
        for number in range(upto):
            writer.add(f"{number:03d}", [("image", "image", "jpg", bytes([number]) * 99)], [caption(f"n{number}")])
        if fail:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ShardWriter(str(tmp_path / "cut"), "d", pairs_per_shard=2) as writer:
        pairs(writer, 5, fail=True)
    with pytest.raises(DatasetError, match="is not a dataset"):
        open_dataset(str(tmp_path / "cut"))
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == [
        "00000.parquet",
        "00000.tar",
        "00001.parquet",
        "00001.tar",
        "dataset.json.unfinished",
    ]
    for name in ("cut", "whole"):
        with ShardWriter(str(tmp_path / name), "d", pairs_per_shard=2) as writer:
            pairs(writer, 5, fail=False)
    assert _tree(tmp_path / "cut") == _tree(tmp_path / "whole")


def test_tars_that_are_not_ours_are_never_overwritten(tmp_path):
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/00000.tar").write_bytes(b"years of work")
    with pytest.raises(DatasetError, match="no dataset of ours; name another DEST"):
        ShardWriter(str(tmp_path / "crawl"), "d")
    assert (tmp_path / "crawl/00000.tar").read_bytes() == b"years of work"
    assert [path.name for path in (tmp_path / "crawl").iterdir()] == ["00000.tar"]


def test_a_smaller_dataset_in_the_place_of_a_larger_leaves_none_of_its_shards(shapes, tmp_path):
    shapes(pairs=8, shards=4)
    small = shapes(pairs=4, shards=2)
    assert sorted(path.name for path in Path(small.root).iterdir()) == [
        "00000.parquet",
        "00000.tar",
        "00001.parquet",
        "00001.tar",
        "dataset.json",
    ]


def test_a_second_use_of_a_key_is_a_row_with_a_reason(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        writer.add("k", [("image", "image", "jpg", b"first")], [caption("one")])
        writer.add("k", [("image", "image", "jpg", b"second")], [caption("two")])
    rows = writer.dataset.shards[0].read_sidecar().to_pylist()
    assert [row["error"] for row in rows] == [None, "duplicate_key"]
    assert rows[1]["captions"][0]["text"] == "two"


def test_a_dataset_without_pairs_is_a_dataset(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d"):
        pass
    opened = open_dataset(str(tmp_path / "d"))
    assert opened.rows == 0
    assert opened.shards[0].read_sidecar().num_rows == 0


def test_a_key_that_cannot_be_a_member_is_refused_and_safe_key_mends_it(tmp_path):
    with ShardWriter(str(tmp_path / "d"), "d") as writer:
        for bad in ("../up", "a.b", "", "/abs", "a//b"):
            with pytest.raises(DatasetError, match="safe_key"):
                writer.add(bad, [], [])
            writer.add(safe_key(bad), [], [], error="none")


def test_a_read_only_destination_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        ShardWriter(str(tmp_path / "file" / "below"), "d").add("k")


def test_a_disk_that_fills_up_is_one_clear_error_and_the_whole_shards_stay(tmp_path):
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from pairwright.components.dataset.shards.writer import ShardWriter
with ShardWriter(sys.argv[1], "d", pairs_per_shard=1) as writer:
    writer.add("small", [("image", "image", "jpg", bytes(5_000))])
    writer.add("big", [("image", "image", "jpg", bytes(500_000))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d")], cwd=Path(__file__).parents[4], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "WorkspaceError" in done.stderr.splitlines()[-1]
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "00000.parquet",
        "00000.tar",
        "dataset.json.unfinished",
    ]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
            texts,
            st.binary(max_size=700),
            st.binary(max_size=50),
        ),
        max_size=6,
        unique_by=lambda one: safe_key(one[0]),
    )
)
def test_keys_captions_bytes_and_metadata_round_trip(rows, tmp_path_factory):
    root = tmp_path_factory.mktemp("round")
    with ShardWriter(str(root), "d", pairs_per_shard=4) as writer:
        for key, text, data, meta in rows:
            writer.add(safe_key(key), [("image", "image", "jpg", data)], [caption(text)], meta=meta)
    found, members = [], {}
    for shard, table in open_dataset(str(root)).iter_sidecars():
        with tarfile.open(shard.tar) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
        for row in table.to_pylist():
            image = row["media"][0]
            data = shard.read_member(image)
            found.append((row["key"], row["captions"][0]["text"], data, row["meta"]))
    assert found == [(safe_key(key), *rest) for key, *rest in rows]
    for key, text, data, meta in found:
        assert (members[f"{key}.jpg"], members[f"{key}.txt"], members[f"{key}.json"]) == (data, text.encode(), meta)


def test_a_row_without_anything_is_a_legal_row():
    from pairwright.components.dataset.shards.sidecar import row

    assert sidecar_table([row("k")]).to_pylist()[0]["media"] == []
