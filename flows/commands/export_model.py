"""`pairwright export-model`."""

from __future__ import annotations

import click

FORMS = ("transformers", "open_clip", "onnx", "sentence-transformers")


@click.command("export-model")
@click.argument("model")
@click.argument("dest", type=click.Path(file_okay=False))
@click.option("--as", "form", required=True, type=click.Choice(FORMS), help="The library that is to open it.")
@click.option(
    "--precision", type=click.Choice(["fp32", "int8"]), default="fp32", show_default=True, help="int8 is for onnx."
)
@click.option("--data", metavar="DIR", help="Pictures and captions it is checked on; else the run's dev, or data/dev.")
@click.option("--python", metavar="PATH", help="Interpreter of an environment that has the library, to check it there.")
@click.option("--workspace", metavar="DIR", help="Workspace whose runs and registry are asked.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    model: str,
    dest: str,
    form: str,
    precision: str,
    data: str | None,
    python: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Write MODEL to DEST for another library, which then opens it without Pairwright.

    MODEL is champion, a version, models:/NAME@ALIAS, a folder, or a run's arm as RUN:ARM or RUN:ARM:SEED (RUN an id
    or a recipe's name). The folder is opened by that library and held against the original on real pictures and
    captions: in float32 every cosine is above 0.9999, or nothing is written. README.md beside it says what made it.

    \b
    What fits into which:
      sentence-transformers   every model of ours, and a CLIP or SigLIP
      onnx                    the same, without torch; --precision int8 is measured and recorded
      transformers            a CLIP or SigLIP
      open_clip               a CLIP

    \b
    Examples:
      pairwright export-model champion ./out --as sentence-transformers
      pairwright export-model quickstart:curated:0 ./out --as onnx --precision int8
      pairwright export-model ./models/clip ./out --as open_clip --python /opt/open_clip/bin/python
    """
    import json
    from dataclasses import asdict

    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.flows.interchange import export_named

    environment = Environment.load(workspace=workspace)
    made = export_named(model, dest, form, environment, precision=precision, data=data, python=python)
    found = made.agreement
    if as_json:
        click.echo(json.dumps({"dest": dest, "form": form, "precision": precision, "agreement": asdict(found)}))
        return
    click.echo(f"{dest}, opened by {found.judge}")
    for name, one in (("pictures", found.image), ("captions", found.text), ("resized by it", found.resized)):
        click.echo(f"  {name:<14} {one.n:>4}  cosine at least {min(one.least, 1.0):.5f}, mean {min(one.mean, 1.0):.5f}")
