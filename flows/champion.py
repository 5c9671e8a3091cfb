"""Which Bento is the champion's: a small record beside the Bento store that `serve` reads.

    <workspace>/bentos/<digest>/bento.json    a Bento that was built: tag, version, model_digest
    <workspace>/bentoml/champion.json         the one to serve

The registry's alias says which version is champion. A process may die between moving it, building the
Bento and writing the record, so every run, every rollback and every start of `serve` makes the three agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment
from pairwright.components.errors import NoChampion, TrackingError
from pairwright.flows.running.run import registry_of, the_champion

RECORD = "champion.json"
BENTO_RECORD = "bento.json"
TOLD = ("tag", "version", "model_digest")


def bento_home(environment: Environment) -> Path:
    return Path(environment.workspace) / "bentoml"


def bento_folder(environment: Environment, tag: str) -> Path:
    """Where BentoML's store in this workspace keeps the Bento of a tag, whether it is there or not."""
    name, _, version = tag.partition(":")
    return bento_home(environment) / "bentos" / name / version


def is_built(environment: Environment, tag: str) -> bool:
    """Whether a Bento is in the workspace's store."""
    return (bento_folder(environment, tag) / "bento.yaml").is_file()


def champion_bento(environment: Environment) -> dict[str, Any]:
    """`tag`, `version` and `path` of the Bento to serve: the champion's.

    Where that cannot be had, the one served until now, with the reason in `behind`.

    Raises:
        NoChampion: nothing was packaged yet.
    """
    try:
        record = point_at_champion(environment)
    except (NoChampion, TrackingError) as error:
        served = served_bento(environment)
        if served is None:
            raise NoChampion("nothing is packaged yet; run `pairwright run quickstart` first") from None
        record = served | {"behind": str(error)}
    return record | {"path": str(bento_folder(environment, record["tag"]))}


def served_bento(environment: Environment) -> dict[str, Any] | None:
    """What the record names; None if there is no record.

    Raises:
        NoChampion: the Bento it names is gone.
    """
    path = bento_home(environment) / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = storage.read_json(str(path))
    if not is_built(environment, record["tag"]):
        raise NoChampion(f"the Bento {record['tag']} is gone from {bento_home(environment)}; run the recipe again")
    return record


def point_at_champion(environment: Environment, tag: str | None = None) -> dict[str, Any]:
    """Make `serve` serve the champion; the record.

    Args:
        tag: the Bento to prefer if it is the champion's: a model may have several, of different indexes.

    Raises:
        NoChampion: no version is champion, or none of its Bentos is here.
        TrackingError: the registry cannot be asked.
    """
    record = bento_of_champion(environment, tag)
    path = bento_home(environment) / RECORD
    if not path.is_file() or storage.read_json(str(path)) != record:
        storage.write_json(str(path), record)
    return record


def bento_of_champion(environment: Environment, tag: str | None = None) -> dict[str, Any]:
    """The champion's Bento: that of `tag`, else the one served, else the newest. Raises as `point_at_champion`."""
    champion = the_champion(environment)
    found = [r for r in _built(environment) if (r["version"], r["model_digest"]) == (champion.version, champion.digest)]
    if not found:
        raise NoChampion(
            f"version {champion.version} is champion, but no Bento of it is here; run the recipe that made it "
            "(`pairwright lineage champion` names it), or `pairwright rollback`"
        )
    path = bento_home(environment) / RECORD
    served = storage.read_json(str(path)).get("tag") if path.is_file() else None
    return next((r for wanted in (tag, served) for r in found if r["tag"] == wanted), found[-1])


def _built(environment: Environment) -> list[dict[str, Any]]:
    """Every Bento that was built and is still here, newest last."""
    paths = sorted((Path(environment.workspace) / "bentos").glob(f"*/{BENTO_RECORD}"), key=lambda p: p.stat().st_mtime)
    records = [storage.read_json(str(path)) for path in paths]
    whole = [record for record in records if all(name in record for name in TOLD)]
    return [{name: record[name] for name in TOLD} for record in whole if is_built(environment, record["tag"])]


def roll_back(environment: Environment, reason: str) -> tuple[int, str | None, str]:
    """Make the previous champion champion again and serve it; (version, its Bento's tag, why there is none).

    A rollback that was killed after it moved the alias is finished, not made twice.

    Raises:
        NoChampion: there is no champion, or none before it.
    """
    registry = registry_of(environment, light=True)
    version = _unfinished(environment, registry.history())
    if version is None:
        version = registry.rollback(reason)
    try:
        return version, str(point_at_champion(environment)["tag"]), ""
    except NoChampion as error:
        return version, None, str(error)


def _unfinished(environment: Environment, history: list[dict[str, Any]]) -> int | None:
    """The champion that a killed rollback brought back while what it replaced is still set to be served."""
    last = history[-1] if history else {"action": None}
    path = bento_home(environment) / RECORD
    if last["action"] != "rollback" or not path.is_file():
        return None
    served = storage.read_json(str(path)).get("version")
    try:
        waits = bento_of_champion(environment)["version"] == last["version"]
    except NoChampion:
        return None
    return int(last["version"]) if waits and served == last["replaced"] else None


def disagreement(environment: Environment) -> str | None:
    """Why what is served is not what the registry calls champion; None if it is. Changes nothing.

    Raises:
        NoChampion, TrackingError: as `bento_of_champion` and `served_bento`.
    """
    record = bento_of_champion(environment)
    served = served_bento(environment)
    if served is None:
        return f"version {record['version']} is champion, but nothing is set to be served"
    if served["tag"] != record["tag"]:
        return f"version {record['version']} is champion, but version {served['version']} is set to be served"
    return None
