"""`pairwright ingest`."""

from __future__ import annotations

import click


@click.command("ingest")
@click.argument("kind")
@click.argument("source", required=False)
@click.argument("dest", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the source; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(kind: str, source: str | None, dest: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Make a dataset at DEST from SOURCE. KIND says what SOURCE is; `auto` looks.

    \b
    Kinds:
      img2dataset    an img2dataset folder, indexed in place     webdataset   any WebDataset, in place
      imagefolder    pictures with metadata.jsonl or .csv        coco         captions JSON + pictures
      parquet        image bytes (Hugging Face layout)           urls         Parquet or CSV of URLs
      product-pages  a shop's saved pages, or a list of their URLs
      debian-clipart the demo corpus, from Debian's packages (no SOURCE needed)
      demo-shop      a made shop, written from the demo corpus's stamps

    \b
    Examples:
      pairwright ingest webdataset ./crawl ./indexed
      pairwright ingest urls urls.parquet ./crawl --set url_column=URL --set caption_column=TEXT
      pairwright ingest imagefolder ./photos ./photos-dataset
      pairwright ingest product-pages ./saved-pages ./shop
      pairwright ingest debian-clipart ./data
    """
    import json

    import yaml

    from components.environment import silence

    silence()
    from components.dataset.ingest import ingest_all
    from flows.console import Console

    if kind == "debian-clipart" and dest is None:
        source, dest = None, source
    if dest is None:
        raise click.UsageError("name a DEST folder: pairwright ingest KIND SOURCE DEST")
    options = {name: yaml.safe_load(value) for name, _, value in (item.partition("=") for item in settings)}
    console = Console(quiet=as_json)

    def progress(done: int, total: int | None, what: str = "") -> None:
        console.progress("ingest", done, total or done, what)

    datasets = ingest_all(kind, source, dest, progress=progress, **options)
    for dataset in datasets:
        facts = {"dest": dataset.root, "pairs": dataset.rows, "shards": len(dataset.shards), "digest": dataset.digest}
        if as_json:
            click.echo(json.dumps(facts | {"unknown": dataset.unknown}))
        else:
            lost = f", {dataset.unknown} lost with truncated tars" if dataset.unknown else ""
            click.echo(f"{dataset.rows:,} pairs in {len(dataset.shards)} shards at {dataset.root}{lost}")
