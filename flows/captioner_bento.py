"""A captioner to serve: which folder is meant, and a Bento of it, beside the champion where there is one.

    folder = captioner_folder("captioner", environment)          # the newest that a run made as this step; or a folder
    bento = bento_with(captioner_to_serve(folder), environment)  # {"tag": ..., "version": ...}; built once

A Bento is known by what is in it: the champion's Bento, the captioner, its tower, and the code that answers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.digest import library_versions
from pairwright.components.environment import Environment
from pairwright.components.errors import ModelError, NoChampion, nearest
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.source_code import source_digest
from pairwright.flows.champion import bento_folder, bento_home, champion_bento, is_built
from pairwright.flows.running.runs import run_records
from pairwright.serving.packaging import DEFAULT_TEMPLATES, MODEL_NAME, NAME, build_bento
from pairwright.serving.packed_captioner import ServedCaptioner


def captioner_folder(reference: str, environment: Environment) -> Path:
    """A folder, or the newest model that a run of this workspace made as the step of this name.

    Raises:
        ModelError: there is neither.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder.resolve()
    made: dict[str, str] = {}
    for record in run_records(environment.workspace):  # oldest first
        made |= _models_of(record.get("results", {}))
    if reference not in made:
        raise ModelError(f"{reference} is no folder, and no step of a run here{nearest(reference, made)}; name one")
    if not Path(made[reference]).is_dir():
        raise ModelError(f"{made[reference]} is gone; run the recipe again that made {reference}")
    return Path(made[reference])


def bento_with(captioner: ServedCaptioner, environment: Environment) -> dict[str, Any]:
    """`tag` and `version` of the Bento that holds the captioner, and the champion where there is one.

    Raises:
        PackagingError: it cannot be built.
    """
    champion = _champion(environment)
    tag = str(champion.get("tag", ""))
    version = "-".join(filter(None, [tag.partition(":")[2], "captioner", _digest(tag, captioner)[:8]]))
    if not is_built(environment, f"{NAME}:{version}"):
        with tempfile.TemporaryDirectory(prefix="pairwright-champion-") as scratch:
            parts = _parts(environment, tag, Path(scratch)) if tag else (None, None, {}, DEFAULT_TEMPLATES)
            model, index, receipt, templates = parts
            named = {"home": bento_home(environment), "tag_version": version, "templates": templates}
            build_bento(model, index, receipt, **named, captioner=captioner)
    return {"version": "none"} | champion | {"tag": f"{NAME}:{version}"}


def _champion(environment: Environment) -> dict[str, Any]:
    try:
        return champion_bento(environment)
    except NoChampion:
        return {}


def _digest(champion: str, captioner: ServedCaptioner) -> str:
    code = [source_digest(f"pairwright.serving.{module}") for module in ("service", "packaging")]
    libraries = library_versions(("bentoml",))
    return sha256_text(canonical([champion, captioner.facts, code, libraries]))


def _models_of(results: Mapping[str, Any]) -> dict[str, str]:
    """Step -> folder of every model of a run; of several seeds the first."""
    trained = {name: next(iter(seeds.values())) for name, seeds in results.get("models", {}).items() if seeds}
    return trained | dict(results.get("fits", {}))


def _parts(environment: Environment, tag: str, scratch: Path) -> tuple[Path, Path | None, Any, tuple[str, ...]]:
    """What the champion's Bento was built of: model, index, receipt and templates, as they lie in the store."""
    inside = bento_folder(environment, tag) / "src"
    facts = storage.read_json(str(inside / "bento.json"))
    stored = bento_home(environment) / "models" / MODEL_NAME / facts["model"].partition(":")[2]
    # BentoML lays a file of its own beside the model's, which would make another model of it.
    shutil.copytree(stored, scratch / "model", ignore=shutil.ignore_patterns("model.yaml"))
    index = inside / "index" if facts["index_inside"] else facts["index"] and Path(facts["index"])
    receipt = storage.read_json(str(inside / "receipt.json"))
    return scratch / "model", index, receipt, tuple(facts["templates"])
