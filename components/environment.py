"""Where things run and are stored: settings of the environment, never of a recipe.

Every field is read from `PAIRWRIGHT_<FIELD>`; the defaults need no server.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pairwright.components.errors import InvalidRecipe

# Every package we stand on is told to be silent and to look for nothing on the network (TRAPS.md).
SILENT = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(1 << 26),
}


GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, the one of Windows' Linux, AMD's


def usable_cores() -> int:
    """The cores this process may run on: fewer than the machine has under taskset or in a container's cpuset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads() -> int:
    """Threads that computing may take here: one a core, or what OMP_NUM_THREADS says where that is fewer.

    Threads of one sum wait for each other, so that two on a core somebody else uses are many times slower than one.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(usable_cores(), int(said)) if said.isdecimal() and int(said) else usable_cores()


def may_have_gpu() -> bool:
    """Whether a GPU's driver is here at all; without one nobody need wait for torch to be imported to say so."""
    return sys.platform != "linux" or any(map(os.path.exists, GPU_DRIVERS))


def silence() -> None:
    """Set the switches before any of those packages is imported; what the user set stands."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PAIRWRIGHT_ONLINE", "") != "1":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def cache_folder() -> Path:
    """Where what every workspace of this user may share is kept; `PAIRWRIGHT_CACHE` names another folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("PAIRWRIGHT_CACHE") or Path(home) / "pairwright")


def sqlite_address(path: str, driver: str = "sqlite") -> str:
    """The address of a SQLite file: what an address reads as something else is quoted."""
    return f"{driver}:///{path.replace('%', '%25').replace('?', '%3F')}"


class Environment(BaseModel):
    """The machine, the stores and the servers of one run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workspace: str = Field("workspace", description="folder of everything a run makes")
    columns: str | None = Field(None, description="root of column files; may be s3://; default <workspace>/columns")
    tracking_uri: str | None = Field(None, description="MLflow server; default SQLite in the workspace")
    dvc_remote: str | None = Field(None, description="DVC remote of curated versions; default in the workspace")
    ray_address: str | None = Field(None, description="Ray cluster (RAY_ADDRESS is honoured too); default a local one")
    workers: int = Field(0, ge=0, description="shard workers; 0 means one a CPU")
    train_workers: int = Field(1, ge=1, description="Ray Train workers")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    reports_url: str | None = Field(None, description="where the workspace's reports are served, for links to them")
    registered_model: str = Field("pairwright", description="name in the MLflow registry")

    @classmethod
    def load(cls, **overrides: object) -> Environment:
        """From the process's environment, then the overrides that are not None.

        Raises:
            InvalidRecipe: a variable's value is out of range.
        """
        values: dict[str, object] = {
            name: os.environ[f"PAIRWRIGHT_{name.upper()}"]
            for name in cls.model_fields
            if f"PAIRWRIGHT_{name.upper()}" in os.environ
        }
        if "ray_address" not in values and os.environ.get("RAY_ADDRESS"):
            values["ray_address"] = os.environ["RAY_ADDRESS"]
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            loaded = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = f"PAIRWRIGHT_{str(first['loc'][0]).upper()}"
            raise InvalidRecipe(f"{name} is {first.get('input')!r}: {first['msg']}") from None
        workspace = str(Path(loaded.workspace).resolve())
        if loaded.tracking_uri is None and set(workspace) & set("%?#"):
            # MLflow reads a folder of artifacts as an address, and would write them into another one.
            raise InvalidRecipe(
                f'the workspace {workspace} has one of "%", "?" and "#" in its path, which MLflow takes for parts of '
                "an address; name another with --workspace or PAIRWRIGHT_WORKSPACE"
            )
        return loaded.model_copy(update={"workspace": workspace})

    @property
    def columns_root(self) -> str:
        return self.columns or f"{self.workspace}/columns"

    @property
    def tracking(self) -> str:
        return self.tracking_uri or sqlite_address(f"{self.workspace}/mlflow.db")

    @property
    def shard_workers(self) -> int:
        return self.workers or usable_cores()
