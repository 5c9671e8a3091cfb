"""Locked towers by ONNX Runtime: the vectors torch gives, kept by content, and torch where it cannot be."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairwright.components.models.onnx import graph as graphs
from pairwright.components.models.onnx.graph import Graph, NoGraph, exported, graph_or_none, key_of
from pairwright.components.models.towers import efficientnet
from pairwright.components.models.towers.shared_towers import forget_shared, load_tower
from pairwright.components.models.towers.tiny import TinyImage, TinyText
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower

TEXTS = ["", "a red square", "x" * 300, "ein grünes Dreieck and one more thing"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has neither towers nor said anything."""
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    forget_shared()
    graphs.say_once.cache_clear()
    yield tmp_path / "cache"
    forget_shared()


def tiny_graph() -> tuple[TinyText, Graph]:
    tower = TinyText()
    return tower, exported(tower, "w", tower.example, tower.varying)


def pictures(count: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.slow
def test_a_locked_tower_gives_the_vectors_torch_gives(cache: Path) -> None:
    image, text = load_image_tower("builtin:efficientnet-lite0"), load_text_tower("builtin:minilm")
    found = image.features(pictures(11)), text.features(TEXTS)  # batches of 8 and 3; texts of any length
    with torch.no_grad():
        expected = efficientnet.pretrained()(torch.from_numpy(pictures(11))), text(**text.tokens(TEXTS))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
    assert len(list(cache.glob("graphs/*/graph.onnx"))) == 2, "both ran by a graph"


def test_a_graph_takes_batches_and_lengths_it_was_not_traced_with(cache: Path) -> None:
    tower, graph = tiny_graph()
    for texts in (["a"], TEXTS, ["abc"] * 40):
        tokens = tower.tokens(texts)
        with torch.no_grad():
            assert (graph(**tokens) - tower(**tokens)).abs().max() < 1e-5
    image = TinyImage()
    of_pictures = exported(image, "w", image.example, image.varying)
    nine = torch.from_numpy(pictures(9, 32))
    with torch.no_grad():
        assert (of_pictures(images=nine) - image(nine)).abs().max() < 1e-5


def test_a_tower_that_is_to_be_trained_runs_by_torch_always(cache: Path) -> None:
    own = load_tower("builtin:efficientnet-lite0", shared=False)
    tower = load_image_tower("builtin:efficientnet-lite0", shared=False)
    tower.features(pictures(1))
    assert all(parameter.requires_grad for parameter in own.parameters())
    assert not (cache / "graphs").exists()


def test_a_graph_is_made_once_and_again_when_damaged(cache: Path) -> None:
    _, graph = tiny_graph()
    file = Path(graph.path)
    before = file.stat().st_mtime_ns, file.read_bytes()
    tiny_graph()
    assert file.stat().st_mtime_ns == before[0]
    assert json.loads((file.parent / "about.json").read_text())["difference"] < 1e-5
    file.write_bytes(before[1][:-100])
    _, again = tiny_graph()
    assert again.path == str(file)
    assert len(file.read_bytes()) == len(before[1])
    assert [path.name for path in (cache / "graphs").iterdir()] == [file.parent.name], "nothing half-made is left"


def test_other_weights_or_another_module_are_another_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        key_of(TinyText(), "a"),
        key_of(TinyText(), "b"),
        key_of(TinyImage(), "a"),
        key_of(TinyText(), "a", int8="c"),
    }
    monkeypatch.setattr(graphs, "library_versions", lambda names: {"onnxruntime": "another"})
    assert len(keys | {key_of(TinyText(), "a")}) == 5


class Odd(nn.Module):
    """Answers otherwise to three than to two, which no trace of two knows."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2)) + float(len(images) == 3)


class Untraceable(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no trace of this\nmany lines")


@pytest.mark.parametrize(("module", "why"), [(Odd(), "differs from torch by 1"), (Untraceable(), "no trace of this")])
def test_a_graph_that_cannot_be_or_lies_is_not_used(
    cache: Path, caplog: pytest.LogCaptureFixture, module: nn.Module, why: str
) -> None:
    example = TinyImage().example
    with pytest.raises(NoGraph, match=why):
        exported(module, "w", example, {"images": (0,)})
    with caplog.at_level(logging.WARNING):
        assert graph_or_none(module, "w", example, {"images": (0,)}) is None
        assert graph_or_none(module, "w", example, {"images": (0,)}) is None
    (said,) = caplog.records
    assert said.getMessage().startswith(f"{type(module).__name__} runs by torch, not by ONNX Runtime: ")
    assert not list(cache.glob("graphs/*"))


def test_without_the_packages_or_a_cache_a_tower_runs_by_torch(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        found = load_image_tower("builtin:efficientnet-lite0").features(pictures(2))
    with torch.no_grad():
        assert (found - efficientnet.pretrained()(torch.from_numpy(pictures(2)))).abs().max() < 1e-4
    (said,) = caplog.records
    assert "EfficientNetLite0 runs by torch, not by ONNX Runtime" in said.getMessage()
    cache.unlink()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(NoGraph, match="onnx"):
        tiny_graph()


def test_a_model_with_a_graph_can_be_copied_and_sent(cache: Path) -> None:
    tower, graph = tiny_graph()
    tokens = tower.tokens(TEXTS)
    for other in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert torch.equal(other(**tokens), graph(**tokens))
