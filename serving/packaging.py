"""The champion becomes a Bento: model, code, index and receipt in one folder that needs nothing else.

    tag = build_bento(model_folder, index_folder, receipt, home="workspace/bentoml", tag_version="3")
    tag = build_bento(None, None, {}, captioner=captioner_to_serve(folder), home=..., tag_version="captioner")
    process = serve(tag, home="workspace/bentoml", port=3000)

BentoML runs in a process of its own, since it reads BENTOML_HOME once, on import. Nothing is
fetched: packages are not locked over the network but pinned to the versions installed here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.digest import folder_digest
from pairwright.components.environment import SILENT
from pairwright.components.errors import ModelError, PairwrightError
from pairwright.components.guard import KEY_VARIABLE, check_exposure
from pairwright.components.hashing import canonical, sha256_text
from pairwright.serving.packed_captioner import ServedCaptioner, pack_captioner
from pairwright.serving.receipt import publishable

NAME = "pairwright"
DEFAULT_TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "a photograph of {}")
MODEL_NAME, CAPTIONER_NAME = "pairwright_model", "pairwright_captioner"
ROOT = Path(__file__).parents[2]
# What the service imports of ours, and nothing else: a Bento has no flows and no filters.
PARTS = ("components/dataset", "components/models", "components/evaluate", "components/look", "serving")
CODE = ("pairwright/*.py", "pairwright/components/*.py", *(f"pairwright/{part}/**/*" for part in PARTS))
REQUIREMENTS = (
    "bentoml", "efficientnet-lite-pytorch", "faiss-cpu", "fsspec", "numpy", "onnx", "onnxruntime",
    "opencv-python-headless", "pillow", "pyarrow", "pydantic", "python-multipart", "safetensors", "simplejpeg",
    "starlette", "torch", "transformers",
)  # fmt: skip
INDEX_INSIDE_BELOW = 512 << 20  # bytes; a larger index is mounted instead
BUILD_TIMEOUT_S = 600
READY_TIMEOUT_S = 120
HOST_VARIABLE = "PAIRWRIGHT_SERVE_HOST"  # what the server listens on, for its guard


class PackagingError(PairwrightError):
    """A Bento could not be built, found or started."""


def build_bento(
    model_folder: str | Path | None,
    index_folder: str | Path | None,
    receipt: Mapping[str, Any],
    *,
    home: str | Path,
    tag_version: str,
    templates: tuple[str, ...] = DEFAULT_TEMPLATES,
    lock: str | Path | None = None,
    captioner: ServedCaptioner | None = None,
) -> str:
    """Build `pairwright:<tag_version>` in the Bento store under `home`; the same version again replaces it.

    Args:
        model_folder: a dual encoder's; None where a captioner alone is served.
        receipt: lineage, frozen in the Bento as it is now (JSON), without what is nobody else's business.
        index_folder: as `index_writing.build_index` makes it; copied inside below 512 MiB, else named to be mounted.
        templates: prompts of zero-shot classification, `{}` for the label.
        lock: requirements file whose versions are pinned; default the checkout's `requirements.lock`.
        captioner: what the route `caption` answers with.

    Raises:
        ModelError: the model folder is empty, or the index was made by another model.
        PackagingError: BentoML refused; its reason is in the message.
    """
    version = _version(tag_version)
    home = _home(home)
    receipt = publishable(receipt)
    facts = _facts(model_folder, Path(index_folder) if index_folder else None, version, templates)
    facts |= {"captioner": f"{CAPTIONER_NAME}:{version}", **captioner.facts} if captioner else {"captioner": None}
    with tempfile.TemporaryDirectory(prefix="pairwright-bento-") as staging:
        context = Path(staging)
        _stage_code(context)
        storage.write_json(str(context / "bento.json"), facts)
        storage.write_json(str(context / "receipt.json"), receipt)
        if facts["index_inside"]:
            shutil.copytree(str(index_folder), context / "index")
        storage.write_json(str(context / "bentofile.yaml"), _bentofile(lock))  # JSON is YAML
        (context / "README.md").write_text(_readme(facts, receipt), encoding="utf-8")
        models = [(str(Path(model_folder).resolve()), facts["model"])] if model_folder else []
        with tempfile.TemporaryDirectory(prefix="pairwright-captioner-") as packed:
            if captioner:
                pack_captioner(captioner, Path(packed))
                models.append((packed, facts["captioner"]))
            _build_in(context, home, json.dumps(models), version)
    return f"{NAME}:{version}"


# Run in BentoML's own process. The model goes to the store first: the service names it on import.
_BUILD = """
import json, shutil, sys
import bentoml
models, version = json.loads(sys.argv[1]), sys.argv[2]
for remove, tag in [(bentoml.delete, "pairwright:" + version)] + [(bentoml.models.delete, tag) for _, tag in models]:
    try:
        remove(tag)
    except bentoml.exceptions.NotFound:
        pass
