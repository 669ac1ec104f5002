"""Reading metrics and log in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import globalLogPublisher

if TYPE_CHECKING:
    from prometheus_client import Counter
    from twisted.trial.unittest import SynchronousTestCase


def counted(counter: Counter, *labels: str) -> float:
    """The value of a counter or gauge with these labels."""
    child: Counter = counter.labels(*labels) if labels else counter
    return sum(s.value for metric in child.collect() for s in metric.samples if not s.name.endswith("_created"))


def collect_log(test: SynchronousTestCase) -> list[dict[str, Any]]:
    """The events that are logged from now until the test ends."""
    logged: list[dict[str, Any]] = []
    observer = logged.append
    globalLogPublisher.addObserver(observer)
    test.addCleanup(globalLogPublisher.removeObserver, observer)
    return logged
