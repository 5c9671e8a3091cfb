"""Release: version the curated data, register the model, compare it with the champion, package it.

A challenger becomes champion only if it beats the champion on `dev` by the recipe's rule; the Bento
is built for whatever is champion then.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.splits import drawn_elsewhere
from pairwright.components.errors import NoChampion
from pairwright.components.models.resolve import hash_folder
from pairwright.components.recipe import EvaluateSection, ReleaseSection
from pairwright.components.tracking.promotion import PromotionRule
from pairwright.components.workspace_paths import named
from pairwright.flows.champion import BENTO_RECORD, bento_home, is_built, point_at_champion
from pairwright.flows.planning.digests import bento_digest, decision_digest, index_digest, version_digest
from pairwright.flows.running.pedigree import pedigree_of
from pairwright.flows.running.run import Run, champion_of, registry_of, version_of
from pairwright.flows.running.stage import Stage, run_stage
from pairwright.flows.running.summary import version_description
from pairwright.flows.stages.challenge import weigh
from pairwright.flows.stages.curated_files import files_of
from pairwright.flows.train import evaluate_one, planned_benchmarks

if TYPE_CHECKING:
    from pairwright.components.tracking.registry import Registry


def release_stages(run: Run, selection: Path, models: dict[str, dict[int, Path]]) -> None:
    """Version, register, decide, index and package; then what is served is what the registry calls champion."""
    release, evaluate = run.recipe.release, run.recipe.evaluate
    if release is None or evaluate is None or not models:
        return
    model = models[release.arm][release.seed]
    version = version_stage(run, selection)
    released = register_stage(run, release, evaluate, model, version)
    run.results |= {"release": released}
    if released["champion"] == released["version"]:
        index = index_stage(run, selection, model)
        run.results["bento"] = bento_stage(run, model, index, released)
    serve_champion(run, run.results.get("bento"))


def serve_champion(run: Run, tag: str | None) -> None:
    """Point `serve` at the champion's Bento, `tag` if it is this run's; say so where there is none.

    Done on every run, reused or not: a process may have been killed between any two of the alias, the Bento
    and the record that `serve` reads.
    """
    if champion_of(run.environment) is None:
        return
    try:
        point_at_champion(run.environment, tag)
    except NoChampion as error:
        run.warnings.append(str(error))
        run.console.say(f"  {error}")


def version_stage(run: Run, selection: Path) -> dict[str, Any]:
    """The curated set as a DVC version of the workspace's own repository, pushed to its remote."""
    digest = version_digest(run)

    def reuse() -> dict[str, Any] | None:
        if not run.artifacts.has("versions", digest):
            return None
        found: dict[str, Any] = storage.read_json(str(run.artifacts.path("versions", digest) / "version.json"))
        return found

    def work(stage: Stage) -> dict[str, Any]:
        from pairwright.components.versioning.curated import REMOTE_FOLDER, CuratedVersions

        remote = run.environment.dvc_remote or f"{run.environment.workspace}/{REMOTE_FOLDER}"
        made = CuratedVersions(run.environment.workspace, remote).snapshot(run.recipe.name, files_of(run, selection))
        version = {
            "md5": made.md5,
            "dvc_text": made.dvc_text,
            "size": made.size,
            "remote": named(remote, run.environment.workspace),
        }
        with run.artifacts.commit("versions", digest) as partial:
            storage.write_json(str(partial / "version.json"), version)
        stage.facts(md5=made.md5, mebibytes=round(made.size / 2**20, 1))
        return version

    version = run_stage(run, "version", digest, reuse=reuse, work=work)
    run.results["data_version"] = version["md5"]
    return version


def register_stage(
    run: Run, release: ReleaseSection, evaluate: EvaluateSection, model: Path, version: dict[str, Any]
) -> dict[str, Any]:
    """Register the model as challenger; make it champion if the rule says so."""
    rule = PromotionRule.parse(release.promote, f"{run.recipe.name}: release.promote")
    foreign = judged_elsewhere(run)
    weights, benchmarks = hash_folder(model), planned_benchmarks(run, evaluate)

    def digest_against(champion: str | None) -> str:
        return decision_digest(run, model, version["md5"], rule, benchmarks, champion, foreign)

    before = champion_of(run.environment)
    digest = digest_against(before.digest if before else None)

    def reuse() -> dict[str, Any] | None:
        if not run.artifacts.has("releases", digest):
            return None
        record: dict[str, Any] = storage.read_json(str(run.artifacts.path("releases", digest) / "release.json"))
        known = version_of(run.environment, weights)
        stands = known == record["version"] and not (before is None and record["promoted"])
        return record if stands else None  # else the registry is another than the one it was written in

    def work(stage: Stage) -> dict[str, Any]:
        registry = registry_of(run.environment)
        pedigree, metrics = pedigree_of(run, version), _metrics_of(run, release)
        described = version_description(run, metrics)
        number = registry.register(
            model, run_id=run.tracked.id, pedigree=pedigree, metrics=metrics, description=described
        )
        if before is not None and before.version == number:
            record, against = _as_promoted(registry, number)
        else:
            registry.set_challenger(number)
            champion = before.version if before else None
            measured = functools.partial(evaluate_one, run, evaluate)
            decision = Refusal(foreign) if foreign else weigh(run, rule, measured, model, champion)
            if decision.promote:
                registry.promote(number, decision.reason)
            record, against = {"promoted": decision.promote, "reason": decision.reason}, champion
        record |= {"version": number}
        # Found again by the next run, which meets this champion, and after a rollback, which brings back that one.
        met = {digest, digest_against(registry.digest(against) if against is not None else None)}
        for one in met | ({digest_against(weights)} if record["promoted"] else set()):
            with run.artifacts.commit("releases", one) as partial:
                storage.write_json(str(partial / "release.json"), record)
        stage.facts(version=number, promoted="yes" if record["promoted"] else "no", reason=record["reason"])
        return record

    released = run_stage(run, "register", digest, reuse=reuse, work=work)
    now = champion_of(run.environment)
    released = released | {"champion": now.version if now else None}
    if foreign:
        run.warnings.append(foreign)
        run.console.say(f"  {foreign}")
    return released


