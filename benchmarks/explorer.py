"""How long a person waits at the explorer: a filter, an order and a page of a million pairs, and a thumbnail.

    python -m benchmarks.explorer --rows 1000000

Makes columns of synthetic values over synthetic shards whose pictures are real JPEGs (a few tars, shared by
many shards), opens the explorer as `pairwright explore` does, and asks it over HTTP. No two questions have
the same filter, so no mask is found ready; orders are, after the first question by a column. Two references
stand in the same run: DuckDB alone, asked the same conditions and orders with LIMIT and OFFSET over one table
in memory; and OpenCV alone, reducing the same pictures. Targets: 95% of pages within 300 ms, of thumbnails 50.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import httpx
import numpy as np
import pyarrow as pa

from benchmarks.crawl import make_crawl
from benchmarks.machine import add_output_option, publish
from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.dataset.shards.sidecar import write_sidecar
from pairwright.components.explore.exploration import Exploration, SelectionPlace
from pairwright.components.explore.explorer import Explorer, open_explorer
from pairwright.components.explore.web import web_app
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import write_selection
from pairwright.components.web_server import listening_socket

STEPS = {name: StepColumns(name, "synthetic") for name in ("image", "text", "align", "near", "fused")}
RULES = (
    [Rule("words", "text.words >= 3"), Rule("aligned", "align.score >= quantile(align.score, 0.3)")],
    [Rule("unique", "NOT near.drop"), Rule("large", "least(image.width, image.height) >= 256")],
)
SORTS = ("align.score", "align.margin", "text.words", "image.width", "text.quality", "pair.key", "")
TARS, PICTURES = 4, 400
PAGE = 60  # pairs
TARGETS = {"page_ms": 300, "thumbnail_ms": 50}


Facts = dict[str, np.ndarray]


def make_tars(root: Path) -> list[tuple[str, Facts]]:
    """(path, `media` facts) of each tar's pictures: textured JPEGs of 400 to 640 px."""
    made = []
    for shard, said in make_crawl(f"{root}/pictures", PICTURES, TARS).iter_sidecars(["media"]):
        media = [media[0] for media in said["media"].to_pylist()]
        facts = {name: np.array([m[name] for m in media]) for name in ("member", "offset", "size", "crc32")}
        made.append((shard.tar, facts))
    return made


def sidecar(number: int, rows: int, pictures: Facts) -> pa.Table:
    """Keys, one picture and two captions a pair, a licence and a label."""
    which = (np.arange(rows) * 7 + number) % len(pictures["size"])
    each = pa.array(np.arange(rows + 1, dtype=np.int32))
    media = SIDECAR.field("media").type.value_type
    fields = {
        "role": pa.array(["image"] * rows),
        "kind": pa.array(["image"] * rows),
        "ordinal": pa.array(np.zeros(rows, np.int32)),
        **{name: pa.array(values[which]) for name, values in pictures.items()},
    }
    struct = pa.StructArray.from_arrays(
        [fields.get(f.name, pa.nulls(rows, f.type)).cast(f.type) for f in media], fields=list(media)
    )
    caption = SIDECAR.field("captions").type.value_type
    texts = [t for i in range(rows) for t in (f"a thing {i % 977} beside a box", f"thing, box, {i % 31}")]
    sources = pa.array(["alt", "keywords"] * rows)
    given = {"source": sources, "text": pa.array(texts)}
    captions = pa.StructArray.from_arrays(
        [given.get(f.name, pa.nulls(2 * rows, f.type)).cast(f.type) for f in caption], fields=list(caption)
    )
    label = SIDECAR.field("labels").type.value_type
    labels = pa.StructArray.from_arrays(
        [pa.array(["category"] * rows), pa.array([f"kind-{i % 23}" for i in range(rows)])], fields=list(label)
    )
    arrays = {
        "key": pa.array([f"{number:05d}{i:06d}" for i in range(rows)]),
        "media": pa.ListArray.from_arrays(each, struct),
        "captions": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * 2), captions),
        "labels": pa.ListArray.from_arrays(each, labels),
        "licence": pa.array(["CC0-1.0"] * rows),
    }
    return pa.table([arrays.get(f.name, pa.nulls(rows, f.type)).cast(f.type) for f in SIDECAR], schema=SIDECAR)


