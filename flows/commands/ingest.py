"""`pairwright ingest`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click


class IngestCommand(click.Command):
    """`ingest KIND --help` shows that kind's options too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["kind"] = next((arg for arg in args if not arg.startswith("-") and "=" not in arg), None)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if ctx.meta.get("kind") in (None, "auto"):
            with formatter.section("Options of a kind"):
                formatter.write_text("pairwright ingest KIND --help")
            return
        from pairwright.components.dataset.ingest import (
            sources,  # reads pyarrow, which help without a kind does not wait for
        )
        from pairwright.components.errors import DatasetError, nearest

        kind = sources().get(ctx.meta["kind"])
        if kind is None:
            raise DatasetError(f'no source is called "{ctx.meta["kind"]}"{nearest(ctx.meta["kind"], sources())}')
        with formatter.section(f"{kind.name}: {kind.summary}"):
            formatter.write_text(f"Captions: {kind.captions}." if kind.captions else "")
        with formatter.section(f"Options of {kind.name}, each as --set KEY=VALUE"):
            formatter.write_dl(sorted(option_lines(kind.options)))


def option_lines(options: Any) -> list[tuple[str, str]]:
    """(name=default, what it is) of each option of a source."""
    lines = []
    for name, one in options.model_fields.items():
        default = "" if one.default in (None, "") else str(one.default)
        kind = str(one.annotation.__name__ if isinstance(one.annotation, type) else one.annotation)
        lines.append((f"{name}={default}", f"{one.description or ''} ({kind.replace(' | None', '')})".strip()))
    return lines


@click.command("ingest", cls=IngestCommand)
@click.argument("kind")
@click.argument("source", required=False)
@click.argument("dest", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the kind; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(kind: str, source: str | None, dest: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Make a dataset at DEST from SOURCE. KIND says what SOURCE is; `auto` looks.

    \b
    Kinds:
      img2dataset    an img2dataset folder, indexed in place     webdataset   any WebDataset, in place
      imagefolder    pictures, captions in a table or beside     coco         captions JSON + pictures
      parquet        image bytes (Hugging Face layout)           urls         a table of URLs
      sugarcrepe     right and wrong captions, a JSON file a kind of wrong
      genecis        galleries to rank by a picture and a condition
      product-pages  a shop's saved pages, or a list of their URLs
      debian-clipart the demo corpus, from Debian's packages (no SOURCE needed)
      emoji          the emoji corpus, from npm and Debian (no SOURCE needed)
      scenes         composed of emoji (or of SOURCE's things), with boxes, attributes, relations, negatives
      figures        charts of SOURCE's labels, with captions and citing paragraphs
      sounds         made sounds as recordings and spectrograms, told by a grammar (no SOURCE needed)
      demo-shop      a made shop, written from the demo corpus's stamps

    \b
    Examples:
      pairwright ingest webdataset ./crawl ./indexed
      pairwright ingest urls urls.parquet ./crawl --set url_column=URL --set caption_column=TEXT
      pairwright ingest imagefolder ./photos ./photos-dataset
      pairwright ingest product-pages ./saved-pages ./shop
      pairwright ingest debian-clipart ./data
      pairwright ingest emoji ./emoji --set languages=de,ja
      pairwright ingest scenes ./build --set count=2000 --set seed=0
    """
    import json

    from pairwright.components.environment import silence

    silence()
    from pairwright.components.dataset.caption_counts import count_captions
    from pairwright.components.dataset.ingest import detect, ingest_all, sources
    from pairwright.components.dataset.sources.source import NOTES
    from pairwright.flows.terminal.console import Console

    if dest is None and kind in sources() and sources()[kind].needs_no_source:
        source, dest = None, source
    if dest is None:
        raise click.UsageError("name a DEST folder: pairwright ingest KIND SOURCE DEST")
    if kind == "auto" and source is not None:
        kind = detect(source)
    console = Console(quiet=as_json)

    def progress(done: int, total: int | None, what: str = "") -> None:
        console.progress("ingest", done, total or done, what)

    datasets = ingest_all(kind, source, dest, progress=progress, **parse_settings(settings))
    console.end()
    for dataset in datasets:
        counts = count_captions(dataset)
        notes = dataset.facts.get(NOTES, [])
        if as_json:
            facts = {"dest": dataset.root, "pairs": dataset.rows, "shards": len(dataset.shards)}
            said = {"captions": dict(counts.captions), "errors": dict(counts.errors), "notes": notes}
            click.echo(json.dumps(facts | {"digest": dataset.digest, "unknown": dataset.unknown} | said))
        else:
            lost = f", {dataset.unknown} lost with truncated tars" if dataset.unknown else ""
            click.echo(f"{dataset.rows:,} pairs in {len(dataset.shards)} shards at {dataset.root}{lost}")
            for line in report(counts, notes):
                click.echo(f"  {line}")
        if counts.pairs and not counts.captioned:
            click.echo(
                f"WARNING: not one of the {counts.pairs:,} pairs has a caption. {kind} looks in "
                f"{sources()[kind].captions or 'its source'}",
                err=True,
            )


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE arguments as texts; each option's own type says what its text means.

    Raises:
        UsageError: one says no value.
    """
    found = {}
    for item in settings:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"--set {item} says no value; write --set KEY=VALUE")
        found[name.strip()] = value
    return found


def report(counts: Any, notes: Iterable[str]) -> list[str]:
    """What an ingest found, a line each: captions by source, rows that are no pairs, what was not read."""
    by_source = ", ".join(f"{source} {count:,}" for source, count in counts.captions.most_common())
    lines = [f"captions: {by_source or 'none'} (of {counts.pairs:,} pairs)"]
    if counts.errors:
        lines.append(
            f"{counts.errors.total():,} rows are no pairs: "
            + ", ".join(f"{reason} {count:,}" for reason, count in counts.errors.most_common())
        )
    return [*lines, *notes]
