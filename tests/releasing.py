"""A release in miniature, without Prefect, Ray or DVC: models of three qualities, weighed, registered and packaged.

As a script, it is killed at each point of a release and run again (tests/faults/test_killed_release.py):

    python tests/releasing.py FOLDER kills
    python tests/releasing.py FOLDER challengers       # tests/integration/test_releases.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from released import kept_of, read_pairs
from shapes import shapes_dataset
from tiny import tiny_recipe

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards import storage
from pairwright.components.environment import Environment, silence
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.recipe import Recipe
from pairwright.components.settings import ModelFolder
from pairwright.components.training.heads import fit_heads
from pairwright.flows import champion, release
from pairwright.flows.champion import bento_home, champion_bento
from pairwright.flows.commands import doctor
from pairwright.flows.planning import digests
from pairwright.flows.running.run import Run, champion_of, registry_of
from pairwright.flows.terminal.console import Console

STEPS = {"poor": 1, "middling": 25, "good": 400}  # of training: how well a model tells shapes apart
LEDGER = {"pairs_in": 12, "kept": 12, "dropped": {}, "failed": {}, "unknown": 0}


def make_project(root: Path) -> None:
    """Data sets, a selection of every pair, and a model of each quality."""
    for name, pairs, start in (("raw", 12, 0), ("dev", 48, 10_000), ("test", 8, 20_000)):
        shapes_dataset(root / "data", pairs, 1, name=name, start=start)
    raw = open_dataset(str(root / "data" / "raw"))
    (root / "selection").mkdir()
    pq.write_table(kept_of(raw), root / "selection" / "kept.parquet")
    images, texts = read_pairs(shapes_dataset(root, 96, 1, name="taught", start=30_000))
    tower = {side: ModelFolder(reference=f"builtin:tiny-{side}") for side in ("image", "text")}
    for name, steps in STEPS.items():
        model = new_dual_encoder(tower["image"], tower["text"], dim=16)
        features = model.image_features(images), model.text_features(texts)
        heads = fit_heads(*features, dim=16, steps=steps, lr=1e-2, seed=0)
        model.image_projection.load_state_dict(heads.image_projection.state_dict())
        model.text_projection.load_state_dict(heads.text_projection.state_dict())
        model.log_scale.data.copy_(heads.log_scale)
        model.save(root / "models" / name / "model")  # as in MLflow's store, every folder has one name


def recipe_of(root: Path) -> Recipe:
    said = tiny_recipe(root / "data")
    said["filter"] = {}
    said["recaption"] = {}
    said["evaluate"] |= {"benchmarks": {"retrieval": "retrieval"}, "ablation": ["curated"]}
    return Recipe.parse(said, "tiny.yaml")


def release_model(root: Path, quality: str, workspace: str = "workspace") -> dict[str, Any]:
    """What the release stages do with this model; the run's results."""
    environment = Environment(workspace=str(root / workspace), device="cpu")
    dataset = open_dataset(str(root / "data" / "raw"))
    run = Run(recipe_of(root), environment, dataset, dataset, Console(True), "id", "test")
    model = root / "models" / quality / "model"
    run.results |= {"selection": "s1", "ledger": LEDGER}
    with run._exits:
        section = run.recipe.evaluate
        assert section is not None
        folders = {
            split: str(release.evaluate_one(run, section, model, of, f"curated 0 {split}"))
            for split, of in run.splits.items()
        }
        run.results["metrics"] = {"curated": {"0": folders}}
        versioned = digests.version_digest(run)
        if not run.artifacts.has("versions", versioned):  # as if DVC had pushed it
            with run.artifacts.commit("versions", versioned) as partial:
                about = {"md5": "0" * 32, "dvc_text": "outs: []\n", "size": 1, "remote": "r"}
                storage.write_json(str(partial / "version.json"), about)
        release.release_stages(run, root / "selection", {"curated": {0: model}})
    return run.results | {"statuses": {stage.name: stage.status for stage in run.stages}, "warnings": run.warnings}


def build_folder(model: Any, index: Any, receipt: Any, *, home: Any, tag_version: str) -> str:
    """Stands in for BentoML's build, which takes ten seconds: the folder in the store, and its tag."""
    folder = Path(home) / "bentos" / "pairwright" / tag_version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bento.yaml").write_text("name: pairwright\n")
    return f"pairwright:{tag_version}"


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    done = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        made = done(*args, **kwargs)
        if when(*args, **kwargs):
            die()
        return made

    setattr(owner, name, wrapped)


