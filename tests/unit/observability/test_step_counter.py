"""The counter that takes its steps into account when somebody asks."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.step_counter import StepCounter


class StepCounterTests(SynchronousTestCase):
    """What a registry says of it."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def test_series(self) -> None:
        """Each series has all of its steps, asked once or twice, and those that were made after the question."""
        counter = StepCounter("calls", "Calls", ("result",), registry=self.registry)
        good, bad = counter.labels("good"), counter.labels(result="bad")
        self.assertEqual((0, 0), (self.value("calls_total", result="good"), self.value("calls_total", result="bad")))
        for _ in range(3):
            good.inc()
        bad.inc(5)
        for _ in range(2):
            self.assertEqual(3, self.value("calls_total", result="good"))
            self.assertEqual(5, self.value("calls_total", result="bad"))
        counter.labels("good").inc()
        self.assertEqual(4, self.value("calls_total", result="good"))

    def test_without_labels(self) -> None:
        """A counter without labels counts likewise."""
        counter = StepCounter("calls", "Calls", registry=self.registry)
        counter.inc()
        counter.inc()
        self.assertEqual(2, self.value("calls_total"))
