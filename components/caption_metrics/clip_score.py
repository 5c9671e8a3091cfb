"""CLIPScore and RefCLIPScore (Hessel et al., 2021).

    CLIPScore = 2.5 max(cos(caption, picture), 0)
    RefCLIPScore = harmonic mean of CLIPScore and max over references of max(cos(caption, reference), 0)

Of whatever dual encoder made the vectors: figures of two encoders do not compare, nor with the paper's, whose is
CLIP ViT-B/32 with captions that begin with "A photo depicts".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WEIGHT = 2.5


def clip_score(caption: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Unit vectors (n, d) of captions and of their pictures -> (n,) from 0 to 2.5."""
    cosines = np.einsum("nd,nd->n", caption.astype(np.float64), image.astype(np.float64))
    found: np.ndarray = WEIGHT * np.maximum(cosines, 0)
    return found


def ref_clip_score(caption: np.ndarray, image: np.ndarray, references: Sequence[np.ndarray]) -> np.ndarray:
    """Besides, of each caption its references' unit vectors (k, d), k >= 1 -> (n,)."""
    score = clip_score(caption, image)
    nearest = [
        max(float((held.astype(np.float64) @ own).max()), 0.0) for own, held in zip(caption, references, strict=True)
    ]
    return harmonic_mean(score, np.array(nearest, np.float64))


def harmonic_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2ab / (a + b), 0 where either is."""
    total = a + b
    found: np.ndarray = np.divide(2 * a * b, total, out=np.zeros_like(total), where=total > 0)
    return found