@dataclass(frozen=True)
class Refusal:
    """No comparison was made, since no model of the run may be promoted."""

    reason: str
    promote: bool = False


def _as_promoted(registry: Registry, number: int) -> tuple[dict[str, Any], int | None]:
    """The record of a version that is champion already, and whose place it took: a run was killed right after."""
    registry.promote(number, "it is the champion already")  # only ends what a kill left undone of it
    move = registry.came_to_be(number) or {"reason": "it is the champion already", "replaced": None}
    return {"promoted": True, "reason": move["reason"]}, move["replaced"]


def judged_elsewhere(run: Run) -> str | None:
    """Why no model of this run may be promoted: its evaluation splits were drawn from other data. None if they may."""
    own = run.own_draw.names if run.own_draw else ()
    said = {n: n not in own and drawn_elsewhere(split, run.full_dataset) for n, split in run.splits.items()}
    names = [f"{run.splits[name].name} ({run.splits[name].description or name})" for name in said if said[name]]
    if not names:
        return None
    return (
        f"not promoted: judged on {' and '.join(names)}, drawn from other data than {run.full_dataset.name}; "
        "name evaluate.dev and evaluate.test of this data in the recipe"
    )


def _metrics_of(run: Run, release: ReleaseSection) -> dict[str, float]:
    """The released model's metrics on both splits, as `split.benchmark.metric`."""
    found: dict[str, float] = {}
    for split, folder in run.results["metrics"][release.arm][str(release.seed)].items():
        for metric in storage.read_json(str(Path(folder) / "metrics.json")):
            found[f"{split}.{metric['name']}"] = metric["value"]
    return found


def index_stage(run: Run, selection: Path, model: Path) -> Path:
    """The search index over the curated set, by the released model."""
    kept = pq.read_table(selection / "kept.parquet", columns=["shard", "row", "key"])
    weights = hash_folder(model)
    digest = index_digest(run, weights, kept)
    folder = run.artifacts.path("indexes", digest)

    def reuse() -> Path | None:
        return folder if run.artifacts.has("indexes", digest) else None

    def work(stage: Stage) -> Path:
        from pairwright.flows.stages.measure import embed_captions, embed_kept
        from pairwright.serving.index_writing import build_index

        vectors = embed_kept(run, model, kept)
        queries = embed_captions(run, model)
        with run.artifacts.commit("indexes", digest) as partial:
            facts = build_index(run.dataset, kept, vectors, partial, query_vectors=queries, model_digest=weights)
        stage.facts(items=facts["n"], recall_at_10=(facts["approximate"] or {}).get("recall_at_10", 1.0))
        return folder

    return run_stage(run, "index", digest, reuse=reuse, work=work)


def bento_stage(run: Run, model: Path, index: Path, released: dict[str, Any]) -> str:
    """The champion's Bento, with its lineage frozen as a receipt."""
    weights = hash_folder(model)
    digest = bento_digest(run, weights, index, released["version"])

    def reuse() -> str | None:
        if not run.artifacts.has("bentos", digest):
            return None
        tag = str(storage.read_json(str(run.artifacts.path("bentos", digest) / BENTO_RECORD))["tag"])
        return tag if is_built(run.environment, tag) else None

    def work(stage: Stage) -> str:
        from pairwright.components.tracking.lineage import lineage
        from pairwright.serving.packaging import build_bento

        receipt = lineage(registry_of(run.environment), released["version"])
        tag = build_bento(
            *(model, index, receipt),
            home=bento_home(run.environment),
            tag_version=f"v{released['version']}-{digest[:8]}",
        )
        with run.artifacts.commit("bentos", digest) as partial:
            record = {"tag": tag, "version": released["version"], "model_digest": weights}
            storage.write_json(str(partial / BENTO_RECORD), record)
        stage.facts(tag=tag)
        return tag

    return run_stage(run, "package", digest, reuse=reuse, work=work)
