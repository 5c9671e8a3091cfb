"""Composed scenes: pictures made of other pictures, about which everything is known."""
