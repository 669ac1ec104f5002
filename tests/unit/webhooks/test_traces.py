"""The spans of webhooks: publish, delivery and call of each try. The test is the endpoints."""

from __future__ import annotations

from provider_gateway.tracing.context import parse_context
from provider_gateway.tracing.otlp import SpanTemplate
from provider_gateway.tracing.span import Kind, Span
from provider_gateway.webhooks.endpoint_client import Result
from tests.support.spans import CALLERS, TracedTestCase
from tests.unit.webhooks.base import record
from tests.unit.webhooks.fake_client import QUEUE, WebhooksTestCase


class TraceTests(TracedTestCase, WebhooksTestCase):
    """Webhooks of records that became final within a trace."""

    def tell_within(self, flags: str) -> None:
        """Publish a webhook because of a reply of this trace."""
        assert self.tracer is not None
        span = self.tracer.entered(parse_context(CALLERS + flags))
        if isinstance(span, Span):
            span.template = SpanTemplate(Kind.CONSUMER, "process results", {})
        publishing = self.webhooks.publish(record("c1"), span)
        self.pump()
        span.end()
        self.successResultOf(publishing)

    def told(self) -> dict[str, str]:
        """What the newest call tells its endpoint of the trace."""
        return dict(self.calls[-1][1].told)

    def test_tries(self) -> None:
        """Each try is a child of the publish that it came from; the endpoint is told of the call."""
        self.tell_within("01")
        told = [self.told()]
        self.answer(Result.STATUS, status=500)
        self.advance(6)
        told.append(self.told())
        self.answer(status=204)
        expected = [
            "CONSUMER process results",
            f"   PRODUCER publish {QUEUE}",
            f"      CONSUMER process {QUEUE}",
            "         CLIENT   POST",
            f"         PRODUCER publish {QUEUE}.retry.5s",
            f"            CONSUMER process {QUEUE}",
            "               CLIENT   POST",
        ]
        self.assertEqual(self.kept.names(), expected)
        failed, delivered = (span for span in self.kept.spans if span.kind == "CLIENT")
        self.assertEqual(told, [{"traceparent": f"00-{'a' * 32}-{each.span_id}-01"} for each in (failed, delivered)])
        statuses = [each.attributes["http.response.status_code"] for each in (failed, delivered)]
        self.assertEqual((statuses, failed.error, delivered.error), ([500, 204], "it was status", None))
        self.assertEqual(failed.attributes["error.type"], "status")
        self.assertEqual(failed.attributes["url.full"], str(self.endpoints["done a"].url))

    def test_no_answer(self) -> None:
        """A call without an answer has no status, and an error; a parked webhook has a span of its publish."""
        self.tell_within("01")
        self.answer(Result.TIMEOUT)
        call = next(span for span in self.kept.spans if span.kind == "CLIENT")
        self.assertNotIn("http.response.status_code", call.attributes)
        self.assertEqual((call.error, call.attributes["error.type"]), ("it was timeout", "timeout"))
        self.advance(6)
        self.answer(Result.GONE, status=410)
        self.assertIn(f"publish {QUEUE}.parking", [span.name for span in self.kept.spans])

    def test_cancelled(self) -> None:
        """A call that the end of the process cuts off is told of as such."""
        self.tell_within("01")
        self.webhooks._dispatcher.cancel()
        call = next(span for span in self.kept.spans if span.kind == "CLIENT")
        self.assertEqual(call.attributes["error.type"], "CancelledError")

    def test_not_recorded(self) -> None:
        """A trace that is not recorded has no spans here either, and the endpoint is told so."""
        self.tell_within("00")
        self.assertRegex(self.told()["traceparent"], f"^00-{'a' * 32}-[0-9a-f]{{16}}-00$")
        self.answer()
        self.assertEqual(self.kept.spans, [])
