"""Versions of data: the pinned demo corpus and a workspace's curated datasets. Only this room imports dvc."""

from pairwright.components.versioning.curated import CuratedVersions, Version
from pairwright.components.versioning.pinned import data_version, pull_data

__all__ = ["CuratedVersions", "Version", "data_version", "pull_data"]
