"""An environment for packages that are asked what they say and must not be installed here."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path


def environment(folder: Path, packages: Sequence[str], alone: Sequence[str] = ()) -> Path:
    """The Python of a new environment that holds these packages and sees what is installed here.

    Args:
        alone: packages that are installed without what they ask for.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    (Path(site.stdout.strip()) / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if alone:
        subprocess.run([*pip, "--no-deps", *alone], check=True)
    if packages:
        subprocess.run([*pip, *packages], check=True)
    return python
