"""Starting from another model's weights: `init: step:align`."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pairwright.components.errors import ModelError

WEIGHTS = "model.safetensors"
log = logging.getLogger(__name__)


def load_weights(model: nn.Module, folder: str | Path) -> None:
    """Copy a model folder's weights into `model`, by name; what only one of the two has is said and left alone.

    Raises:
        ModelError: the folder holds none, none of its names is the model's, or one has another shape.
    """
    try:
        tensors = load_file(Path(folder) / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"init: {folder} cannot be read ({str(error).splitlines()[0]}); name a model folder") from None
    own = model.state_dict()
    shared = {name: value for name, value in tensors.items() if name in own}
    if not shared:
        raise ModelError(f"init: no weight of {folder} is called as one of this model's; name a model of its kind")
    for name, value in shared.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"init: {name} is {tuple(value.shape)} in {folder} and {tuple(own[name].shape)} here; "
                "give both the same towers and dim"
            )
    model.load_state_dict(shared, strict=False)
    if fresh := sorted(own.keys() - shared.keys()):
        log.info("init: %d of %d weights start anew, e.g. %s", len(fresh), len(own), fresh[0])
