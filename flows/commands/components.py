"""`pairwright components`."""

from __future__ import annotations

from textwrap import shorten

import click

WIDTH = 100
KINDS = ("scorer", "selection", "captioner", "fit", "objective", "reward", "benchmark")


@click.command("components")
@click.option("--kind", type=click.Choice(KINDS), help="Only this kind.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(kind: str | None, as_json: bool) -> None:
    """List what a recipe's steps may use, ours and the plug-ins', one line each, by kind.

    \b
    Examples:
      pairwright components
      pairwright components --kind scorer
      pairwright explain near_duplicates     one of them: its columns, settings and source
    """
    import json

    from pairwright.components.plug_ins import broken_plug_ins
    from pairwright.components.registry import summaries

    found = {key: text for key, text in summaries().items() if kind in (None, key[0])}
    if as_json:
        click.echo(
            json.dumps([{"kind": of, "name": name, "what": text} for (of, name), text in found.items()], indent=1)
        )
        return
    for of in KINDS:
        named = {name: text for (kind_of, name), text in found.items() if kind_of == of}
        if named:
            click.secho(f"{of}s", bold=True)
        for name, text in named.items():
            click.echo(f"  {name:<28} {shorten(text, WIDTH, placeholder=' ...')}")
    for plug_in, why in broken_plug_ins().items():
        click.secho(f"left out: plug-in {plug_in} ({why})", fg="yellow", err=True)
