"""SVG as PNG, by resvg, the same bytes on every machine.

rasterise(text='<svg ...>', width=96)                      # transparent where nothing is drawn
rasterise(path=Path("house.svg"), width=448, background="white")
"""

from __future__ import annotations

from pathlib import Path

from pairwright.components.errors import MissingDependency


def rasterise(*, width: int, text: str | None = None, path: Path | None = None, background: str | None = None) -> bytes:
    """An SVG, given as text or as a file, as PNG of `width` px, without the machine's fonts, which differ.

    Raises:
        ValueError: it cannot be drawn.
        MissingDependency: resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError:
        raise MissingDependency("SVG pictures need resvg-py; `pip install resvg-py`") from None
    which = {"svg_string": text} if path is None else {"svg_path": str(path)}
    return bytes(resvg_py.svg_to_bytes(**which, width=width, skip_system_fonts=True, background=background))
