"""Keys: different names get different keys, for certain."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.shards.keys import Keys, safe_key
from pairwright.components.dataset.shards.writer import ShardWriter

HOSTILE = st.lists(
    st.text("ab.:?_-\\/ é\ud800\n" + "0123456789abcdef"[:4], min_size=1, max_size=12), unique=True, max_size=30
)


@settings(deadline=None)
@given(HOSTILE)
@example(["x.1.jpg", "x:1.jpg", "x_1.jpg", "x?1.jpg", "x_1_jpg.png", "x_1_jpg"])
def test_different_paths_get_different_keys_that_name_members(paths):
    keys = Keys()
    made = [keys.of_path(path) for path in paths]
    assert len(set(made)) == len(paths)
    assert [keys.of_path(path) for path in paths] == made
    assert all(re.fullmatch(r"(?:[^/\0]+/)*[^/.\0]+", key) and ".." not in key.split("/") for key in made)


def test_a_key_made_to_look_like_anothers_digest_still_differs():
    first = Keys()
    first.of_path("x_1.jpg"), first.of_path("x_1_jpg")
    digested = first.of_path("x:1.jpg")
    keys = Keys()
    names = [digested + ".jpg", "x_1.jpg", "x_1_jpg", "x:1.jpg"]
    assert len({keys.of_path(name) for name in names}) == 4


def test_a_name_that_is_no_path_keeps_what_looks_like_a_suffix():
    keys = Keys()
    assert [keys.of_name(name) for name in ("a.1", "a.2", "a.1")] == ["a_1", "a_2", "a_1"]


@settings(max_examples=30, deadline=None)
@given(paths=HOSTILE)
def test_no_pair_of_a_hostile_list_is_lost_to_another(paths, tmp_path_factory):
    keys, dest = Keys(), tmp_path_factory.mktemp("hostile")
    with ShardWriter(str(dest), "d") as writer:
        for number, path in enumerate(paths):
            writer.add(keys.of_path(path), [("image", "image", "jpg", bytes([number]))])
    rows = [row for _, table in writer.dataset.iter_sidecars() for row in table.to_pylist()]
    assert [row["error"] for row in rows] == [None] * len(paths)


def test_safe_keys_climb_nowhere():
    assert safe_key("../../etc/passwd") == "etc/passwd"
    assert safe_key("..") == "_"
