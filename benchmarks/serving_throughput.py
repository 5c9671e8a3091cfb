"""What batching is worth: concurrent embed_text requests in shared batches against one by one.

    python -m benchmarks.serving_throughput [--bento TAG --home WORKSPACE/bentoml]

Both are measured in one run on one machine, taking turns: one server that batches, and one of the same
Bento that does not (PAIRWRIGHT_MAX_BATCH=1). Prints requests/s, the ratio, and the 50th and 99th
percentile of latency. Without --bento, serves the two small real towers (EfficientNet-Lite0,
MiniLM) with untrained projections: the same work as a trained model.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from pairwright.components.environment import silence

ROUNDS = 3
WORDS = ("red", "blue", "owl", "car", "tree", "small", "old", "photograph", "drawing", "of", "a", "with", "flag")


def main() -> None:
    arguments = parse()
    silence()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(arguments.home or scratch)
        tag = arguments.bento or build_real(Path(scratch), home)
        batched, single = serve_both(tag, home, scratch)
        try:
            measure(arguments, batched[1], single[1])
        finally:
            from pairwright.serving.packaging import stop

            stop(batched[0])
            stop(single[0])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bento", help="tag of a built Bento")
    parser.add_argument("--home", help="its BENTOML_HOME")
    parser.add_argument("--clients", type=int, default=32, help="concurrent clients")
    parser.add_argument("--requests", type=int, default=640, help="requests a round")
    return parser.parse_args()


def build_real(scratch: Path, home: Path) -> str:
    from pairwright.components.models.resolve import resolve_model
    from pairwright.components.models.towers.untrained import new_dual_encoder
    from pairwright.serving.packaging import build_bento

    towers = resolve_model("builtin:efficientnet-lite0"), resolve_model("builtin:minilm")
    new_dual_encoder(*towers, dim=256).save(scratch / "model")
    return build_bento(scratch / "model", None, {"purpose": "benchmark"}, home=home, tag_version="benchmark")


def serve_both(tag: str, home: Path, logs: str) -> tuple:
    from pairwright.serving.packaging import serve, wait_until_ready

    servers = []
    for name, limit in (("batched", None), ("single", "1")):
        os.environ.pop("PAIRWRIGHT_MAX_BATCH", None)
        if limit:
            os.environ["PAIRWRIGHT_MAX_BATCH"] = limit
        port = free_port()
        server = serve(tag, port, home=home, log=f"{logs}/{name}.log")
        servers.append((server, f"http://127.0.0.1:{port}"))
    os.environ.pop("PAIRWRIGHT_MAX_BATCH", None)
    for server, url in servers:
        wait_until_ready(server, url)
    return tuple(servers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(arguments: argparse.Namespace, batched: str, single: str) -> None:
    runs: dict[str, list[tuple[float, list[float]]]] = {"batched": [], "one by one": []}
    for url in (batched, single):  # the model is warm; connections open
        load(url, arguments.clients, arguments.requests // 2)
    for _ in range(ROUNDS):
        runs["batched"].append(load(batched, arguments.clients, arguments.requests))
        runs["one by one"].append(load(single, arguments.clients, arguments.requests))
    rates = {name: statistics.median(rate for rate, _ in rounds) for name, rounds in runs.items()}
    print(f"embed_text, {arguments.clients} clients, one text a request, {os.cpu_count()} CPUs, median of {ROUNDS}")
    for name, rounds in runs.items():
        times = sorted(seconds for _, latencies in rounds for seconds in latencies)
        p50, p99 = (1000 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99))
        print(f"  {name:<11} {rates[name]:7.1f} requests/s   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms")
    print(f"ratio batched / one by one: {rates['batched'] / rates['one by one']:.2f}")


def load(url: str, clients: int, requests: int) -> tuple[float, list[float]]:
    """(requests per second, latency of each in seconds)."""
    latencies: list[float] = []
    numbers = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as session:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                started = time.perf_counter()
                answer = session.post("/embed_text", json={"texts": [text_of(number)]})
                answer.raise_for_status()
                latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    run_together([client] * clients)
    return requests / (time.perf_counter() - started), latencies


def run_together(targets: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def text_of(number: int) -> str:
    return " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5, 7, 11))


if __name__ == "__main__":
    main()
