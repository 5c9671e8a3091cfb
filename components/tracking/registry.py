"""The model registry: a version a trained model, `champion` and `challenger`, and the way back.

    registry = Registry("sqlite:///workspace/mlflow.db", "pairwright")
    version = registry.register(folder, run_id=run.id, pedigree={...}, metrics={...})
    registry.set_challenger(version)
    registry.promote(version, "R@5 0.41 against 0.37")
    registry.rollback()

A version's artifacts are an MLflow pyfunc by models-from-code (`served_model.py`) with our model
folder inside, and `pedigree.json` beside it: everything `pairwright lineage` answers, frozen when
the model was registered. Every move of the champion is a tag on the registered model, written
before the alias moves, so that a process killed between the two leaves a note without effect,
never a champion that nobody can roll back.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.digest import folder_digest
from pairwright.components.errors import ModelError, NoChampion
from pairwright.components.tracking.embedded import embedded_client
from pairwright.components.tracking.pyfunc import kind_of, model_inside, save_pyfunc
from pairwright.components.tracking.store import connect, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
PEDIGREE = "pedigree.json"
DIGEST_TAG = "model_digest"
MAX_DESCRIPTION = 5000  # characters; MLflow's column
EVENT_TAG = "event."
TAGGED = ("data_version", "dataset_digest", "recipe_digest", "code_commit", "lock_hash", "selection_digest")


@dataclass(frozen=True)
class Standing:
    """A champion: its version, and the digest of its model's files as they were registered."""

    version: int
    digest: str