def columns(number: int, rows: int) -> dict[str, dict[str, Any]]:
    values = np.random.default_rng(number)
    readable = values.random(rows) < 0.99
    error = pa.array(np.where(readable, None, "decode:truncated"), pa.string())
    score = pa.array(values.normal(0.25, 0.1, rows).astype(np.float32), mask=~readable)
    drop = values.random(rows) < 0.07
    return {
        "image": {
            "width": pa.array(values.integers(64, 2048, rows).astype(np.int32)),
            "height": pa.array(values.integers(64, 2048, rows).astype(np.int32)),
            "error": error,
        },
        "text": {
            "words": pa.array(values.poisson(7, rows).astype(np.int32)),
            "quality": pa.array(values.random(rows).astype(np.float32)),
            "boilerplate": pa.array(values.random(rows) < 0.1),
        },
        "align": {
            "score": score,
            "margin": pa.array(values.normal(0, 1, rows).astype(np.float32)),
            "_error": error,
        },
        "near": {
            "drop": pa.array(drop),
            "of": pa.array([f"{number:05d}000000" if d else None for d in drop], pa.string()),
            "distance": pa.array(values.integers(0, 31, rows).astype(np.int32), mask=~drop),
            "group": pa.array(np.arange(rows) // 2 + number * rows),
        },
        "fused": {"text": pa.array([f"a thing {i % 4999} of wood beside a box" for i in range(rows)])},
    }


def make(root: Path, rows: int, per_shard: int) -> Exploration:
    """A dataset with columns and two selections."""
    tars = make_tars(root)
    store = ColumnStore(f"{root}/columns")
    shards = []
    for number in range(-(-rows // per_shard)):
        size = min(per_shard, rows - number * per_shard)
        path, pictures = tars[number % TARS]
        digest, said = f"{number:032x}", f"{root}/data/{number:05d}.parquet"
        write_sidecar(sidecar(number, size, pictures), said)
        shards.append(Shard(f"{number:05d}", path, said, digest, size, Path(path).stat().st_size))
        for step, arrays in columns(number, size).items():
            store.write(STEPS[step], digest, arrays, size)
    view = ColumnsView(Dataset("synthetic", f"{root}/data", tuple(shards)), store, STEPS)
    places = []
    for name, rules in zip("ab", RULES, strict=True):
        write_selection(view, rules, root / name)
        places.append(SelectionPlace(name, str(root / name), name))
    return Exploration("synthetic", view, tuple(places), "a", ("fused",))


def questions(count: int, rows: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Conditions of a person who looks around: no two alike; any column's order; pages near and far."""
    chance = random.Random(seed)
    for number in range(count):
        conditions = [
            f"align.score >= {chance.uniform(0, 0.4):.6f}",
            f"text.words >= {chance.randint(1, 10)} AND text.quality < {chance.random():.6f}",
            f"least(image.width, image.height) >= {chance.randint(64, 900)} AND NOT near.drop",
            f"align.score >= quantile(align.score, {chance.random():.5f})",
            f"pair.label.category = 'kind-{chance.randint(0, 22)}' AND align.margin > {chance.gauss(0, 1):.5f}",
            f"contains(caption.alt, '{chance.randint(100, 976)}') OR text.words = {chance.randint(0, 20)}",
            f"verdict.status = 'kept' AND align.margin BETWEEN {-chance.random():.6f} AND {chance.random():.6f}",
        ]
        sort = SORTS[number % len(SORTS)]
        far = chance.random() < 0.3
        asked = {"filter": conditions[number // len(SORTS) % len(conditions)], "sort": sort, "count": PAGE}
        yield asked | {"desc": chance.choice(["", "1"]), "from": chance.randrange(rows // 20) if far else 0}


@contextmanager
def served(explorer: Explorer) -> Iterator[str]:
    import uvicorn

    listening = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(web_app(explorer), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def milliseconds(work: Callable[[Any], Any], asked: list[Any]) -> np.ndarray:
    """How long each took."""
    taken = []
    for one in asked:
        start = time.perf_counter()
        work(one)
        taken.append(1000 * (time.perf_counter() - start))
    return np.array(taken)


def quantiles(taken: np.ndarray) -> dict[str, float]:
    p50, p95 = np.percentile(taken, [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "worst": round(float(taken.max()), 1)}


def bare_duckdb(explorer: Explorer) -> Callable[[dict[str, Any]], Any]:
    """The same conditions on one table in memory, as a person at DuckDB's prompt asks them."""
    import duckdb

    scope = explorer.verdicts.scope("a", None)
    wanted = ("image.", "text.", "align.", "near.", "verdict.", "caption.", "pair.key", "pair.label.")
    names = [name for name in scope if name.startswith(wanted) and "error" not in name]
    source = explorer.tables.source(scope, names)
    chosen = ", ".join(f'"{name}" AS {_plain(name)}' for name in names)
    everything = explorer.tables.cursor().sql(f"SELECT {chosen} FROM {source}").to_arrow_table()
    connection = duckdb.connect()
    connection.register("everything", everything)
    connection.execute("CREATE TABLE pairs AS FROM everything")
    connection.unregister("everything")

    def ask(one: dict[str, Any]) -> Any:
        condition = re.sub(r"(quantile\([^)]*\))", r"(SELECT \1 FROM pairs)", _plain(one["filter"]))
        direction = "DESC" if one["desc"] else "ASC"
        order = f"ORDER BY {_plain(one['sort'])} {direction} NULLS LAST, rowid" if one["sort"] else ""
        page = f"SELECT rowid, * FROM pairs WHERE {condition} {order} LIMIT {PAGE} OFFSET {one['from']}"
        counts = f"SELECT verdict_status, count(*) FROM pairs WHERE {condition} GROUP BY 1"
        return connection.execute(page).fetchall(), connection.execute(counts).fetchall()

    return ask


def _plain(sql: str) -> str:
    """Column names without dots."""
    return re.sub(r"\b([a-z]+)\.([a-z]+)(?:\.([a-z]+))?\b", lambda m: "_".join(filter(None, m.groups())), sql)


def bare_opencv(explorer: Explorer) -> Callable[[int], Any]:
    """The same bytes reduced by OpenCV alone, in one thread."""

    def reduce(number: int) -> Any:
        data = explorer.pictures._read(number)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        scale = 256 / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])

    return reduce


def asked(address: str, paths: list[str], at_once: int = 1) -> np.ndarray:
    """Milliseconds of each GET, from a process of its own (as a browser is); `at_once` are asked for together."""
    given = json.dumps({"address": address, "paths": paths, "at_once": at_once})
    command = [sys.executable, "-m", "benchmarks.explorer", "--client"]
    done = subprocess.run(command, input=given, check=True, capture_output=True, text=True)
    return np.array(json.loads(done.stdout))


def client() -> None:
    given = json.load(sys.stdin)
    paths, at_once = given["paths"], given["at_once"]
    with httpx.Client(base_url=given["address"], timeout=60) as browser, ThreadPoolExecutor(6) as connections:

        def get(path: str) -> None:
            answer = browser.get(path).raise_for_status()
            kind = answer.headers["content-type"]
            assert kind == "image/jpeg" or "problem" not in answer.json(), answer.text

        get("/api/about")  # opens the connection
        groups = [paths[i : i + at_once] for i in range(0, len(paths), at_once)]
        taken = milliseconds(lambda group: list(connections.map(get, group)) if at_once > 1 else get(group[0]), groups)
    json.dump(taken.tolist(), sys.stdout)


def measure(explorer: Explorer, rows: int, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with served(explorer) as address:

        def timed(name: str, paths: list[str], at_once: int = 1) -> None:
            began = time.process_time()  # of this process, which only answers: what a loaded machine does not change
            taken = asked(address, paths, at_once)
            cpu = 1000 * (time.process_time() - began) / len(taken)
            found[name] = quantiles(taken) | {"server_cpu": round(cpu, 1)}

        orders = [{"sort": sort, "desc": "1", "count": PAGE} for sort in SORTS if sort]
        timed("smallest_answer_ms", ["/api/about"] * 50)
        timed("first_page_of_an_order_ms", [f"/api/pairs?{urlencode(one)}" for one in orders])
        timed("page_ms", [f"/api/pairs?{urlencode(one)}" for one in questions(count, rows)])
        found["bare_duckdb_ms"] = quantiles(milliseconds(bare_duckdb(explorer), list(questions(count, rows))))
        bars = [{"column": sort, "filter": one["filter"]} for one, sort in zip(questions(40, rows, 2), SORTS[:4] * 10)]
        timed("histogram_ms", [f"/api/histogram?{urlencode(one)}" for one in bars])
        numbers = np.random.default_rng(1).choice(rows, 900, replace=False).tolist()
        places = [f"{shard.digest}/{row}" for shard, row in map(explorer.tables.place, numbers)]
        timed("thumbnail_ms", [f"/thumbnails/{place}.jpg" for place in places[:300]])
        found["bare_opencv_ms"] = quantiles(milliseconds(bare_opencv(explorer), numbers[300:600]))
        timed("screen_of_30_thumbnails_ms", [f"/thumbnails/{place}.jpg" for place in places[600:]], at_once=30)
        timed("history_ms", [f"/api/pair/{place}?b=b" for place in places[:100]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--per-shard", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=210)
    add_output_option(parser)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client()
        return
    with tempfile.TemporaryDirectory(prefix="pairwright-bench-") as folder:
        exploration = make(Path(folder), options.rows, options.per_shard)
        start = time.perf_counter()
        with open_explorer(exploration) as explorer:
            opened = time.perf_counter() - start
            explorer.warm()
            warmed = time.perf_counter() - start
            found = measure(explorer, options.rows, options.questions)
    found |= {"rows": options.rows, "opened_s": round(opened, 2), "every_column_laid_down_s": round(warmed, 2)}
    found["ratios"] = {
        "page p95 / the same by DuckDB alone": round(found["page_ms"]["p95"] / found["bare_duckdb_ms"]["p95"], 3),
        "thumbnail p50 / OpenCV alone": round(found["thumbnail_ms"]["p50"] / found["bare_opencv_ms"]["p50"], 3),
    }
    met = {name: found[name]["p95"] <= limit for name, limit in TARGETS.items()}
    publish(found | {"targets_p95_ms": TARGETS, "met": met}, options.json, ["duckdb", "pyarrow", "simplejpeg"])
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
