"""References to (folder, weights' hash)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import builtins, feature_width, hash_folder, resolve_model
from pairwright.components.settings import ModelFolder


def test_every_builtin_resolves_to_a_hash_that_stays() -> None:
    found = [resolve_model(f"builtin:{name}") for name in builtins()]
    assert len({model.weights for model in found}) == len(builtins())
    assert all(model.resolved for model in found)
    assert found == [resolve_model(f"builtin:{name}") for name in builtins()]


def test_a_builtins_width_is_what_its_tower_gives() -> None:
    from pairwright.components.models.towers.shared_towers import load_tower

    for name in builtins():
        model = resolve_model(f"builtin:{name}")
        assert feature_width(model) == load_tower(model).width


def test_resolving_imports_no_torch() -> None:
    code = (
        "import sys; from pairwright.components.models.resolve import resolve_model, builtins\n"
        "[resolve_model('builtin:' + name) for name in builtins()]\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys(), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_folder_is_named_by_its_bytes_and_not_by_its_card(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 7}')
    first = resolve_model(str(tmp_path))
    (tmp_path / "card.md").write_text("prose")
    assert resolve_model(str(tmp_path)).weights == first.weights
    assert feature_width(first) == 7
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    os.utime(tmp_path / "config.json", ns=(1, 1))
    assert hash_folder(tmp_path) != first.weights


def test_the_registry_is_asked_through_the_callback(tmp_path: Path) -> None:
    asked: list[str] = []

    def registry(reference: str) -> tuple[str, str]:
        asked.append(reference)
        return str(tmp_path), "abc"

    assert resolve_model("models:/x@champion", registry) == ModelFolder(
        reference="models:/x@champion", path=str(tmp_path), weights="abc"
    )
    assert asked == ["models:/x@champion"]
    with pytest.raises(ModelError, match="no registry"):
        resolve_model("models:/x@champion")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("builtin:minilmm", 'did you mean "minilm"'),
        ("./nowhere", "no folder"),
        ("openai/no-such-model-here", "PAIRWRIGHT_ONLINE=1"),
    ],
)
def test_what_does_not_resolve_is_one_line_with_a_remedy(reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        resolve_model(reference)
    assert "\n" not in str(caught.value)
