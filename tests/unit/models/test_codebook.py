"""The codebook's gradient reaches the encoder, its codes are used, and captions come from codes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from populations import view_of
from vectors import around_centres, vector_column

from pairwright.components.component import FitInputs
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ColumnError, ModelError, WorkspaceError
from pairwright.components.filter.fits.codebook import CodebookSettings, FitCodebook
from pairwright.components.filter.scorers.codebook_codes import CodebookCodes, CodebookCodesSettings
from pairwright.components.models.codebook import Codebook, CodebookShape, load_codebook
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.vector_quantizer import VectorQuantizer, perplexity
from pairwright.components.models.words import vocabulary_of
from pairwright.components.recaption.captioners.codebook_captioner import CodebookCaptioner, CodebookCaptionerSettings

SMALL = {
    "codes": 32,
    "positions": 4,
    "code_width": 8,
    "width": 32,
    "layers": 1,
    "least": 1,
    "batch_size": 32,
    "lr": 4e-3,
}
KINDS = ["red bus", "blue dog", "green tree", "a tall house", "two small cats", "an old yellow car"]


def quantizer(seed: int = 0, codes: int = 8, width: int = 4) -> VectorQuantizer:
    torch.manual_seed(seed)
    return VectorQuantizer(codes, width)


def test_the_gradient_passes_straight_through() -> None:
    """d loss / d z equals d loss / d z_q, plus the commitment's own pull."""
    part = quantizer()
    z = torch.randn(5, 3, 4, requires_grad=True)
    weight = torch.randn(5, 3, 4)
    quantised, codes, _ = part(z)
    (quantised * weight).sum().backward()
    assert torch.equal(z.grad, weight)
    assert torch.allclose(quantised, part.book[codes], atol=1e-6)
    distance = torch.cdist(z.detach().reshape(-1, 4), part.book)
    assert torch.equal(codes.flatten(), distance.argmin(1))


def test_commitment_pulls_z_to_its_code_and_the_book_gets_no_gradient() -> None:
    part = quantizer()
    z = torch.randn(6, 1, 4, requires_grad=True)
    _, codes, commitment = part(z)
    commitment.backward()
    assert torch.allclose(z.grad, 2 * (z - part.book[codes]).detach() / z.numel())
    assert not list(part.parameters())


def test_the_caption_loss_alone_reaches_the_encoder() -> None:
    model = tiny_model()
    model.loss(torch.randn(6, 12), model.tokens_of(KINDS)).backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in model.encoder.parameters())


def tiny_model() -> Codebook:
    torch.manual_seed(0)
    shape = CodebookShape(features=12, codes=16, positions=3, code_width=6, hidden=16, width=16, layers=1, max_words=5)
    return Codebook(shape, vocabulary_of(KINDS, 100, 1))


def test_moving_averages_bring_codes_to_the_means_of_what_they_take() -> None:
    values, truth = around_centres(0, 8, 512, width=6, spread=0.05)
    z, random = torch.from_numpy(values), torch.Generator().manual_seed(0)
    part = quantizer(0, 8, 6)
    part.start(z, random)
    for _ in range(600):
        part.update(z, part.nearest(z), random)
    codes = part.nearest(z).numpy()
    means = {code: values[codes == code].mean(0) for code in set(codes.tolist())}
    assert all(np.allclose(part.book[code].numpy(), mean, atol=0.02) for code, mean in means.items())
    assert len({(code, kind) for code, kind in zip(codes.tolist(), truth.tolist(), strict=True)}) <= 10


def test_dead_codes_are_revived_on_what_is_seen() -> None:
    part, random = quantizer(0, 16, 4), torch.Generator().manual_seed(0)
    part.book.fill_(100.0)  # all but one code are out of reach
    part.book[0] = 0
    z = torch.randn(256, 4)
    revived = sum(part.update(z, part.nearest(z), random) for _ in range(200))
    assert revived >= 15
    assert len(part.nearest(z).unique()) > 12


def test_perplexity_is_the_number_of_codes_used_alike() -> None:
    assert perplexity(torch.tensor([[0, 1], [2, 3]]), 8) == pytest.approx(4)
    assert perplexity(torch.zeros(9, dtype=torch.int64), 8) == pytest.approx(1)


def population(root: Path, seed: int = 0, rows: int = 600) -> tuple[Any, np.ndarray]:
    """Pictures around as many centres as there are kinds of caption, and their captions."""
    values, kind = around_centres(seed, len(KINDS), rows, width=24, spread=1.0)
    captions = {str(i): KINDS[k] for i, k in enumerate(kind)}
    return view_of(root, {"image_features.vector": vector_column(values)}, captions=captions, shards=2), kind


