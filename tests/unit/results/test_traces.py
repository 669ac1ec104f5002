"""The spans of replies that are stored."""

from __future__ import annotations

from provider_gateway.tracing.span import Span
from tests.support.spans import CALLERS, TracedTestCase
from tests.unit.results.base import QUEUE, ResultsTestCase


class TraceTests(TracedTestCase, ResultsTestCase):
    """Replies whose publish was a step of a trace."""

    def test_stored(self) -> None:
        """A reply's span lasts from its delivery to its acknowledgement, below its publish; its webhook is a part."""
        id_ = self.pending(webhook="hook").id
        self.store.slow = {"finish"}
        self.reply(id_, pg_traceparent=CALLERS + "01")
        self.clock.advance(2)
        self.assertEqual(self.kept.spans, [])
        self.store.catch_up()
        self.pump()
        (span,) = self.kept.spans
        self.assertEqual((span.kind, span.name), ("CONSUMER", f"process {QUEUE}"))
        self.assertEqual((span.trace_id, span.parent_id, span.links), ("a" * 32, "b" * 16, ("b" * 16,)))
        self.assertEqual(span.ended - span.began, 2_000_000_000)
        self.assertEqual(span.attributes["messaging.message.conversation_id"], id_)
        (told,) = self.one.webhooks.spans
        assert isinstance(told, Span)
        self.assertEqual(told.id.hex(), span.span_id)

    def test_dropped(self) -> None:
        """A reply to an unknown request, and one without an id, have a span, too."""
        self.reply("f" * 32, pg_traceparent=CALLERS + "01")
        self.reply("")
        self.assertEqual([span.trace_id == "a" * 32 for span in self.kept.spans], [True, False])

    def test_not_recorded(self) -> None:
        """A trace that is not recorded has no span here either."""
        self.reply(self.pending(webhook="hook").id, pg_traceparent=CALLERS + "00")
        self.assertEqual(self.kept.spans, [])
        self.assertEqual([span.is_sampled for span in self.one.webhooks.spans if span is not None], [False])
