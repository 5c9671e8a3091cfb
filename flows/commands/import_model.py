"""`pairwright import-model`."""

from __future__ import annotations

import click


@click.command("import-model")
@click.argument("source", type=click.Path())
@click.argument("dest", type=click.Path(file_okay=False))
@click.option("--config", metavar="FILE", help="open_clip's JSON, where it does not lie beside the weights.")
@click.option("--tokenizer", metavar="DIR", help="A folder with the tokenizer's files, where SOURCE has none.")
@click.option("--data", metavar="DIR", help="Pictures and captions it is checked on; else data/dev where it is.")
@click.option("--python", metavar="PATH", help="Interpreter of an environment that has the library, to check it there.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    source: str,
    dest: str,
    config: str | None,
    tokenizer: str | None,
    data: str | None,
    python: str | None,
    as_json: bool,
) -> None:
    """Make a model folder at DEST of SOURCE: a folder of transformers (CLIP, SigLIP) or of open_clip (CLIP), or a
    safetensors file of open_clip's. It gives the same vectors; every verb and recipe takes it where a folder stands.

    \b
    Examples:
      pairwright import-model ./clip-vit-base-patch32 ./models/clip
      pairwright import-model ./laion-vit-b-32 ./models/b32 --python /opt/open_clip/bin/python
      pairwright import-model ./open_clip_model.safetensors ./models/b32 --config ViT-B-32.json --tokenizer ./clip
    """
    import json
    from dataclasses import asdict

    from pairwright.components.environment import silence

    silence()
    from pairwright.flows.interchange import import_named

    told = import_named(source, dest, config=config, tokenizer=tokenizer, data=data, python=python)
    found = told["agreement"]
    if as_json:
        click.echo(json.dumps(told | {"agreement": asdict(found) if found else None}))
        return
    click.echo(f"{dest}: vectors of {told['dim']}, pictures of {told['side']} px")
    if found is None:
        click.echo(f"  {told['unchecked']}")
        return
    click.echo(f"  as {found.judge} of {source}:")
    for name, one in (("pictures", found.image), ("captions", found.text), ("resized by it", found.resized)):
        click.echo(f"  {name:<14} {one.n:>4}  cosine at least {min(one.least, 1.0):.5f}, mean {min(one.mean, 1.0):.5f}")