for folder, tag in models:
    with bentoml.models.create(tag) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
bentoml.bentos.build_bentofile(version=version)
"""


def _facts(model: str | Path | None, index: Path | None, version: str, templates: tuple[str, ...]) -> dict[str, Any]:
    """bento.json: what the service is told about itself."""
    digest = folder_digest(Path(model)) if model else None
    about = json.loads((index / "index.json").read_bytes()) if index else {}
    if about.get("model_digest") and about["model_digest"] != digest:
        other = f"{about['model_digest'][:12]}, {model} is {str(digest)[:12]}"
        raise ModelError(f"{index} was made by model {other}; build the index again")
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file()) if index else 0
    return {
        "bento": f"{NAME}:{version}",
        "model": f"{MODEL_NAME}:{version}" if model else None,
        "model_digest": digest,
        "templates": list(templates),
        "index": str(index.resolve()) if index else None,
        "index_inside": bool(index) and size < INDEX_INSIDE_BELOW,
        "index_digest": sha256_text(canonical(about)) if index else None,
    }


def _stage_code(context: Path) -> None:
    for pattern in CODE:
        for source in ROOT.glob(pattern):
            if source.is_file() and "__pycache__" not in source.parts:
                target = context / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _bentofile(lock: str | Path | None) -> dict[str, Any]:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "name": NAME,
        "service": "pairwright.serving.service:Pairwright",
        "include": ["*"],
        "python": {"packages": pins(Path(lock) if lock else ROOT / "requirements.lock"), "lock_packages": False},
        "docker": {"python_version": python, "distro": "debian"},
        "envs": [{"name": name, "value": value} for name, value in SILENT.items()],
    }


def pins(lock: Path) -> list[str]:
    """`name==version` of everything the service needs, dependencies of dependencies included.

    Versions are the lock's, where there is one and it names the package, else those installed. A
    local version (`2.13.0+cpu`) loses its tail: which build of torch fits is the image's business.
    """
    versions = _locked(lock) if lock.is_file() else {}
    names = sorted(_closure(REQUIREMENTS))
    return [f"{name}=={(versions.get(name) or importlib.metadata.version(name)).partition('+')[0]}" for name in names]


def _locked(lock: Path) -> dict[str, str]:
    """Version by name, of the lock's lines that are meant for this Python and this system."""
    from packaging.requirements import Requirement

    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {
        _normal(one.name): next(iter(one.specifier)).version
        for one in wanted
        if one.specifier and (one.marker is None or one.marker.evaluate())
    }


def _closure(roots: tuple[str, ...]) -> set[str]:
    """Installed distributions that the roots need here, by normalised name."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    todo = [(_normal(root), frozenset[str]()) for root in roots]
    while todo:
        name, extras = todo.pop()
        if name in seen:
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # needed elsewhere (another platform), not here
        seen.add(name)
        for requirement in map(Requirement, lines):
            wanted = [{"extra": extra} for extra in (extras or {""})]
            if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in wanted):
                todo.append((_normal(requirement.name), frozenset(requirement.extras)))
    return seen


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _readme(facts: Mapping[str, Any], receipt: Mapping[str, Any]) -> str:
    lines = "\n".join(f"- {name}: `{value}`" for name, value in receipt.items() if isinstance(value, (str, int, float)))
    return (
        f"# {facts['bento']}\n\n{_holds(facts)} "
        f"`GET /lineage` says what made it, `GET /openapi.json` what it answers.\n\n{lines}\n"
    )


def _holds(facts: Mapping[str, Any]) -> str:
    said = {"model": "A dual encoder and search over the set it was made from.", "captioner": "A captioner."}
    return " ".join(words for name, words in said.items() if facts[name])


def _version(text: str) -> str:
    version = re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.")
    if not version:
        raise PackagingError(f"{text!r} cannot be a Bento's version; use letters, digits, dots and dashes")
    return version


def _home(home: str | Path) -> Path:
    path = Path(home).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage.workspace_error(str(path), error) from None
    return path


def _environment(home: Path) -> dict[str, str]:
    """BentoML's process: its home in the workspace, silent, our code only from the Bento, no bytecode left in it."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ours = {"BENTOML_HOME": str(home), "GIT_PYTHON_REFRESH": "quiet", "PYTHONDONTWRITEBYTECODE": "1"}
    return mine | SILENT | ours


