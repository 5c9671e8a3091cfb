"""Components by name: ours, a plug-in's, and a clear word for what is not there."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from pairwright.components import plug_ins, registry
from pairwright.components.component import Requires, Scorer
from pairwright.components.errors import UnknownComponent
from pairwright.components.settings import Settings


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Only what the test registers."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(plug_ins, "_broken", {})
    monkeypatch.setattr(registry, "STAGE_PACKAGES", ())
    registry._ours.cache_clear()
    plug_ins.plug_ins.cache_clear()
    yield
    registry._ours.cache_clear()
    plug_ins.plug_ins.cache_clear()


def test_a_component_is_found_by_kind_and_name_and_by_name_alone():
    @registry.scorer("sharpness")
    class Sharpness(Scorer[Settings]):
        pass

    assert registry.component_class("scorer", "sharpness") is Sharpness
    assert registry.find("sharpness") is registry.find("scorer.sharpness") is Sharpness
    assert Sharpness.name == "sharpness"
    assert registry.registered() == {("scorer", "sharpness"): Sharpness}


def test_an_unknown_name_names_the_nearest_of_its_kind():
    @registry.scorer("sharpness")
    class Sharpness(Scorer[Settings]):
        pass

    with pytest.raises(UnknownComponent, match='no scorer is called "sharpnes"; did you mean "sharpness"'):
        registry.component_class("scorer", "sharpnes")
    with pytest.raises(UnknownComponent, match='no benchmark is called "sharpness"'):
        registry.component_class("benchmark", "sharpness")
    with pytest.raises(UnknownComponent, match='no component is called "sharp"'):
        registry.find("sharp")


def test_of_many_names_an_error_lists_none_but_says_who_does(monkeypatch):
    @registry.scorer("sharpness")
    class Sharpness(Scorer[Settings]):
        pass

    monkeypatch.setattr(registry, "MANY", 0)
    with pytest.raises(UnknownComponent, match=r"`pairwright components` lists those there are.*docs/extend.md"):
        registry.find("zzzzzzzzz")
    with pytest.raises(UnknownComponent, match='did you mean "sharpness"'):
        registry.find("sharpnes")


def test_two_components_of_one_name_are_refused():
    @registry.scorer("twice")
    class First(Scorer[Settings]):
        pass

    with pytest.raises(UnknownComponent, match="rename one"):

        @registry.scorer("twice")
        class Second(Scorer[Settings]):
            pass


def plug_in(tmp_path, monkeypatch, name: str, source: str) -> None:
    """A distribution with one module and one entry point, on the path."""
    (tmp_path / f"{name}_plug_in.py").write_text(source)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pairwright.components]\n{name} = {name}_plug_in\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, f"{name}_plug_in", raising=False)


THEIRS = (
    "from pairwright.components.component import Scorer\n"
    "from pairwright.components.registry import scorer\n"
    "from pairwright.components.settings import Settings\n"
    "@scorer('theirs')\n"
    "class Theirs(Scorer[Settings]):\n    pass\n"
)


def test_a_plug_in_adds_components_by_its_entry_point(tmp_path, monkeypatch):
    plug_in(tmp_path, monkeypatch, "theirs", THEIRS)
    assert [one.name for one in importlib.metadata.entry_points(group=plug_ins.COMPONENTS)] == ["theirs"]
    assert registry.find("theirs").__module__ == "theirs_plug_in"
    assert registry.known_names("scorer") == {"theirs"}


@pytest.mark.parametrize("source", ["import not_installed_here", "1 / 0", "raise SystemError('two\\nlines')", "def"])
def test_a_plug_in_that_does_not_import_is_named_and_left_out(tmp_path, monkeypatch, caplog, source):
    plug_in(tmp_path, monkeypatch, "broken", source)
    plug_in(tmp_path, monkeypatch, "sound", THEIRS)
    assert registry.find("theirs").__module__ == "sound_plug_in", "the others are not held up"
    assert list(plug_ins.broken_plug_ins()) == ["broken"]
    assert "plug-in broken (broken_plug_in) was left out" in caplog.text
    with pytest.raises(UnknownComponent, match=r"no scorer is called .* plug-in broken was left out"):
        registry.component_class("scorer", "thiers")


def test_every_component_of_ours_is_found_by_the_text_of_its_decorator(monkeypatch):
    monkeypatch.undo()
    registry._ours.cache_clear()
    found = registry.registered()
    assert set(registry._ours()) <= set(found)
    assert {key for key, cls in found.items() if cls.__module__.startswith("pairwright.")} == set(registry._ours())


def test_a_components_settings_are_found_through_its_base_classes():
    class Mine(Settings):
        x: int = 1

    class Base(Scorer[Mine]):
        pass

    class Derived(Base):
        pass

    assert Base.settings_model() is Mine
    assert Derived.settings_model() is Mine


def test_what_two_components_need_adds_up():
    both = Requires(pixels=224, captions=("source",)) + Requires(pixels=64, raw=True)
    assert both == Requires(pixels=224, captions=("source",), raw=True)


class Editable:
    """What an editable install adds to Python's finders: asked after the folders on the path."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.file) if name == self.name else None


def test_a_plug_in_is_found_from_the_folder_that_holds_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "folder_of_mine"
    project.mkdir()
    code = "from pairwright.components.component import Scorer\nfrom pairwright.components.registry import scorer\n"
    (project / "folder_of_mine.py").write_text(f'{code}@scorer("of_mine")\nclass OfMine(Scorer):\n    """Nothing."""\n')
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable("folder_of_mine", project / "folder_of_mine.py")])
    monkeypatch.syspath_prepend(str(tmp_path))  # where Ray's workers look first
    assert registry.load_class("scorer", "of_mine", "folder_of_mine").__name__ == "OfMine"
