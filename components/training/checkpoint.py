"""Checkpoints by step, committed by rename: a reader finds a whole one or none.

CHECKPOINT_DIR/step_00000123/tensors.safetensors    trained weights, AdamW's moments, averages, the task's, every RNG
CHECKPOINT_DIR/step_00000123/state.json             step, the run's digest, the precision's state; written last
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pairwright.components.dataset.shards import storage
from pairwright.components.errors import ModelError
from pairwright.components.training.parameters import is_moving, trained
from pairwright.components.training.ranks.shares import cut, own, whole

KEPT = 2  # checkpoints kept: the newest, and one to fall back on
STATE, TENSORS = "state.json", "tensors.safetensors"
_NAME = re.compile(r"step_(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint; `step` optimizer steps were done."""

    folder: Path
    step: int
    state: Mapping[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / TENSORS)


def save_checkpoint(root: Path, step: int, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Commit `step`'s checkpoint and drop those before the last two.

    Raises:
        WorkspaceError: the disk is full or read-only.
    """
    final = root / f"step_{step:08d}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
        save_file(dict(tensors), partial / TENSORS)
        _fsync(partial / TENSORS)
        size = (partial / TENSORS).stat().st_size
        (partial / STATE).write_text(json.dumps({**state, "step": step, "bytes": size}, sort_keys=True))
        _fsync(partial / STATE)
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)
        _fsync(root)
    except OSError as error:
        raise storage.workspace_error(str(final), error) from None
    for old in _committed(root)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for leftover in root.glob(".partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return final


def newest_checkpoint(root: Path) -> Checkpoint | None:
    """The newest whole one; a partial or cut-short one is passed over."""
    for folder in reversed(_committed(root)):
        try:
            state = json.loads((folder / STATE).read_text())
            if (folder / TENSORS).stat().st_size == state["bytes"]:
                return Checkpoint(folder, int(state["step"]), state)
        except (OSError, ValueError, KeyError):
            continue
    return None


def _committed(root: Path) -> list[Path]:
    """Folders named as checkpoints, oldest first."""
    return sorted(path for path in root.glob("step_*") if _NAME.fullmatch(path.name)) if root.is_dir() else []


def training_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, moving: Sequence[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Weights and optimizer state of what is trained, what moves without a gradient, and every buffer."""
    for name, parameter in trained(model).items():
        yield f"model.{name}", parameter
        for key, value in optimizer.state[parameter].items():
            yield f"optimizer.{name}.{key}", value
    for name, value in _unlearnt(model, moving):
        yield f"moving.{name}", value


def kept(tensors: Iterable[tuple[str, Tensor]], here: bool) -> dict[str, Tensor]:
    """Whole copies of tensors on the CPU, nothing unless `here`; ranks that hold shares gather them one by one."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors:
        value = whole(tensor.detach())
        if here:
            found[name] = value.cpu().contiguous().clone()
    return found


def task_state(state: Mapping[str, Any], task: str) -> dict[str, Tensor]:
    """What a task remembers, as it is kept: tensors on the CPU, numbers as tensors of one value.

    Raises:
        ModelError: a value is neither; a list or a text would come back as something else.
    """
    found = {}
    for name, value in state.items():
        if not isinstance(value, Tensor | bool | int | float):
            raise ModelError(
                f'state_dict of {task}: "{name}" is a {type(value).__name__}; give a tensor or a number, which comes '
                "back to load_state_dict as a tensor"
            )
        found[name] = value.detach().cpu() if isinstance(value, Tensor) else torch.tensor(value)
    return found


def restore_training(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], moving: Sequence[str] = ()
) -> None:
    """The inverse of `training_tensors`."""
    for name, parameter in trained(model).items():
        with torch.no_grad():
            own(parameter).copy_(own(cut(tensors[f"model.{name}"], parameter)))
        prefix = f"optimizer.{name}."
        moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        # AdamW keeps its step counter on the CPU and its moments beside the weights, in the same shares.
        optimizer.state[parameter] = {
            key: value.clone() if key == "step" else cut(value, parameter).clone() for key, value in moments.items()
        }
    with torch.no_grad():
        for name, value in _unlearnt(model, moving):
            own(value).copy_(own(cut(tensors[f"moving.{name}"], value)))


def _unlearnt(model: nn.Module, moving: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """What training changes and no gradient does."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and is_moving(name, moving):
            yield name, parameter
    yield from model.named_buffers()


def random_state() -> dict[str, Tensor]:
    """Every random stream of this process as tensors: Python's, numpy's, torch's, the GPU's."""
    version, words, _ = random.getstate()
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    assert (version, name) == (3, "MT19937"), "Python and numpy keep Mersenne twisters"
    found = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.tensor([*map(int, keys), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([gauss], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore_random(state: Mapping[str, Tensor]) -> None:
    """The inverse of `random_state`."""
    random.setstate((3, tuple(state["python"].tolist()), None))
    *keys, position, has_gauss = state["numpy"].tolist()
    gauss = float(state["numpy_gauss"][0])
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_all(seed: int, rank: int) -> None:
    """Start every stream; ranks differ."""
    mixed = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
