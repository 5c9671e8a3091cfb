"""A model folder as an MLflow pyfunc by models-from-code: what serves it, what it takes, and where the folder lies."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any


def kind_of(folder: Path) -> str:
    """What a model folder's config.json says it is: "reward", or else a dual encoder."""
    found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("format")
    return "reward" if found == "pairwright-reward" else "dual_encoder"


def _signature(kind: str) -> tuple[str, Any]:
    """(file that serves this kind of model, its inputs)."""
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    text = ColSpec("string", "text", required=False)
    if kind == "reward":
        features = ColSpec(Array(DataType.float), "image_features", required=False)
        return "served_reward.py", Schema([text, features, ColSpec("string", "key", required=False)])
    return "served_model.py", Schema([text, ColSpec("binary", "image", required=False)])


def save_pyfunc(folder: Path, packed: Path, scratch: Path) -> None:
    """Write the pyfunc around a model folder into `packed`, which is made; `scratch` takes a copy of the folder."""
    import importlib.metadata

    import mlflow.pyfunc
    from mlflow.models import ModelSignature

    served_by, inputs = _signature(kind_of(folder))
    staged = scratch / "model"  # the name it has inside the version, whatever the folder is called
    shutil.copytree(folder, staged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on type hints and examples; the signature says it all
        mlflow.pyfunc.save_model(
            str(packed),
            python_model=str(Path(__file__).with_name(served_by)),
            artifacts={"model": str(staged)},
            signature=ModelSignature(inputs=inputs),
            # Named, because MLflow would else load the model in a fresh process to guess them.
            pip_requirements=[f"pairwright=={importlib.metadata.version('pairwright')}"],
        )


def model_inside(mlmodel: Path) -> str:
    """Where the model folder lies in a version's artifacts, as its MLmodel file says."""
    import yaml

    described = yaml.safe_load(mlmodel.read_text(encoding="utf-8"))
    return str(described["flavors"]["python_function"]["artifacts"]["model"]["path"])