def kill_before(owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    done = getattr(owner, name)
    setattr(owner, name, lambda *a, **k: die() if when(*a, **k) else done(*a, **k))


def points() -> dict[str, Callable[[], None]]:
    """Where the process dies, by what was done last."""
    from mlflow import MlflowClient

    from pairwright.components.artifact import ArtifactStore
    from pairwright.components.tracking.registry import Registry

    def of_champion(self: Any, name: str, alias: str, *_: Any) -> bool:
        return alias == "champion"

    return {
        "registered": lambda: kill_after(Registry, "register"),
        "challenger": lambda: kill_after(Registry, "set_challenger"),
        "move written down": lambda: kill_before(MlflowClient, "set_registered_model_alias", of_champion),
        "alias moved": lambda: kill_after(MlflowClient, "set_registered_model_alias", of_champion),
        "promoted": lambda: kill_after(Registry, "promote"),
        "decision recorded": lambda: kill_before(ArtifactStore, "commit", lambda self, kind, *_: kind == "indexes"),
        "index made": lambda: kill_before(release, "bento_stage"),
        "bento built": lambda: kill_before(ArtifactStore, "commit", lambda self, kind, *_: kind == "bentos"),
        "bento recorded": lambda: kill_before(champion.storage, "write_json", lambda path, _: "champion.json" in path),
    }


def in_child(work: Callable[[], Any], told: Path | None = None) -> int:
    """Run `work` in a fork of this process, which itself opens no store and starts no thread; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            made = work()
            if told is not None:
                told.write_text(json.dumps(made, default=str))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_then_again(root: Path, workspace: str, arrange: Callable[[], None]) -> dict[str, Any]:
    def killed() -> None:
        arrange()
        release_model(root, "good", workspace)

    def again() -> dict[str, Any]:
        results = release_model(root, "good", workspace)
        environment = Environment(workspace=str(root / workspace), device="cpu")
        record = json.loads((bento_home(environment) / "champion.json").read_text())
        alias = champion_of(environment)
        third = release_model(root, "good", workspace)
        return {
            "alias": alias and alias.version,
            "served": record["version"],
            "starts": champion_bento(environment),
            "release": results["release"],
            "third": third["statuses"],
        }

    status = in_child(killed)
    told = root / f"{workspace}.json"
    ended = in_child(again, told)
    return {"signal": os.WTERMSIG(status), "exit": ended, **(json.loads(told.read_text()) if told.is_file() else {})}


def kills(root: Path) -> dict[str, Any]:
    """A better model's release, killed at each point and run again."""
    in_child(lambda: release_model(root, "poor", "start"))
    found = {}
    for name, arrange in points().items():
        workspace = name.replace(" ", "-")
        shutil.copytree(root / "start", root / workspace)
        found[name] = killed_then_again(root, workspace, arrange)
    return found


def challengers(root: Path) -> dict[str, Any]:
    """Three models in turn, then what people and accidents do to the registry and to the record."""
    environment = Environment(workspace=str(root / "workspace"), device="cpu")
    record = bento_home(environment) / "champion.json"

    def stand() -> dict[str, Any]:
        alias = champion_of(environment)
        served = json.loads(record.read_text())["version"] if record.is_file() else None
        return {"alias": alias and alias.version, "served": served}

    def of(quality: str) -> dict[str, Any]:
        results = release_model(root, quality)
        metrics = results["metrics"]["curated"]["0"]["dev"]
        values = {m["name"]: m["value"] for m in storage.read_json(f"{metrics}/metrics.json")}
        return results["release"] | stand() | {"dev": values["retrieval.t2i_r5"], "statuses": results["statuses"]}

    def unlinked(path: Path) -> dict[str, Any]:
        path.unlink()
        return of("good")

    def served_by_mistake() -> dict[str, Any]:
        storage.write_json(str(record), {"tag": "pairwright:v2-gone", "version": 2})
        return {"problem": problem()} | {"starts": champion_bento(environment)["version"]} | stand()

    def problem() -> str:
        """What `pairwright doctor` says of it, and what to do."""
        return "; ".join(f"{one.says}; {one.remedy}" for one in doctor.served(environment.workspace) if not one.ok)

    def interrupted_rollback() -> dict[str, Any]:
        registry_of(environment).rollback("killed right after")
        before = {"problem": problem()} | stand()
        version, tag, _ = champion.roll_back(environment, "again")
        return {"before": before, "version": version, "tag": tag} | stand()

    acts: dict[str, Callable[[], dict[str, Any]]] = {
        **{quality: partial(of, quality) for quality in ("poor", "good", "middling")},
        "good again": partial(of, "good"),
        "interrupted rollback": interrupted_rollback,
        "good after the rollback": partial(of, "good"),
        "served by mistake": served_by_mistake,
        "record lost": lambda: unlinked(record),
        "registry lost": lambda: unlinked(root / "workspace" / "mlflow.db"),
    }
    found = {}
    for name, act in acts.items():
        told = root / f"{len(found)}.json"
        in_child(act, told)
        found[name] = json.loads(told.read_text()) if told.is_file() else {}
    return found


def main(root: Path, what: str) -> None:
    silence()
    import mlflow  # noqa: F401  so that no child imports it again
    import prefect.context  # noqa: F401

    import pairwright.serving.packaging

    pairwright.serving.packaging.build_bento = build_folder  # type: ignore[assignment]
    in_child(lambda: make_project(root))
    print(json.dumps({"kills": kills, "challengers": challengers}[what](root)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
