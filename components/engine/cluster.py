"""One Ray session a run: started when something has to run, quiet, and ended with the run.

    with Session() as session:              # nothing starts here
        map_shards(task, shards, session)   # starts Ray, if a shard is missing

`RAY_ADDRESS` (or Environment.ray_address) names a cluster to use instead of a local one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pairwright.components.environment import silence, usable_cores
from pairwright.components.errors import EngineError

# What training workers take of a session on this machine: nothing else runs meanwhile, and one that waits for the next
# model must not hold a CPU that shards are scored on.
TRAINING_PLACE = "training_place"
OBJECT_STORE_BYTES = 256 << 20  # reports and settings travel through it, never a picture
STARTS = 3  # a raylet dies if its agents need over 15 s on a busy machine
KNOCK_SECONDS = 10
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
# What Ray would print, probe or change by itself on every start.
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives its session would start another by asking it something
    "RAY_enable_metrics_collection": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a training worker as in the driver
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


class Session:
    """A Ray session, started lazily.

    Args:
        address: of a cluster ("10.0.0.1:6379", "ray://...", "auto"); RAY_ADDRESS if None, and a local
            session of this machine's CPUs if that is unset, too.
        workers: shard workers wanted; 0 means one a CPU of the cluster.
        plugins: folders of packages that workers on other machines must be able to import, besides ours.
    """

    def __init__(self, address: str | None = None, workers: int = 0, plugins: tuple[str, ...] = ()) -> None:
        self.address = address or os.environ.get("RAY_ADDRESS") or None
        self.workers = workers
        self._plugins = plugins
        self._owned = False
        self.started = False
        self.keeps_workers = False  # from one shard map to the next: components/engine/shard_workers.py

    def ensure(self) -> None:
        """Start Ray, or connect to the cluster, unless that is done.

        Raises:
            MissingDependency: ray is not installed.
            EngineError: it does not start, or the cluster does not answer.
        """
        if self.started:
            return
        ray = import_ray()
        if not ray.is_initialized():
            self._start(ray)
            self._owned = True
        self.started = True

    @property
    def local(self) -> bool:
        """Of this machine alone, and so on loopback alone; else somebody named a cluster."""
        return self.address in (None, "local")

    @property
    def stands(self) -> bool:
        """Whether Ray ran before this object asked for it, and so goes on when this object is closed."""
        ray = sys.modules.get("ray")
        return not self._owned and ray is not None and bool(ray.is_initialized())

    def _start(self, ray: Any) -> None:
        self._knock()
        if self.local:
            check_socket_paths()
        for attempt in range(1, STARTS + 1):
            try:
                with _signals_kept(), _on_loopback(self.local):
                    ray.init(**self._options())
                return
            except Exception as error:  # ray raises ValueError, RuntimeError, ConnectionError, TimeoutError ...
                with contextlib.suppress(Exception):
                    ray.shutdown()
                if attempt == STARTS:
                    raise EngineError(self._why_not(error)) from None
                time.sleep(attempt * (1 + random.random()))

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.local:
            return options | {
                "address": "local",
                "num_cpus": usable_cores(),
                "resources": {TRAINING_PLACE: 1024},
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
            }
        options["address"] = self.address
        if not _is_here(str(self.address)):
            package = Path(__file__).parents[2]
            options["runtime_env"] = {"py_modules": [str(package), *self._plugins]}
        return options

    def _knock(self) -> None:
        """Ray itself waits 40 s for a cluster that is not there."""
        host, port = _host_and_port(self.address)
        if not port:
            return
        try:
            socket.create_connection((host, port), timeout=KNOCK_SECONDS).close()
        except OSError as error:
            raise EngineError(self._why_not(error)) from None

    def _why_not(self, error: Exception) -> str:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if self.local:
            return f"Ray did not start in {STARTS} tries: {reason}; free memory or CPUs and run the same command"
        return (
            f"no Ray cluster answers at {self.address}: {reason}; start it, or unset RAY_ADDRESS and "
            "PAIRWRIGHT_RAY_ADDRESS to run on this machine"
        )

    def cpus(self) -> int:
        """CPUs of the cluster; starts it."""
        self.ensure()
        return max(1, int(import_ray().cluster_resources().get("CPU", 1)))

    def close(self) -> None:
        """End the session this object started; one it found running is left running."""
        if self.started and self._owned:
            import_ray().shutdown()
        self.started = self._owned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_socket_paths() -> None:
    """Refuse a temporary folder in which Ray's sockets would have names too long for the kernel.

    Raises:
        EngineError: it is; names the folder and the variable.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    needed = len(os.fsencode(f"{folder.rstrip('/')}/{LONGEST_SOCKET}"))
    if needed > SOCKET_PATH_BYTES:
        raise EngineError(
            f"the temporary folder {folder} is {needed - SOCKET_PATH_BYTES} bytes too long for Ray's sockets (the path "
            f"of one has at most {SOCKET_PATH_BYTES}); set RAY_TMPDIR to a shorter one, e.g. /tmp"
        )


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it starts in the main thread; how it is answered is the command's matter."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                if handler is not None:  # else it was not set from Python
                    signal.signal(number, handler)


@contextlib.contextmanager
def _on_loopback(wanted: bool) -> Iterator[None]:
    """Ray starts as where it has no clusters (macOS, Windows): as 127.0.0.1, and its processes listen there alone.

    Its own `_node_ip_address` does not do: Ray puts the machine's address in the place of a loopback one.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def import_ray() -> Any:
    """The ray module, its switches set before it is first imported.

    Raises:
        MissingDependency: it is not installed.
    """
    from pairwright.components.errors import MissingDependency

    silence()
    for name, value in QUIET.items():  # some are read when ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingDependency('ray is not installed; install "pairwright[platform]"') from None
    return ray


def _host_and_port(address: str | None) -> tuple[str, int]:
    """("10.0.0.1", 6379) of "10.0.0.1:6379" or "ray://10.0.0.1:6379"; port 0 if the address names none."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else ((address or "").removeprefix("ray://"), 0)


def _is_here(address: str) -> bool:
    """Whether a cluster's address is this machine, so that its workers import the code the driver does."""
    host, _ = _host_and_port(address)
    if host in LOCAL_HOSTS or address == "auto":
        return True
    try:
        mine = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
        return socket.gethostbyname(host) in mine
    except OSError:
        return False
