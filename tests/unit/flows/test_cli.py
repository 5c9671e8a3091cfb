"""The command: help that teaches and imports nothing heavy, mistakes as one line."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from pairwright.flows.cli import VERBS, pairwright

pytestmark = pytest.mark.platform

HEAVY = [
    "torch",
    "transformers",
    "prefect",
    "ray",
    "dvc",
    "mlflow",
    "bentoml",
    "great_expectations",
    "duckdb",
    "pyarrow",
]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_teaches_by_example(verb):
    result = CliRunner().invoke(pairwright, [*([verb] if verb else []), "--help"])
    assert result.exit_code == 0
    assert "pairwright " in result.output.partition("\n")[2], "an example to paste"


def test_help_never_imports_anything_heavy():
    code = f"""
import sys
from pairwright.flows.cli import VERBS, main
for verb in ["", *VERBS]:
    try:
        main([*([verb] if verb else []), "--help"])
    except SystemExit as leave:
        assert not leave.code
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def command(*arguments, cwd=None, **variables):
    import os

    return subprocess.run(
        [sys.executable, "-m", "pairwright.flows.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **variables},
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], 'did you mean "run"?'),
        (["run", "quickstrat"], 'did you mean "quickstart"?'),
        (["run", "absent.yaml"], "absent.yaml cannot be read"),
        (["run", "quickstart", "--data", "nowhere"], "is not a dataset"),
        (["lineage", "--workspace", "{tmp}"], "no"),
        (["serve", "--workspace", "{tmp}"], "nothing is packaged yet"),
        (["serve", "--workspace", "{tmp}", "--host", "0.0.0.0"], "so a key is needed; give --api-key-file"),
        (["serve", "--workspace", "{tmp}", "--api-key-file", "absent"], "absent holds no key"),
        (["why", "x", "--workspace", "{tmp}"], "run a recipe"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(arguments, said, tmp_path):
    done = command(*[a.replace("{tmp}", str(tmp_path / "ws")) for a in arguments], cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_workspace_that_cannot_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    done = command(
        "run", "quickstart", "--data", str(tmp_path), "--workspace", str(tmp_path / "file" / "ws"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_out_of_range_is_named(tmp_path):
    done = command("run", "quickstart", cwd=tmp_path, PAIRWRIGHT_WORKERS="-3")
    assert done.returncode == 2
    assert "PAIRWRIGHT_WORKERS" in done.stderr
