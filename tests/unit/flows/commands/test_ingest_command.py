"""`pairwright ingest`: its options by kind, what it reports, and the names it prints as they are."""

import io
import json
import os

import pytest
from click.testing import CliRunner
from shapes import encoded
from tars import make_tar

from pairwright.components.dataset.source_kinds import SOURCES
from pairwright.flows.commands.ingest import command
from pairwright.flows.terminal import console

pytestmark = pytest.mark.platform


def run(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


@pytest.fixture
def photos(tmp_path):
    """Three pictures in a folder whose name means something to a shell, a URL and a console; one has a caption."""
    root = tmp_path / "my[data]%20?x:smile:"
    root.mkdir()
    for number in range(3):
        (root / f"[b]{number}?%20.jpg").write_bytes(encoded(number, 16))
    (root / "[b]0?%20.txt").write_text("a caption")
    (root / "more.zip").write_bytes(b"PK")
    return root


@pytest.mark.parametrize("kind", SOURCES)
def test_help_of_a_kind_shows_its_options_and_where_captions_are_looked_for(kind):
    result = run(kind, "--help")
    assert result.exit_code == 0
    assert all(f"{name}=" in result.output for name in SOURCES[kind].options.model_fields)
    assert SOURCES[kind].needs_no_source or kind == "demo-shop" or "Captions: " in result.output


def test_every_option_of_a_source_says_what_it_is():
    silent = [
        f"{kind}.{name}"
        for kind, source in SOURCES.items()
        for name, one in source.options.model_fields.items()
        if not one.description
    ]
    assert silent == []


def test_a_report_says_captions_by_source_and_what_was_not_read(photos, tmp_path):
    os.symlink("nowhere.jpg", photos / "gone.jpg")
    result = run("auto", photos, tmp_path / "out [x]")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"4 pairs in 1 shards at {tmp_path / 'out [x]'}",
        "  captions: alt 1 (of 3 pairs)",
        "  1 rows are no pairs: missing_file 1",
        "  files not read: 1 .zip",
    ]
    assert "WARNING" not in result.stderr
    again = json.loads(run("auto", photos, tmp_path / "out [x]", "--json").stdout)
    assert (again["captions"], again["errors"]) == ({"alt": 1}, {"missing_file": 1})
    assert again["notes"] == ["files not read: 1 .zip"]


def test_an_ingest_without_one_caption_says_so_loudly_and_how_to_name_them(photos, tmp_path):
    (photos / "[b]0?%20.txt").unlink()
    make_tar(tmp_path / "tars/0.tar", [("a.jpg", encoded(0, 16)), ("a.json", b'{"words": "w"}')])
    for kind, source in (("imagefolder", photos), ("webdataset", tmp_path / "tars")):
        result = run(kind, source, tmp_path / kind)
        assert result.exit_code == 0
        assert "WARNING: not one of the" in result.stderr
        assert "--set caption_column=NAME" in result.stderr
    named = run("webdataset", tmp_path / "tars", tmp_path / "webdataset", "--set", "caption_column=words")
    assert ("captions: alt 1" in named.stdout, "WARNING" in named.stderr) == (True, False)


def test_progress_is_one_line_where_nobody_watches(photos, tmp_path):
    result = run("imagefolder", photos, tmp_path / "out")
    assert [line for line in result.stderr.splitlines() if line.strip()] == [
        "  ingest                      3 of 3  100%  pairs"
    ]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pairs_per_shard=many", "\"pairs_per_shard\" is 'many': Input should be a valid integer"),
        ("pairs_per_shard=0", "greater than or equal to 1"),
        ("follow_links=perhaps", "\"follow_links\" is 'perhaps': Input should be a valid boolean"),
        ("captoin_column=x", 'unknown key "captoin_column"; did you mean "caption_column"?'),
    ],
)
def test_an_options_value_is_read_by_its_type(photos, tmp_path, setting, said):
    result = run("imagefolder", photos, tmp_path / "out", "--set", setting)
    assert said in str(result.exception)


def test_a_value_that_looks_like_another_type_is_the_text_it_is(photos, tmp_path):
    options = ["--set", "name=2024", "--set", "licence=no", "--set", "description=a: b", "--set", "follow_links=yes"]
    assert run("imagefolder", photos, tmp_path / "out", *options).exit_code == 0
    made = json.loads((tmp_path / "out/dataset.json").read_text())
    assert (made["name"], made["licence"], made["description"]) == ("2024", "no", "a: b")


def test_a_setting_without_a_value_is_one_line(photos, tmp_path):
    result = run("imagefolder", photos, tmp_path / "out", "--set", "name")
    assert "--set name says no value; write --set KEY=VALUE" in result.stderr


def test_the_console_prints_names_as_they_are(monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    shown = console.Console()
    shown.say("my[data]%20?x :smile: [/b]")
    shown.stage("[red]", "ran", 1.0, "kept [1] of [/2]")
    shown.progress("[x]", 1, 1, "[y]")
    shown.end()
    assert "my[data]%20?x :smile: [/b]" in said.getvalue()
    assert "[red]" in said.getvalue()
    assert "kept [1] of [/2]" in said.getvalue()
    assert "[x]" in said.getvalue()
