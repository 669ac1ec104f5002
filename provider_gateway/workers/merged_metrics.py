"""The metrics of several processes as one exposition: each sample with a label that tells whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

LABEL = "worker"


def plain(metrics: Iterable[Metric]) -> list[Any]:
    """Metrics as what JSON can carry."""
    return [
        [each.name, each.documentation, each.type, [[name, labels, value] for name, labels, value, *_ in each.samples]]
        for each in metrics
    ]


class MergedMetrics:
    """Families of metrics that grow, process by process."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, whose: str, metrics: list[Any]) -> None:
        """Add the metrics of a process.

        Args:
            whose: the value of the label.
            metrics: from :func:`plain`.
        """
        for name, documentation, kind, samples in metrics:
            family = self._families.setdefault(name, Metric(name, documentation, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, {**labels, LABEL: whose}, value)

    def families(self) -> list[Metric]:
        """All of them, each once."""
        return list(self._families.values())
