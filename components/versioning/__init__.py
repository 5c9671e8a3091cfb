"""Versions of data: the pinned corpora and a workspace's curated datasets. Only this room imports dvc."""

from pairwright.components.versioning.curated import CuratedVersions, Version
from pairwright.components.versioning.pinned import data_version, pull_data, pulled_together

__all__ = ["CuratedVersions", "Version", "data_version", "pull_data", "pulled_together"]
