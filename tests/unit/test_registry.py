"""Components by name: ours, a plug-in's, and a clear word for what is not there."""

from __future__ import annotations

import importlib.metadata

import pytest

from components import registry
from components.component import Requires, Scorer
from components.errors import UnknownComponent
from components.settings import Settings


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_discovered", True)  # only what the test registers


def test_a_component_is_found_by_kind_and_name_and_by_name_alone():
    @registry.scorer("sharpness")
    class Sharpness(Scorer[Settings]):
        pass

    assert registry.component_class("scorer", "sharpness") is Sharpness
    assert registry.find("sharpness") is Sharpness
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


def test_two_components_of_one_name_are_refused():
    @registry.scorer("twice")
    class First(Scorer[Settings]):
        pass

    with pytest.raises(UnknownComponent, match="rename one"):

        @registry.scorer("twice")
        class Second(Scorer[Settings]):
            pass


def test_a_plug_in_adds_components_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "thirdparty.py").write_text(
        "from components.component import Scorer\n"
        "from components.registry import scorer\n"
        "from components.settings import Settings\n"
        "@scorer('theirs')\n"
        "class Theirs(Scorer[Settings]):\n    pass\n"
    )
    info = tmp_path / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pairwright.components]\ntheirs = thirdparty\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_discovered", False)
    monkeypatch.setattr(registry, "STAGE_PACKAGES", ())
    assert [one.name for one in importlib.metadata.entry_points(group=registry.ENTRY_POINT_GROUP)] == ["theirs"]
    assert registry.find("theirs").__module__ == "thirdparty"


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
