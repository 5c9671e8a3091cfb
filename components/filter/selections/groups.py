"""Groups of pairs as integer labels; see components/dataset/groups.py, which other stages share."""

from pairwright.components.dataset.groups import ALONE, components_of, joined, labels_of, merged

__all__ = ["ALONE", "components_of", "joined", "labels_of", "merged"]