def fitted(root: Path, view: Any, **options: Any) -> tuple[dict[str, Any], Path]:
    folder = root / "model"
    component = FitCodebook(CodebookSettings(**(SMALL | {"steps": 120} | options)))
    return dict(component.fit(FitInputs(view), folder)), folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_than_half_the_codebook_is_used_and_its_codes_tell_what_captions_say(tmp_path: Path, seed: int) -> None:
    view, kind = population(tmp_path, seed)
    measured, folder = fitted(tmp_path, view, seed=seed)
    assert measured["perplexity"] > 0.5 * SMALL["codes"]
    assert measured["nats_per_word"] < 0.7 * measured["nats_per_word_shuffled"]
    written = captions_of(folder, view)
    assert np.mean([text == KINDS[k] for text, k in zip(written, kind, strict=True)]) > 0.9
    assert (folder / "figures" / "codes.svg").read_text().startswith("<?xml")


def batch_of(view: Any) -> PairBatch:
    rows = list(view.numpy("image_features.vector"))
    keys = [str(i) for i in range(len(rows))]
    sidecar = [{"captions": []} for _ in rows]
    return PairBatch(np.arange(len(rows)), keys, sidecar, columns={"image_features.vector": rows})


def captions_of(folder: Path, view: Any) -> list[str | None]:
    component = CodebookCaptioner(CodebookCaptionerSettings(model=resolve_model(str(folder))))
    component.setup("cpu")
    return [made.text if made else None for made in component.caption(batch_of(view))]


def test_the_same_pairs_give_the_same_bytes_and_a_folder_gives_back_its_model(tmp_path: Path) -> None:
    view, _ = population(tmp_path)
    (_, one), (_, two) = (fitted(tmp_path / name, view, steps=20) for name in ("a", "b"))
    files = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert {"config.json", "model.safetensors", "vocabulary.txt", "card.md", "figures/figures.json"} <= set(files)
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


class Killed(Exception):
    pass


@pytest.mark.slow
def test_killed_it_goes_on_from_its_checkpoints_to_the_same_bytes_and_never_from_another_fits(tmp_path: Path) -> None:
    view, _ = population(tmp_path)
    _, whole = fitted(tmp_path / "whole", view, steps=40)
    wish = CodebookSettings(**(SMALL | {"steps": 40, "checkpoint_every": 8}))
    inputs = FitInputs(view, extra={"checkpoints": tmp_path / "checkpoints"})
    seen: list[int] = []

    def killing(at: int) -> Any:
        def progress(step: int, *_: Any) -> None:
            seen.append(step)
            if step == at:
                raise Killed

        return progress

    for at in (19, 34):
        with pytest.raises(Killed):
            FitCodebook(wish).fit(inputs, tmp_path / "killed", killing(at))
    FitCodebook(wish).fit(inputs, tmp_path / "killed", killing(-1))
    assert seen == [*range(1, 20), *range(17, 35), *range(33, 41)]
    for name in ("model.safetensors", "card.md", "figures/codes.svg"):
        assert (whole / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    with pytest.raises(WorkspaceError, match="another run"):
        FitCodebook(wish.model_copy(update={"lr": 1e-3})).fit(inputs, tmp_path / "other")


@pytest.mark.slow
def test_codes_are_a_column_of_numbers_and_of_vectors(tmp_path: Path) -> None:
    view, kind = population(tmp_path)
    _, folder = fitted(tmp_path, view)
    scorer = CodebookCodes(CodebookCodesSettings(model=resolve_model(str(folder)), width=32))
    scorer.setup("cpu")
    made = scorer.score(batch_of(view))
    codes, vectors = np.array(made["codes"]), made["vector"].numpy()
    assert codes.shape == (600, 4)
    assert vectors.shape == (600, 32)
    assert codes.max() < 32
    book = load_codebook(folder).quantizer.book.half().numpy()
    assert np.array_equal(vectors.reshape(600, 4, 8), book[codes])
    assert scorer.schema()["vector"] == pa.list_(pa.float16(), 32)
    same = np.mean([(codes[kind == k] == codes[kind == k][0]).mean() for k in range(len(KINDS))])
    across = np.mean([(codes[kind != k] == codes[kind == k][0]).mean() for k in range(len(KINDS))])
    assert same > across + 0.15


def test_what_cannot_be_fitted_or_loaded_says_why(tmp_path: Path) -> None:
    view, _ = population(tmp_path, rows=600)
    with pytest.raises(ColumnError, match=r'0 pairs have image_features\.vector and a caption "keywords"'):
        fitted(tmp_path, view, source="keywords")
    _, folder = fitted(tmp_path, view, steps=2)
    wrong = CodebookCodes(CodebookCodesSettings(model=resolve_model(str(folder)), width=99))
    with pytest.raises(ModelError, match="set width: 32"):
        wrong.setup("cpu")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="is damaged"):
        load_codebook(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="is no codebook"):
        load_codebook(folder)
