"""Every command of the README runs, but the make verbs that would recurse.

`make demo` is stood in for by the README's own sample of it, `pairwright run quickstart --limit 1`, and the crawl by
two shards of a few hundred pairs: what a shard holds is no part of what a command promises.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from miniature import first_pairs

from pairwright.components.dataset.dataset import open_dataset
from pairwright.flows.running.runs import chosen_run

pytestmark = [pytest.mark.slow, pytest.mark.platform, pytest.mark.timeout(1500)]

REPOSITORY = Path(__file__).resolve().parent.parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SAMPLE = "pairwright run quickstart --limit 1"
PAIRS = 300  # of a shard; among them is a picture of 168 megapixels
# Needs an earlier champion to go back to, which a single run does not make.
REFUSED = {"pairwright rollback": "NoChampion"}


def commands() -> list[str]:
    """Commands of the table and of the console blocks, in the order written, the sample first."""
    found = re.findall(r"`(pairwright [^`]+)`", README) + re.findall(r"^\$ (pairwright .+)$", README, re.MULTILINE)
    return [SAMPLE, *(command for command in dict.fromkeys(found) if command != SAMPLE)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the demo corpus beside it, of the crawl two short shards, and the README's recipe as mine.yaml."""
    folder = tmp_path_factory.mktemp("readme")
    from pairwright.components.versioning import pull_data

    corpus = Path(pull_data(REPOSITORY))
    (folder / "data").mkdir()
    for split in ("dev", "test"):
        (folder / "data" / split).symlink_to(corpus / split)
    raw = open_dataset(str(corpus / "raw"))
    first_pairs(raw, folder / "data" / "raw", PAIRS, shards=2, facts=raw.facts)  # so that dev and test are of it
    (example,) = re.findall(r"```yaml\n(name: mine\n.*?)```", README, re.DOTALL)
    (folder / "mine.yaml").write_text(example)
    return folder


def run(command: str, place: Path) -> subprocess.CompletedProcess:
    verb = shlex.split(command)[1:]
    return subprocess.run(
        [sys.executable, "-m", "pairwright.flows.cli", *verb],
        cwd=place,
        env={**os.environ, "PAIRWRIGHT_WORKSPACE": str(place / "workspace")},
        capture_output=True,
        text=True,
        timeout=900,
    )


def prepared(command: str, place: Path) -> str:
    """The command with the README's stand-ins filled in: a dropped pair's key, a crawl to ingest."""
    workspace = str(place / "workspace")
    if "KEY" in command:
        folder = Path(chosen_run(workspace)["results"]["selection_folder"])
        verdicts = pq.read_table(folder / "verdicts.parquet").to_pylist()
        return command.replace("KEY", next(v["key"] for v in verdicts if v["status"] == "dropped"))
    if command.startswith("pairwright export "):  # a sample has to be named
        return f"{command} --run {chosen_run(workspace)['id']}"
    if "./crawl" in command and not (place / "crawl").exists():
        assert run(prepared("pairwright export ./crawl", place), place).returncode == 0
        for ours in [place / "crawl" / "dataset.json", *(place / "crawl").glob("*.parquet")]:
            ours.unlink()  # what is left is a WebDataset as anybody's
        for tar in sorted((place / "crawl").glob("*.tar"))[1:]:
            tar.unlink()
    return command


PAGES = ("pairwright serve", "pairwright explore", "pairwright label")  # these stay up until they are ended
APART = ("pairwright run compress_and_align",)  # the same verb on a longer recipe; tests/e2e/test_recipes.py


def stays_up(command: str) -> bool:
    return command.startswith(PAGES)


@pytest.mark.parametrize("command", [c for c in commands() if not stays_up(c) and c not in APART])
def test_a_command_of_the_readme_runs(command, place):
    done = run(prepared(command, place), place)
    assert "Traceback" not in done.stderr
    if done.returncode != 0:
        assert REFUSED.get(command, "no refusal is expected") in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("command", [c for c in commands() if stays_up(c) and c != "pairwright serve"])
def test_a_page_of_the_readme_opens(command, place):
    port = "3918"
    verb = [*shlex.split(command)[1:], "--port", port, "--no-open"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pairwright.flows.cli", *verb],
        cwd=place,
        env={**os.environ, "PAIRWRIGHT_WORKSPACE": str(place / "workspace")},
        start_new_session=True,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}/", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def answers(address: str, process: subprocess.Popen) -> bool:
    """Whether the page is there within two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(address, timeout=5).status_code == 200
        except httpx.HTTPError:
            time.sleep(0.3)
    return False


def test_serve_answers(place):
    process = subprocess.Popen(
        [sys.executable, "-m", "pairwright.flows.cli", "serve", "--port", "3917"],
        cwd=place,
        env={**os.environ, "PAIRWRIGHT_WORKSPACE": str(place / "workspace")},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get("http://127.0.0.1:3917/readyz", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        answer = httpx.post("http://127.0.0.1:3917/search", json={"text": "a red car", "k": 3}, timeout=60)
        assert len(answer.raise_for_status().json()["items"]) == 3
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_every_file_the_readme_links_to_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (REPOSITORY / target).exists(), target


def test_every_make_verb_of_the_readme_exists():
    makefile = (REPOSITORY / "Makefile").read_text()
    for verb in set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
