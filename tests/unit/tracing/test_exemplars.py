"""Which spans become exemplars."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.tracing.exemplars import Exemplars
from provider_gateway.tracing.span import Span, Unrecorded


class ExemplarTests(SynchronousTestCase):
    """A histogram with buckets up to 1 and 2."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.exemplars = Exemplars((1, 2), self.clock)
        records: Any = None
        self.span = Span(records, "a" * 32, b"", None, 0.0, 0.0, "", None, ())

    def test_one_a_second(self) -> None:
        """Each bucket gets one a second, however many values it gets: also the last one, of the slowest."""
        told = {"trace_id": "a" * 32, "span_id": self.span.id.hex()}
        for value in (0.5, 1, 1.5, 7.0):
            found = self.exemplars.of(value, self.span)
            self.assertEqual(found, None if value == 1 else told, value)
        self.clock.advance(0.9)
        self.assertIsNone(self.exemplars.of(7.0, self.span))
        self.clock.advance(0.1)
        self.assertEqual(self.exemplars.of(7.0, self.span), told)

    def test_not_recorded(self) -> None:
        """A span that is not recorded cannot be looked up, and takes no turn from one that can."""
        self.assertIsNone(self.exemplars.of(0.5, Unrecorded("b" * 32, "")))
        self.assertIsNotNone(self.exemplars.of(0.5, self.span))
