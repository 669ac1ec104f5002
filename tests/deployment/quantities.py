"""Quantities of Kubernetes."""

from __future__ import annotations

_UNITS = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


def quantity(text: str) -> float:
    """A quantity of Kubernetes, such as 250m or 768Mi, as a number."""
    unit = next((each for each in _UNITS if text.endswith(each)), "")
    return float(text.removesuffix(unit)) * _UNITS.get(unit, 1)
