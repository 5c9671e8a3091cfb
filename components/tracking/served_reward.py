"""The MLflow flavour of a reward's folder: models-from-code, so nothing is ever pickled.

MLflow copies this file beside the weights and runs it to load the model:

    mlflow.pyfunc.load_model("models:/pairwright-reward@champion").predict(
        pandas.DataFrame({"text": ["a red boat", "IMG_1.JPG"], "image_features": [features, features]})
    )

One row in, one row out: `score` of the text for the picture with these features, or `error`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # at the top, because MLflow reads the hint on `predict`
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedReward(PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """A reward behind MLflow's `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        from pairwright.components.models.reward import load_reward

        self.model = load_reward(context.artifacts["model"], device="cpu")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """A frame with `text` and `image_features` -> a frame with `score` and `error`."""
        texts, features = list(model_input["text"]), list(model_input["image_features"])
        good = [n for n, text in enumerate(texts) if isinstance(text, str) and self._fits(features[n])]
        rows: list[dict[str, Any]] = [
            {"score": None, "error": f"needs a text and {self.model.image_width} image features"} for _ in texts
        ]
        if good:
            images = np.stack([np.asarray(features[n], np.float32) for n in good])
            scores = self.model.score(images, [texts[n] for n in good])
            for n, score in zip(good, scores.tolist(), strict=True):
                rows[n] = {"score": score, "error": None}
        return pd.DataFrame(rows, columns=["score", "error"])

    def _fits(self, features: Any) -> bool:
        return features is not None and np.shape(features) == (self.model.image_width,)


set_model(ServedReward())
