"""`pairwright checkout`."""

from __future__ import annotations

import click


@click.command("checkout")
@click.argument("model")
@click.argument("dest", type=click.Path(file_okay=False))
@click.option("--workspace", metavar="DIR", help="Workspace whose registry is asked.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(model: str, dest: str, workspace: str | None, as_json: bool) -> None:
    """Restore the data MODEL (a version, or champion) was trained on into DEST.

    The `.dvc` text frozen with the model names every file by hash; no git history is needed and no
    branch is touched.

    \b
    Examples:
      pairwright checkout champion ./as-trained
      pairwright checkout 3 ./as-trained
    """
    import json

    from pairwright.components.environment import Environment, silence
    from pairwright.components.errors import ModelError

    silence()
    from pairwright.components.versioning.curated import CuratedVersions
    from pairwright.components.workspace_paths import found
    from pairwright.flows.running.run import registry_of

    environment = Environment.load(workspace=workspace)
    pedigree = registry_of(environment, light=True).pedigree(model)
    if not pedigree.get("dvc_text"):
        raise ModelError(f"model {model} was registered without a data version; release it through a recipe")
    own = CuratedVersions(environment.workspace, environment.dvc_remote)
    elsewhere = CuratedVersions(environment.workspace, found(pedigree["dvc_remote"], environment.workspace))
    (own if own.holds(pedigree["dvc_text"]) else elsewhere).checkout(pedigree["dvc_text"], dest)
    if as_json:
        click.echo(json.dumps({"model": model, "dest": dest, "md5": pedigree["data_version"]}))
    else:
        click.echo(f"data version {pedigree['data_version']} of model {model} is in {dest}")
