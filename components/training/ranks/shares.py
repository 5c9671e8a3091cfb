"""A tensor of which every rank holds a share: this rank's rows of it, all of it, and a whole one cut to such a share.

own(p), whole(p), cut(value, p): of a tensor that is not shared all three are the tensor itself.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_shared(tensor: Any) -> bool:
    """Whether it is a DTensor, which is what FSDP2 makes of parameters; importing those takes a second."""
    return hasattr(tensor, "full_tensor")


def own(tensor: Tensor) -> Tensor:
    """This rank's rows, in the memory of the tensor itself; there may be none."""
    local: Tensor = tensor.to_local() if is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return local


def whole(tensor: Tensor) -> Tensor:
    """Every rank's rows. All ranks ask for it together."""
    gathered: Tensor = tensor.full_tensor() if is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return gathered


def cut(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same on every rank, as `like` is held: shared as it is, and on its device."""
    if not is_shared(like):
        return value.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    shared: Any = like
    # No source rank: each cuts its own rows out of what it has, and nothing is sent.
    return distribute_tensor(value.to(own(like).device), shared.device_mesh, shared.placements, src_data_rank=None)
