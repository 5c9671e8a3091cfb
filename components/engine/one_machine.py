"""Torch's process group of workers on one machine: they meet in a file, and talk over loopback alone.

Ray Train has its workers meet at a TCP store, which listens on every interface whatever its address.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

# Which interface the backends of torch listen on.
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


@dataclass
class OneMachine(TorchConfig):  # type: ignore[misc]
    """`folder` is where the workers meet; each start of the group has a file of its own."""

    folder: str = ""

    @property
    def backend_cls(self) -> type:
        return _MeetInAFile


class _MeetInAFile(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        Path(backend_config.folder).mkdir(parents=True, exist_ok=True)
        meeting = f"file://{Path(backend_config.folder).resolve()}/meeting-{uuid.uuid4().hex}"
        worker_group.execute(_use_loopback)
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _setup_torch_process_group,
                    backend=backend_config.backend,
                    world_rank=rank,
                    world_size=len(worker_group),
                    init_method=meeting,
                    timeout_s=backend_config.timeout_s,
                )
                for rank in range(len(worker_group))
            ]
        )


def _use_loopback() -> None:
    import os

    for name, value in LOOPBACK.items():
        os.environ.setdefault(name, value)
