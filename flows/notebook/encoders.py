"""Dual encoders from Python: the registry's champion, or any other model a recipe could name.

champion = load_champion()
champion.encode_text(["a red boat"]) @ champion.encode_image([pair.picture]).T     # cosines
"""

from __future__ import annotations

from pathlib import Path

from pairwright.components.environment import Environment, silence
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.flows.running.run import device_of, model_resolver, the_champion


def load_champion(*, workspace: str | None = None, device: str | None = None) -> DualEncoder:
    """The champion of this workspace's registry, or of the MLflow server that `PAIRWRIGHT_TRACKING_URI` names.

    Args:
        device: `cpu` or `cuda`; else as `PAIRWRIGHT_DEVICE` says, the GPU where there is one.

    Raises:
        NoChampion: nothing was registered and promoted yet.
    """
    silence()
    environment = Environment.load(workspace=workspace)
    reference = f"models:/{environment.registered_model}/{the_champion(environment).version}"
    return load_model(reference, workspace=workspace, device=device)


def load_model(reference: str | Path, *, workspace: str | None = None, device: str | None = None) -> DualEncoder:
    """A dual encoder as a recipe names it: a folder, `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a hub name.

    Raises:
        ModelError: it names nothing that is here, or no dual encoder.
    """
    silence()
    environment = Environment.load(workspace=workspace)
    folder = model_resolver(environment)(str(reference))
    return load_dual_encoder(folder, device or device_of(environment))
