"""A locked module as an ONNX graph, run on CPUs by ONNX Runtime: the same vectors, a convolutional tower twice as fast.

    graph = exported(tower, "its weights' hash", tower.example, {"images": (0,)})
    graph(images=pixels)                                 # (n, width), what tower(pixels) gives within TOLERANCE

A graph is made once a machine and user, and known by what it follows from: the weights, the code of the module and of
this file, the libraries' versions. It is held against torch before it is kept, against its record before it is used.

    ~/.cache/pairwright/graphs/<key>/graph.onnx    PAIRWRIGHT_CACHE names another folder than ~/.cache/pairwright
    ~/.cache/pairwright/graphs/<key>/about.json    its SHA-256 and its largest difference to torch
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.integrity import verified
from pairwright.components.digest import library_versions
from pairwright.components.environment import cache_folder
from pairwright.components.errors import DatasetError, PairwrightError
from pairwright.components.hashing import canonical, file_sha256, sha256_text
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.source_code import source_digest

TOLERANCE = 1e-4  # of the largest feature, at least 1
GRAPH, ABOUT = "graph.onnx", "about.json"
OUTPUT = "features"

Example = Callable[[int], dict[str, Tensor]]  # how many -> the module's inputs, by name
Axes = Mapping[str, tuple[int, ...]]  # input -> the axes whose length varies


class NoGraph(PairwrightError):
    """A module has no ONNX graph here, and why."""


class Graph:
    """A graph in this process. It has as many threads as torch had when it was opened: a Ray worker's one core, or all.

    Args:
        facts: what its `about.json` says.
    """

    def __init__(self, path: str, facts: Mapping[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores of the decoding threads and of other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.path, self.facts = path, dict(facts)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, **inputs: Tensor) -> Tensor:
        (found,) = self._session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(found)

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.path, self.facts)  # a session is copied by opening its file again


def graph_or_none(module: nn.Module, weights: str, example: Example, axes: Axes) -> Graph | None:
    """`exported`; where that cannot be, None, and the reason is logged once a process."""
    try:
        return exported(module, weights, example, axes)
    except NoGraph as error:
        say_once(f"{type(module).__name__} runs by torch, not by ONNX Runtime: {error}")
        return None


def exported(module: nn.Module, weights: str, example: Example, axes: Axes) -> Graph:
    """The module's graph, from the cache or made now (seconds).

    Args:
        weights: hash of its weights.

    Raises:
        NoGraph: a package is missing, the module does not export, or its graph gives other vectors.
    """

    def make(folder: Path) -> dict[str, Any]:
        write_graph(module, example, axes, folder / GRAPH)
        return {"difference": _difference(module, Graph(str(folder / GRAPH), {}), example(3))}

    return cached(key_of(module, weights), make)


def key_of(module: nn.Module, weights: str, **more: Any) -> str:
    """What a graph follows from, as a digest."""
    code = [source_digest(__name__), source_digest(type(module).__module__)]
    said = {"weights": weights, "module": type(module).__name__, "code": code, "more": more}
    return sha256_text(canonical(said | {"libraries": library_versions(("numpy", *TOWER_LIBRARIES))}))


def cached(key: str, make: Callable[[Path], dict[str, Any]]) -> Graph:
    """The graph under a key; where it is not there, or not what was recorded, `make` fills a folder and says its facts.

    Two processes may make one at once; they make the same, and the first to finish is kept.

    Raises:
        NoGraph: it cannot be made or kept.
    """
    root = cache_folder() / "graphs"
    folder = root / key
    try:
        if (facts := _trusted(folder)) is None:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=root) as partial:
                made = Path(partial) / key
                made.mkdir()
                facts = make(made) | {"sha256": file_sha256(made / GRAPH)}
                storage.write_json(str(made / ABOUT), facts)
                _keep(made, folder)
        return Graph(str(folder / GRAPH), facts)
    except (ImportError, OSError, DatasetError) as error:
        raise NoGraph(str(error).splitlines()[0]) from None


def _trusted(folder: Path) -> dict[str, Any] | None:
    try:
        facts = dict(storage.read_json(str(folder / ABOUT)))
        return facts if verified(str(folder / GRAPH), facts["sha256"]) else None
    except (OSError, DatasetError, KeyError, TypeError, ValueError):
        return None


def _keep(made: Path, folder: Path) -> None:
    if _trusted(folder) is not None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(made, folder)
    except OSError:
        if _trusted(folder) is None:  # else another process was quicker
            raise


def write_graph(module: nn.Module, example: Example, axes: Axes, path: Path) -> None:
    """Trace the module on two examples into a file.

    By the TorchScript exporter: of the same towers it makes graphs as fast as torch.export's does, in a second instead
    of ten or forty, and without a further package.

    Raises:
        NoGraph: it does not export.
    """
    import onnxruntime  # noqa: F401  nothing is traced that could not be run

    inputs = example(2)
    dynamic = {name: {axis: f"{name}_{axis}" for axis in varying} for name, varying in axes.items()}
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                str(path),
                dynamo=False,
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_axes=dynamic | {OUTPUT: {0: "n"}},
            )
    except (ImportError, OSError):
        raise
    except Exception as error:  # torch raises a dozen kinds, some of them plain RuntimeErrors
        raise NoGraph((str(error).strip() or type(error).__name__).splitlines()[0]) from None


def _difference(module: nn.Module, graph: Graph, inputs: dict[str, Tensor]) -> float:
    """The largest to torch, on a batch of another size than was traced.

    Raises:
        NoGraph: it is above TOLERANCE.
    """
    with torch.inference_mode():
        expected = module(**inputs)
    try:
        found = graph(**inputs)
    except Exception as error:  # ONNX Runtime's own kinds, all plain Exceptions
        raise NoGraph(str(error).splitlines()[0]) from None
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else np.inf
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise NoGraph(f"its graph differs from torch by {difference:.2g}")
    return difference


@functools.lru_cache(1024)
def say_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)
