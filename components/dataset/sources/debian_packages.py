"""Finding the demo corpus's Debian packages: installed, as .deb files, unpacked, or fetched by apt.

`Tree.share` is a `usr/share` folder that holds `tuxpaint/stamps`, `openclipart/png` and
`openclipart/svg`. Nothing is installed and no root is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pairwright.components.errors import DatasetError

PACKAGES = ("tuxpaint-stamps-default", "openclipart-png", "openclipart-svg")
PARTS = ("tuxpaint/stamps", "openclipart/png", "openclipart/svg")
REMEDY = (
    f"on Debian or Ubuntu run `apt-get install {' '.join(PACKAGES)}`, or name a folder that holds the three .deb files"
)


@dataclass(frozen=True)
class Tree:
    """Unpacked packages. Paths in `origin` columns are relative to `share`'s parent's parent (`/`)."""

    share: Path

    @property
    def stamps(self) -> Path:
        return self.share / PARTS[0]

    @property
    def drawings(self) -> Path:
        return self.share / PARTS[1]

    @property
    def metadata(self) -> Path:
        return self.share / PARTS[2]

    def origin(self, path: Path) -> str:
        """`usr/share/...`, wherever the tree lies on this machine."""
        return f"usr/share/{path.relative_to(self.share).as_posix()}"


def locate(packages: str | None) -> Tree:
    """The packages' tree: in `packages` (.deb files, or an unpacked tree), installed, or fetched by apt-get.

    Raises:
        DatasetError: they are not there and cannot be fetched.
    """
    if packages is None:
        return _unpacked(Path("/usr")) or _from_debs(_download())
    folder = Path(packages)
    if not folder.is_dir():
        raise DatasetError(f"{packages} is not a folder; name one with the three .deb files or the unpacked tree")
    return _unpacked(folder) or _from_debs(folder)


def _unpacked(folder: Path) -> Tree | None:
    for share in (folder, folder / "share", folder / "usr/share"):
        if all((share / part).is_dir() for part in PARTS):
            return Tree(share)
    return None


def _from_debs(folder: Path) -> Tree:
    debs = {name: sorted(folder.glob(f"{name}_*.deb")) for name in PACKAGES}
    missing = [name for name, found in debs.items() if not found]
    if missing:
        raise DatasetError(f"{folder} holds neither {' nor '.join(missing)}; {REMEDY}")
    chosen = [found[-1] for found in debs.values()]
    unpacked = _cache() / "-".join(deb.name.split("_")[1].replace("%3a", "_") for deb in chosen)
    done = unpacked / ".complete"
    if not done.exists():
        if shutil.which("dpkg-deb") is None:
            raise DatasetError("dpkg-deb is not installed, and .deb files cannot be unpacked without it; install dpkg")
        for deb in chosen:
            _run(["dpkg-deb", "-x", str(deb), str(unpacked)], f"{deb} cannot be unpacked")
        done.touch()
    tree = _unpacked(unpacked)
    if tree is None:
        raise DatasetError(f"{folder}: the packages do not hold {' and '.join(PARTS)}; {REMEDY}")
    return tree


def _download() -> Path:
    if shutil.which("apt-get") is None:
        raise DatasetError(f"the packages are not installed and there is no apt-get to fetch them; {REMEDY}")
    folder = _cache() / "debs"
    folder.mkdir(parents=True, exist_ok=True)
    if any(not list(folder.glob(f"{name}_*.deb")) for name in PACKAGES):
        _run(["apt-get", "download", *PACKAGES], "the packages are not installed and apt-get cannot fetch them", folder)
    return folder


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairwright" / "debian-clipart"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str], problem: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise DatasetError(f"{problem} ({reason}); {REMEDY}")