class Registry:
    """One registered model in one MLflow store.

    Args:
        uri: SQLite file or server, as for `Tracker`.
        name: of the registered model.
        cache: folder where `resolve` keeps models it had to fetch from a server.
        light: read and move aliases without importing MLflow where the store allows (embedded.py); versions cannot
            be registered or promoted then.

    Raises:
        TrackingError: on first use, when the store cannot be reached.
    """

    def __init__(self, uri: str, name: str, cache: str | Path | None = None, light: bool = False) -> None:
        self.uri = uri
        self.name = name
        self.light = light
        self.cache = Path(cache) if cache else Path(tempfile.gettempdir()) / f"pairwright-models-{os.getuid()}"

    @cached_property
    def _client(self) -> MlflowClient:
        light: Any = embedded_client(self.uri) if self.light else None
        return light or connect(self.uri)

    # -- versions ---------------------------------------------------------------------------------

    def register(
        self,
        folder: str | Path,
        *,
        run_id: str,
        pedigree: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        description: str = "",
    ) -> int:
        """A model folder as a new version; the version it already has, if the same bytes were registered before.

        Raises:
            ModelError: the folder holds no `config.json`.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} is not a model folder (no config.json); train one first")
        digest = folder_digest(folder)
        known = self.find(digest)
        if known is not None:
            return known
        self._ensure_registered()
        record = {**pedigree, "model_digest": digest, "run_id": run_id, "metrics": dict(metrics or {})}
        source, model_id = self._upload(folder, run_id, record)
        tags = {DIGEST_TAG: digest} | {name: str(record[name])[:500] for name in TAGGED if record.get(name)}
        created = self._client.create_model_version(
            self.name, source, run_id, tags=tags, model_id=model_id, description=description[:MAX_DESCRIPTION]
        )
        return self._settle_race(digest, int(created.version))

    def find(self, digest: str) -> int | None:
        """The version whose folder has this digest; the first, if a race made two."""
        found = self._client.search_model_versions(
            f"name = '{self.name}' and tags.`{DIGEST_TAG}` = '{digest}'", max_results=100
        )
        return min((int(version.version) for version in found), default=None)

    def _settle_race(self, digest: str, version: int) -> int:
        """Two processes registering the same bytes agree on the lower version; the other is removed."""
        first = self.find(digest) or version
        if first < version:
            self._client.delete_model_version(self.name, str(version))
        return first

    def _ensure_registered(self) -> None:
        from mlflow.exceptions import MlflowException

        if self._client.search_registered_models(f"name = '{self.name}'", max_results=1):
            return
        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:  # another process made it a moment ago
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _upload(self, folder: Path, run_id: str, record: Mapping[str, Any]) -> tuple[str, str]:
        """The pyfunc around `folder` as an MLflow logged model; (artifact location, model id)."""
        experiment = self._client.get_run(run_id).info.experiment_id
        with tempfile.TemporaryDirectory(prefix="pairwright-register-") as scratch:
            packed = Path(scratch) / "packed"
            save_pyfunc(folder, packed, Path(scratch))
            text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, default=str)
            (packed / PEDIGREE).write_text(text + "\n", encoding="utf-8")
            model = self._client.create_logged_model(experiment, self.name, run_id, model_type=kind_of(folder))
            self._client.log_model_artifacts(model.model_id, str(packed))
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.artifact_location), str(model.model_id)

    def _version(self, version: int | str) -> ModelVersion:
        """A version by number, "3", or alias, "champion".

        Raises:
            ModelError: there is no such version; NoChampion: no such alias.
        """
        text = str(version).removeprefix("v") if str(version)[1:].isdigit() else str(version)
        try:
            if text.isdigit():
                return self._client.get_model_version(self.name, text)
            return self._client.get_model_version_by_alias(self.name, text)
        except Exception as error:  # MLflow's, or that of its tables read without it
            if getattr(error, "error_code", "INTERNAL_ERROR") == "INTERNAL_ERROR":
                raise
            if text in (CHAMPION, CHALLENGER):
                raise NoChampion(
                    f'model "{self.name}" has no {text}; `pairwright run RECIPE` trains, registers and promotes one'
                ) from None
            raise ModelError(
                f'model "{self.name}" has no version or alias "{text}"; see `pairwright lineage`'
            ) from None

    # -- aliases ----------------------------------------------------------------------------------

    def alias(self, name: str) -> int | None:
        """The version an alias points at, or None."""
        try:
            return int(self._version(name).version)
        except (NoChampion, ModelError):
            return None

    def champion(self) -> int | None:
        return self.alias(CHAMPION)

    def challenger(self) -> int | None:
        return self.alias(CHALLENGER)

    def set_challenger(self, version: int) -> None:
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(self._version(version).version))

    def promote(self, version: int, reason: str) -> None:
        """Make `version` the champion; what was champion is where `rollback` returns to. Idempotent.

        Raises:
            ModelError: there is no such version.
        """
        target = int(self._version(version).version)
        previous = self.champion()
        if previous != target:
            self._move("promote", target, reason, previous, self._event_of(previous))
        if self.challenger() == target:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def rollback(self, reason: str = "rollback") -> int:
        """Make the previous champion champion again; its version.

        Raises:
            NoChampion: there is no champion, or none before it.
        """
        current = int(self._version(CHAMPION).version)
        events = {event["id"]: event for event in self.history()}
        event = self._latest(list(events.values()), current)
        if event is None or event["back"] is None:
            raise NoChampion(
                f'model "{self.name}" had no champion before version {current}; promote another with '
                "`pairwright run RECIPE`, or keep this one"
            )
        target, earlier = int(event["back"]), events.get(event["back_event"] or "")
        self._move(
            "rollback",
            target,
            reason,
            earlier["back"] if earlier else None,
            earlier["back_event"] if earlier else None,
            replaced=current,
        )
        return target

    def _move(
        self, action: str, version: int, reason: str, back: int | None, back_event: str | None, **more: Any
    ) -> None:
        """Write down the move, then make it.

        An event says where a rollback from it leads (`back`) and which event had made that version
        champion (`back_event`), so a chain of rollbacks walks back through the champions one by one.
        """
        now = datetime.now(UTC)
        identifier = f"{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:6]}"
        event = {
            "action": action,
            "version": version,
            "reason": reason[:2000],
            "at": now.isoformat(timespec="seconds"),
            "replaced": back,
            "back": back,
            "back_event": back_event,
            **more,
        }
        self._client.set_registered_model_tag(self.name, EVENT_TAG + identifier, json.dumps(event))
        self._client.set_registered_model_alias(self.name, CHAMPION, str(version))

    def _event_of(self, version: int | None) -> str | None:
        event = self._latest(self.history(), version) if version is not None else None
        return str(event["id"]) if event else None

    @staticmethod
    def _latest(events: list[dict[str, Any]], version: int) -> dict[str, Any] | None:
        return next((event for event in reversed(events) if event["version"] == version), None)

    def history(self) -> list[dict[str, Any]]:
        """Every move of the champion, oldest first: id, action, version, replaced, reason, at."""
        # Not get_registered_model: MLflow's loads every version of the model to answer it.
        found = self._client.search_registered_models(f"name = '{self.name}'", max_results=1)
        tags = found[0].tags if found else {}
        return [
            {"id": key.removeprefix(EVENT_TAG), **json.loads(tags[key])}
            for key in sorted(tags)
            if key.startswith(EVENT_TAG)
        ]

    # -- contents ---------------------------------------------------------------------------------

    def pedigree(self, version: int | str) -> dict[str, Any]:
        """What was frozen at registration (see lineage.py for its keys)."""
        found = self._version(version)
        with tempfile.TemporaryDirectory(prefix="pairwright-pedigree-") as scratch:
            path = self._fetch(found, PEDIGREE, Path(scratch))
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def describe(self, version: int | str) -> dict[str, Any]:
        """Number, digest, aliases and time of a version."""
        found = self._version(version)
        created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
        return {
            "name": self.name,
            "version": int(found.version),
            "digest": found.tags.get(DIGEST_TAG),
            "aliases": sorted(found.aliases),
            "registered_at": created.isoformat(timespec="seconds"),
            "run_id": found.run_id,
        }

    def digest(self, version: int | str) -> str:
        """Digest of a version's model files, as they were registered."""
        return str(self._version(version).tags.get(DIGEST_TAG) or "")

    def standing(self) -> Standing | None:
        """The champion as it stands now; None if there is none."""
        version = self.champion()
        return None if version is None else Standing(version, self.digest(version))

    def came_to_be(self, version: int) -> dict[str, Any] | None:
        """The latest move that made a version champion, if there was one."""
        return self._latest(self.history(), version)

    def download(self, version: int | str, dest: str | Path) -> Path:
        """The model folder of a version (or alias), as it was registered, at `dest`.

        Raises:
            ModelError: `dest` is not empty, or the store's bytes are not those that were registered.
        """
        dest = Path(dest)
        if dest.exists() and any(dest.iterdir()):
            raise ModelError(f"{dest} is not empty; name a folder that does not exist yet")
        found = self._version(version)
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=dest.parent) as scratch:
            folder = self._fetch(found, model_inside(self._fetch(found, "MLmodel", Path(scratch))), Path(scratch))
            self._check(found, folder)
            if dest.exists():
                dest.rmdir()
            os.chmod(folder, 0o755)
            os.replace(folder, dest)
        return dest

    def resolve(self, reference: str) -> tuple[Path, str]:
        """`models:/NAME@ALIAS` or `models:/NAME/VERSION` as (model folder, digest of its files).

        With a local store it is the store's own folder, to be read and never written; from a server
        it is fetched into the cache once.

        Raises:
            ModelError: not such a reference, or no such version; NoChampion: the alias is not set.
        """
        name, version = parse_reference(reference)
        registry = self if name == self.name else Registry(self.uri, name, self.cache)
        found = registry._version(version)
        digest = found.tags.get(DIGEST_TAG) or ""
        local = registry._local_root(found)
        if local is not None:
            folder = local / model_inside(local / "MLmodel")
            registry._check(found, folder)
            return folder, digest
        folder = registry.cache / name / digest
        if not folder.is_dir():
            registry.download(int(found.version), folder)
        return folder, digest

    def _local_root(self, version: ModelVersion) -> Path | None:
        uri = str(version.source)
        return Path(uri.removeprefix("file://")) if uri.startswith(("/", "file://")) else None

    def _fetch(self, version: ModelVersion, path: str, into: Path) -> Path:
        """Copy one artifact (file or folder) of a version; its local path."""
        local = self._local_root(version)
        if local is not None and (local / path).is_file():
            return Path(shutil.copy(local / path, into))
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            store = get_artifact_repository(str(version.source), tracking_uri=self.uri, registry_uri=self.uri)
            return Path(store.download_artifacts(path, str(into)))
        except Exception as error:
            raise ModelError(
                f"{self.name} version {version.version}: {path} is not in the store ({one_line(error)}); "
                "restore its artifacts, or train again"
            ) from error

    def _check(self, version: ModelVersion, folder: Path) -> None:
        expected = version.tags.get(DIGEST_TAG)
        if not folder.is_dir() or (expected and folder_digest(folder) != expected):
            raise ModelError(
                f"{self.name} version {version.version}: the files in the store are not those that were registered "
                f"(digest {expected}); restore its artifacts, or train again"
            )


def parse_reference(reference: str) -> tuple[str, str]:
    """`models:/name@alias` or `models:/name/version` as (name, alias or version).

    Raises:
        ModelError: it is neither.
    """
    body = reference.removeprefix("models:/")
    name, _, version = body.partition("@" if "@" in body else "/")
    if body == reference or not name or not version:
        raise ModelError(f'"{reference}" names no registered model; write models:/NAME@champion or models:/NAME/3')
    return name, version
