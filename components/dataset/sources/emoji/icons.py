"""Icon sets as Iconify packs them: one artist's drawings by name, and which characters each is of.

    icons = IconSet.read(STYLES["noto"], files)
    svg = icons.svg("1f600")

`icons.json` (format: https://iconify.design/docs/types/iconify-json.html) holds bodies of SVG, `chars.json` names by
code points. An alias is another icon turned or mirrored; a hidden icon was withdrawn and is kept for old pages only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairwright.components.dataset.sources.emoji.concepts import characters
from pairwright.components.dataset.sources.emoji.npm_packages import NpmPackage
from pairwright.components.errors import DatasetError

FILES = ("package.json", "icons.json", "chars.json")
DEEPEST = 5  # aliases of aliases, as Iconify's own readers follow them
SIDE = 16  # Iconify's default, in units of the drawing
XLINK = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@dataclass(frozen=True)
class Style:
    """One artist's set: its package, its licence (SPDX) and who drew it."""

    name: str
    package: NpmPackage
    licence: str
    author: str


STYLES = {
    style.name: style
    for style in (
        Style(
            "noto",
            NpmPackage(
                "@iconify-json/noto",
                "1.2.9",
                "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
            ),
            "Apache-2.0",
            "Google (Noto Emoji)",
        ),
        Style(
            "openmoji",
            NpmPackage(
                "@iconify-json/openmoji",
                "1.2.29",
                "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
            ),
            "CC-BY-SA-4.0",
            "OpenMoji (HfG Schwäbisch Gmünd)",
        ),
        Style(
            "twemoji",
            NpmPackage(
                "@iconify-json/twemoji",
                "1.2.5",
                "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
            ),
            "CC-BY-4.0",
            "Twitter and contributors (Twemoji)",
        ),
        Style(
            "fluent",
            NpmPackage(
                "@iconify-json/fluent-emoji-flat",
                "1.2.6",
                "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
            ),
            "MIT",
            "Microsoft (Fluent Emoji)",
        ),
    )
}


class NoIcon(ValueError):
    """There is no picture to draw, and why."""


@dataclass(frozen=True)
class IconSet:
    """A style's icons, and their names by bare characters."""

    style: Style
    names: dict[str, str]
    icons: Mapping[str, Any]
    aliases: Mapping[str, Any]
    width: float
    height: float

    @classmethod
    def read(cls, style: Style, packages: str | None) -> IconSet:
        """The set of a style, from `packages` or by npm (`NpmPackage.files`).

        Raises:
            DatasetError: the package is not there, is not the pinned one, or holds no such set.
        """
        files = style.package.files(packages, FILES)
        tables = {}
        for name in FILES:
            try:
                tables[name] = json.loads(files[name])
            except ValueError as error:
                raise DatasetError(
                    f"{style.package.name}: {name} is no JSON ({error}); fetch the package again"
                ) from None
            if not isinstance(tables[name], dict):
                raise DatasetError(f"{style.package.name}: {name} is no JSON object; fetch the package again")
        if tables["package.json"].get("version") != style.package.version:
            raise DatasetError(f"{style.package.name} is not {style.package.version}; {style.package.remedy}")
        icons = tables["icons.json"]
        return cls(
            style,
            _by_characters(tables["chars.json"]),
            icons.get("icons", {}),
            icons.get("aliases", {}),
            icons.get("width", SIDE),
            icons.get("height", SIDE),
        )

    def svg(self, name: str) -> str:
        """The icon as an SVG document.

        Raises:
            NoIcon: it is hidden, not there, an alias of nothing, or has no body.
        """
        icon, turns = self._resolved(name)
        if icon.get("hidden"):
            raise NoIcon("hidden: withdrawn by the artist")
        if not icon.get("body"):
            raise NoIcon("empty: the icon has no body")
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = icon.get("width", self.width), icon.get("height", self.height)
        middle = (left + width / 2, top + height / 2)
        body = icon["body"]
        for turn in (icon, *turns):
            body = _turned(body, turn, middle)
        # What is not square gets room on both sides, so that every picture is.
        side = max(width, height)
        box = f"{middle[0] - side / 2:g} {middle[1] - side / 2:g} {side:g} {side:g}"
        return f'<svg {XLINK} width="{side:g}" height="{side:g}" viewBox="{box}">{body}</svg>'

    def _resolved(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The icon an alias leads to with what the aliases say in its place, and their turns, the innermost first."""
        turns: list[dict[str, Any]] = []
        said: dict[str, Any] = {}
        for _ in range(DEEPEST):
            if name in self.icons:
                return {**self.icons[name], **said}, turns[::-1]
            if name not in self.aliases:
                raise NoIcon(
                    f"missing: no icon and no alias is called {name}" + (", an alias's parent" if turns else "")
                )
            alias = self.aliases[name]
            turns.append(alias)
            kept = ("hidden", "left", "top", "width", "height")
            said = {key: alias[key] for key in kept if key in alias} | said
            name = alias.get("parent", "")
        raise NoIcon("alias: its parents go in a circle, or too deep")


def _by_characters(chars: Mapping[str, Any]) -> dict[str, str]:
    """Names by bare characters; what is no list of code points is passed over. The first of two names stays."""
    found: dict[str, str] = {}
    for codes, name in chars.items():
        try:
            found.setdefault(characters(codes), str(name))
        except (ValueError, OverflowError):
            continue
    return found


def _turned(body: str, turn: Mapping[str, Any], middle: tuple[float, float]) -> str:
    """A body under Iconify's `hFlip`, `vFlip` and then `rotate` (quarters, clockwise) about the icon's middle."""
    if not (turn.get("hFlip") or turn.get("vFlip") or turn.get("rotate")):
        return body
    x, y = middle
    flips = f"scale({-1 if turn.get('hFlip') else 1} {-1 if turn.get('vFlip') else 1})"
    place = f"translate({x:g} {y:g}) rotate({90 * turn.get('rotate', 0)}) {flips} translate({-x:g} {-y:g})"
    return f'<g transform="{place}">{body}</g>'
