"""Merges the metrics of several processes: each sample gets a label with the name of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

LABEL = "worker"


def plain(metrics: Iterable[Metric]) -> list[Any]:
    """Metrics as lists that JSON can carry: name, documentation, type and samples of each."""
    return [
        [each.name, each.documentation, each.type, [[name, labels, value] for name, labels, value, *_ in each.samples]]
        for each in metrics
    ]


class MergedMetrics:
    """Metric families to which processes are added, one after the other."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, whose: str, metrics: list[Any]) -> None:
        """Add the metrics of a process.

        Args:
            whose: the name of the process, which is the value of the label.
            metrics: from :func:`plain`.
        """
        for name, documentation, kind, samples in metrics:
            family = self._families.setdefault(name, Metric(name, documentation, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, {**labels, LABEL: whose}, value)

    def families(self) -> list[Metric]:
        """All families, each once."""
        return list(self._families.values())
