"""The receipt that everyone may read: no credentials, no paths of this machine, and all the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.serving.receipt import publishable

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
PATHS = st.lists(NAMES, min_size=2, max_size=6).map(lambda names: "/" + "/".join(names))


def test_credentials_go_and_nothing_else():
    receipt = {"run": {"tracking": "postgresql://me:secret@db:5432/mlflow"}, "gates": ["s3://b/a@b", 1, None, True]}
    assert publishable(receipt) == {
        "run": {"tracking": "postgresql://db:5432/mlflow"},
        "gates": ["s3://b/a@b", 1, None, True],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:////home/ann/work/mlflow.db", "sqlite:///mlflow.db"),
        ("file:///home/ann/My Work/a", "file:///My Work/a"),
        ("/home/ann/My Work/a", "a"),
        ("/home/ann/", "ann"),
        ("model: /srv/models/x # ours", "model: x # ours"),
        ('{"path": "/srv/models/x"}', '{"path": "x"}'),
        (r"C:\\Users\\ann\\x".replace("\\\\", "\\"), "x"),
    ],
)
def test_of_a_path_of_the_machine_the_last_name_stays(text, shown):
    assert publishable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/curated/1", "https://host/a/b?c=/d", "models:/pairwright@champion", "data/raw/00000.tar",
        "../data/raw", "least(width, height) / 2 >= 64", "km/h", "0123abcd.dir", "2026-11-28T10:00:00+00:00", "",
    ],
)  # fmt: skip
def test_what_is_no_path_of_the_machine_stays(text):
    assert publishable(text) == text


@given(PATHS, st.sampled_from(["{}", "a: {}", "'{}'", "x {} y", "({})", "sqlite:///{}", "[{}, 1]"]))
def test_no_absolute_path_is_left_wherever_it_stands(path, around):
    shown = json.dumps(publishable({around.format(path): [around.format(path)]}))
    assert path.rpartition("/")[0] + "/" not in shown
    assert path.rpartition("/")[2] in shown
