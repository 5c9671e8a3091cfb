"""The MLflow flavour of a model folder: models-from-code, so nothing is ever pickled.

MLflow copies this file beside the weights and runs it to load the model:

    mlflow.pyfunc.load_model("models:/pairwright@champion").predict(
        pandas.DataFrame({"text": ["a red boat", None], "image": [None, open("boat.jpg", "rb").read()]})
    )

One row in, one row out: `embedding` (unit norm) of the text or of the encoded image, or `error`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd  # at the top, because MLflow reads the hint on `predict`
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

MIN_SIDE = 224  # pixels; JPEGs are not decoded larger than the towers need


class ServedDualEncoder(PythonModel):  # type: ignore[misc]  # mlflow is untyped here
    """A dual encoder's two towers behind MLflow's `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        from pairwright.components.models.formats import load_model

        self.model = load_model(context.artifacts["model"], "dual_encoder")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """A frame with `text` and/or `image` (encoded bytes) -> a frame with `embedding` and `error`."""
        from pairwright.components.dataset.media.decode import decode

        columns = {name: list(model_input[name]) for name in ("text", "image") if name in model_input}
        texts = {n: text for n, text in enumerate(columns.get("text", ())) if isinstance(text, str)}
        pictures = {
            n: decode(data, MIN_SIDE)
            for n, data in enumerate(columns.get("image", ()))
            if isinstance(data, bytes) and n not in texts
        }
        good = {n: decoded.image for n, decoded in pictures.items() if decoded.image is not None}
        rows: list[dict[str, Any]] = [
            {"embedding": None, "error": "neither text nor image"} for _ in range(len(model_input))
        ]
        for n, decoded in pictures.items():
            rows[n]["error"] = decoded.error
        vectors = dict(zip(texts, self.model.encode_text(list(texts.values())), strict=True)) if texts else {}
        if good:
            vectors |= dict(zip(good, self.model.encode_image(list(good.values())), strict=True))
        for n, vector in vectors.items():
            rows[n] = {"embedding": vector.tolist(), "error": None}
        return pd.DataFrame(rows, columns=["embedding", "error"])


set_model(ServedDualEncoder())