def _build_in(context: Path, home: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, *arguments],
        env=_environment(home),
        cwd=context,  # BentoML reads its bentofile from nowhere else, and finds our package here first
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise PackagingError(f"the Bento was not built: {lines[-1] if lines else done.returncode}")


def bento_folder(tag: str, home: str | Path) -> Path:
    """The built Bento's folder.

    Raises:
        PackagingError: there is none of that tag.
    """
    name, _, version = tag.partition(":")
    store = Path(home) / "bentos" / name
    if version in ("", "latest") and (store / "latest").is_file():
        version = (store / "latest").read_text().strip()
    folder = store / version
    if not (folder / "bento.yaml").is_file():
        raise PackagingError(f"there is no Bento {tag} under {home}; run a recipe that releases a model first")
    return folder


# BentoML's own command, in a process that ends with the one that started it: its first argument. A thread
# looks, since no system but Linux tells; SIGTERM ends the workers in order, and what is left after that goes
# with the group. The workers look for this one in turn (serving/service.py). Each server counts in a folder
# of its own: BentoML's default is one a store, which every server empties as it starts.
_SERVE = """
import os, signal, sys, tempfile, threading, time
parent = int(sys.argv.pop(1))
def follow():
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os.killpg(os.getpid(), signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml_cli.cli import cli
sys.argv[0] = "bentoml"
with tempfile.TemporaryDirectory(prefix="pairwright-metrics-") as counts:
    BentoMLContainer.prometheus_multiproc_dir.set(counts)
    cli()
"""


def serve(
    tag: str,
    port: int = 3000,
    host: str = "127.0.0.1",
    *,
    home: str | Path,
    workers: int = 1,
    key: str | None = None,
    reload: bool = False,
    log: str | Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the Bento's server in a process group of its own; end it with `stop`. It ends when this process does.

    Args:
        key: what callers must show (components/guard.py); without one only this machine is answered.
        log: file for the server's output; default this process's.

    Raises:
        GuardError: other machines would reach it, and there is no key.
        PackagingError: there is none of that tag.
    """
    home = _home(home)
    # By its folder: BentoML first reads a tag as a module to import, and `pairwright` is one where it is installed,
    # which would then stand in the place of the Bento's own files.
    folder = bento_folder(tag, home)
    check_exposure(host, key)
    address = "127.0.0.1" if host == "localhost" else host  # BentoML takes no names
    command = [
        sys.executable,
        "-c",
        _SERVE,
        str(os.getpid()),
        "serve",
        str(folder),
        "--host",
        address,
        "--port",
        str(port),
    ]
    environment = _environment(home) | {"PAIRWRIGHT_SERVE_WORKERS": str(workers), HOST_VARIABLE: host}
    environment.pop(KEY_VARIABLE, None)
    if key:
        environment[KEY_VARIABLE] = key  # not on the command line, which every user of the machine can read
    with open(log, "ab") if log else contextlib.nullcontext() as stream:
        return subprocess.Popen(
            [*command, "--reload"] if reload else command,
            env=environment,
            cwd=home,  # not here: the Bento must answer from its own files
            stdout=stream,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )


def wait_until_ready(process: subprocess.Popen[bytes], url: str, timeout_s: float = READY_TIMEOUT_S) -> float:
    """Seconds until `url`/readyz answered.

    Raises:
        PackagingError: the server ended, or did not answer in time.
    """
    import httpx

    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        if process.poll() is not None:
            raise PackagingError(f"the server ended with code {process.returncode} before it was ready; see its log")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return time.monotonic() - started
        time.sleep(0.1)
    raise PackagingError(f"the server at {url} was not ready within {timeout_s:.0f} s; see its log")


def stop(process: subprocess.Popen[bytes], patience_s: float = 10) -> None:
    """End the server and its workers."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            break
    with contextlib.suppress(ProcessLookupError):  # a worker that outlived its parent
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def serving(tag: str, port: int, *, home: str | Path, **options: Any) -> Iterator[str]:
    """The Bento's address, up and ready inside the `with`, ended after it."""
    process = serve(tag, port, home=home, **options)
    try:
        url = f"http://{options.get('host', '127.0.0.1')}:{port}"
        wait_until_ready(process, url)
        yield url
    finally:
        stop(process)
