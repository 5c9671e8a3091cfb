"""Which Bento is the champion's: a small record beside the Bento store that `serve` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.dataset import storage
from components.environment import Environment
from components.errors import NoChampion

RECORD = "champion.json"


def bento_home(environment: Environment) -> Path:
    return Path(environment.workspace) / "bentoml"


def bento_folder(environment: Environment, tag: str) -> Path:
    """Where BentoML's store in this workspace keeps the Bento of a tag, whether it is there or not."""
    name, _, version = tag.partition(":")
    return bento_home(environment) / "bentos" / name / version


def champion_bento(environment: Environment) -> dict[str, Any]:
    """`tag`, `path` and `version` of the Bento to serve.

    Raises:
        NoChampion: nothing was packaged yet.
    """
    record = bento_home(environment) / RECORD
    if not record.is_file():
        raise NoChampion("nothing is packaged yet; run `pairwright run quickstart` first")
    found: dict[str, Any] = storage.read_json(str(record))
    folder = bento_folder(environment, found["tag"])
    if not folder.is_dir():
        raise NoChampion(f"the Bento {found['tag']} is gone from {bento_home(environment)}; run the recipe again")
    return found | {"path": str(folder)}


def use_bento_of(environment: Environment, version: int) -> str | None:
    """Point `serve` at the newest Bento of a registered version; its tag, or None if there is none."""
    records = sorted((Path(environment.workspace) / "bentos").glob("*/bento.json"), key=lambda p: p.stat().st_mtime)
    for path in reversed(records):
        record = storage.read_json(str(path))
        if record["version"] == version and bento_folder(environment, record["tag"]).is_dir():
            storage.write_json(str(bento_home(environment) / RECORD), record)
            return str(record["tag"])
    return None
