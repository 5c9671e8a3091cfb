"""Finding Debian packages: installed, as .deb files, unpacked, or fetched by apt-get.

    Packages(("unicode-data",), ("unicode/emoji",), "unicode-data").share(None)       # .../usr/share

Nothing is installed and no root is needed. The demo corpus's own are `locate`d as a `Tree`, whose `share`
holds `tuxpaint/stamps`, `openclipart/png` and `openclipart/svg`.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pairwright.components.environment import cache_folder
from pairwright.components.errors import DatasetError

PACKAGES = ("tuxpaint-stamps-default", "openclipart-png", "openclipart-svg")
PARTS = ("tuxpaint/stamps", "openclipart/png", "openclipart/svg")


@dataclass(frozen=True)
class Packages:
    """Debian packages that are read together.

    Attributes:
        names: the packages'.
        parts: folders below `usr/share` that they hold, by which an unpacked tree is recognised.
        cache: the folder's name below the user's cache, where they are kept once fetched.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    cache: str

    @property
    def remedy(self) -> str:
        named = " ".join(self.names)
        return f"on Debian or Ubuntu run `apt-get install {named}`, or name a folder that holds their .deb files"

    def share(self, folder: str | None) -> Path:
        """The `usr/share` that holds `parts`: in `folder` (.deb files, or an unpacked tree), installed, or fetched.

        Raises:
            DatasetError: they are not there and cannot be fetched.
        """
        if folder is None:
            return self._unpacked(Path("/usr")) or self._from_debs(self._download())
        if not Path(folder).is_dir():
            raise DatasetError(f"{folder} is not a folder; name one with the .deb files or the unpacked tree")
        return self._unpacked(Path(folder)) or self._from_debs(Path(folder))

    def _unpacked(self, folder: Path) -> Path | None:
        for share in (folder, folder / "share", folder / "usr/share"):
            if all((share / part).exists() for part in self.parts):
                return share
        return None

    def _from_debs(self, folder: Path) -> Path:
        debs = {name: sorted(folder.glob(f"{name}_*.deb")) for name in self.names}
        missing = [name for name, found in debs.items() if not found]
        if missing:
            raise DatasetError(f"{folder} holds neither {' nor '.join(missing)}; {self.remedy}")
        chosen = [found[-1] for found in debs.values()]
        unpacked = self._cache() / "-".join(deb.name.split("_")[1].replace("%3a", "_") for deb in chosen)
        done = unpacked / ".complete"
        if not done.exists():
            if shutil.which("dpkg-deb") is None:
                raise DatasetError(
                    "dpkg-deb is not installed, and .deb files cannot be unpacked without it; install dpkg"
                )
            for deb in chosen:
                self._run(["dpkg-deb", "-x", str(deb), str(unpacked)], f"{deb} cannot be unpacked")
            done.touch()
        share = self._unpacked(unpacked)
        if share is None:
            raise DatasetError(f"{folder}: the packages do not hold {' and '.join(self.parts)}; {self.remedy}")
        return share

    def _download(self) -> Path:
        if shutil.which("apt-get") is None:
            raise DatasetError(f"the packages are not installed and there is no apt-get to fetch them; {self.remedy}")
        folder = self._cache() / "debs"
        folder.mkdir(parents=True, exist_ok=True)
        if any(not list(folder.glob(f"{name}_*.deb")) for name in self.names):
            problem = "the packages are not installed and apt-get cannot fetch them"
            self._run(["apt-get", "download", *self.names], problem, folder)
        return folder

    def _cache(self) -> Path:
        folder = cache_folder() / self.cache
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _run(self, command: list[str], problem: str, cwd: Path | None = None) -> None:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise DatasetError(f"{problem} ({reason}); {self.remedy}")


@dataclass(frozen=True)
class Tree:
    """The demo corpus's packages, unpacked. Paths in `origin` columns are relative to `share`'s grandparent (`/`)."""

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
    """The demo corpus's tree: in `packages` (.deb files, or an unpacked tree), installed, or fetched by apt-get.

    Raises:
        DatasetError: they are not there and cannot be fetched.
    """
    return Tree(Packages(PACKAGES, PARTS, "debian-clipart").share(packages))
