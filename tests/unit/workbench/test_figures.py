"""Rates and times from the metrics of the process."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.observability.metrics import Metrics
from provider_gateway.workbench.figures import Figures


class FiguresTests(SynchronousTestCase):
    """A process with one queue, and another queue that other processes serve."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.metrics.model_state.labels("fib").set(1)
        self.waits = {"fib": 0.5}
        self.figures = Figures(self.metrics, ["fib", "other"], self.waits.get, self.clock)

    def answer(self, count: int = 1, route: str = "/v1/predict", method: str = "POST", code: int = 200) -> None:
        for _ in range(count):
            self.metrics.http_requests.labels(route, method, code).inc()
            self.metrics.http_request_seconds.labels(route).observe(0.2)

    def test_first_look(self) -> None:
        """Nothing is known of rates at the first look, however much was counted before."""
        self.answer(10)
        found = self.figures.now()
        self.assertEqual((None, None, None), (found.requests, found.failed, found.seconds))
        self.assertEqual(0, found.in_flight)

    def test_rates(self) -> None:
        """Rates are those since the look before, at most of the last 10 s or so."""
        self.figures.now()
        self.answer(10)
        self.answer(5, code=502)
        self.clock.advance(2)
        found = self.figures.now()
        self.assertEqual((7.5, 2.5), (found.requests, found.failed))
        self.assertAlmostEqual(0.2, found.seconds or 0)
        for _ in range(6):
            self.clock.advance(2)
            found = self.figures.now()
        self.assertEqual((0, 0, None), (found.requests, found.failed, found.seconds))

    def test_window(self) -> None:
        """A burst counts for 10 s, and then no more."""
        self.figures.now()
        self.answer(20)
        rates = []
        for _ in range(7):
            self.clock.advance(2)
            rates.append(self.figures.now().requests)
        self.assertEqual([10, 5, 20 / 6, 2.5, 2, 0, 0], rates)

    def test_looks_together(self) -> None:
        """Looks of several people at the same time do not leave a rate without time to measure."""
        self.figures.now()
        self.answer(10)
        self.clock.advance(2)
        self.assertEqual([5, 5, 5], [self.figures.now().requests for _ in range(3)])
        self.clock.advance(0.1)
        self.assertAlmostEqual(10 / 2.1, self.figures.now().requests or 0)

    def test_long_ago(self) -> None:
        """A look of long ago tells no rate of now."""
        self.figures.now()
        self.answer(10)
        self.clock.advance(61)
        self.assertIsNone(self.figures.now().requests)

    def test_what_counts(self) -> None:
        """Only what is sent to models counts: neither the page's own requests, nor questions, nor what is no route."""
        self.figures.now()
        for route, method in (
            ("/v1/parking/{queue}/replay", "POST"),
            ("/workbench/events", "GET"),
            ("/v1/requests/{id}", "GET"),
            ("/health", "GET"),
            ("other", "POST"),
            ("/v1/predict", "OPTIONS"),
        ):
            self.answer(5, route, method)
        self.answer(1, "/v1/publish", code=202)
        self.answer(1, "/my/path")
        self.clock.advance(1)
        self.assertEqual(2, self.figures.now().requests)

    def test_queue(self) -> None:
        """Of a queue that is served here, calls, failures and the time of a call are known."""
        self.figures.now()
        for result in ("ok", "ok", "rejected", "status", "timeout", "busy", "unfinished"):
            self.metrics.model_requests.labels("fib", result).inc()
            self.metrics.model_request_seconds.labels("fib").observe(3)
        self.metrics.deliveries_in_flight.labels("fib").set(4)
        self.metrics.model_concurrency.labels("fib").set(8)
        self.clock.advance(1)
        fib = self.figures.now().queues["fib"]
        self.assertEqual((7, 3, 2, 3), (fib.calls, fib.answered, fib.failures, fib.seconds))
        self.assertEqual((4, 8, 1, 0.5), (fib.running, fib.concurrency, fib.state, fib.wait))

    def test_elsewhere(self) -> None:
        """Of a queue that other processes serve nothing is known, which is not the same as none."""
        self.figures.now()
        self.clock.advance(1)
        other = self.figures.now().queues["other"]
        known = (other.calls, other.answered, other.failures, other.seconds, other.running, other.state, other.wait)
        self.assertEqual((None,) * 7, known)
