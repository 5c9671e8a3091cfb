"""A reward in the registry: registered by its bytes, fetched back whole, and asked through MLflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mlflow")

from preferences import HASTY, IMAGE_WIDTH, fresh_model, planted

from pairwright.components.models.reward import load_reward
from pairwright.components.pretrain.reward.training import fit_reward
from pairwright.components.tracking.lineage import lineage
from pairwright.components.tracking.registry import Registry
from pairwright.components.tracking.runs import Tracker

pytestmark = pytest.mark.platform


def test_a_reward_is_registered_fetched_and_served_like_any_model(tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    judged, evidence = planted(40)
    model = fresh_model()
    fit_reward(model, evidence, judged, HASTY)
    model.save(tmp_path / "reward", "# Reward\n")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = Registry(uri, "pairwright-reward", cache=tmp_path / "cache")
    with Tracker(uri, "pairwright").pipeline("compress_and_align", {"run": "test"}) as run:
        pedigree = {"recipe": "compress_and_align", "steps": {"reward": "d" * 32}}
        version = registry.register(
            tmp_path / "reward", run_id=run.id, pedigree=pedigree, metrics={"accuracy": 0.9, "accuracy.swapped": 0.8}
        )
        again = registry.register(tmp_path / "reward", run_id=run.id, pedigree=pedigree)
    assert again == version
    registry.promote(version, "the first")
    folder, _ = registry.resolve("models:/pairwright-reward@champion")
    image, texts = np.ones((2, IMAGE_WIDTH), np.float32), ["A red boat.", "IMG_1.JPG"]
    expected = model.score(image, texts).numpy()
    assert (load_reward(folder).score(image, texts).numpy() == expected).all()
    assert lineage(registry, version)["steps"] == {"reward": "d" * 32}

    mlflow.set_tracking_uri(uri)
    served = mlflow.pyfunc.load_model(f"models:/pairwright-reward/{version}")
    frame = pd.DataFrame({"text": [*texts, None], "image_features": [*image.tolist(), None]})
    answered = served.unwrap_python_model().predict(None, frame)
    assert np.allclose(answered["score"].iloc[:2].astype(float), expected, atol=1e-5)
    assert "needs a text" in answered["error"].iloc[2]
