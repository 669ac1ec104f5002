"""Traces through a whole process in memory, and how the settings make them."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.app.tracing import Tracing, load_tracing
from provider_gateway.clocks import WALL_CLOCK
from provider_gateway.config.settings import Settings
from provider_gateway.errors import SettingsError
from provider_gateway.message.http_headers import headers_to_http
from provider_gateway.observability.metrics import Metrics
from tests.support.observability import collect_log
from tests.support.service import ServiceTestCase
from tests.support.spans import KeptSpans

CALLERS = f"00-{'a' * 32}-{'b' * 16}-01"


class TracedServiceTests(ServiceTestCase):
    """Spans of requests and messages."""

    def setUp(self) -> None:
        self.exporter: Any = KeptSpans()
        clock: Any = self  # of the test case, which makes it later
        self.tracing = Tracing(self.exporter.tracer(clock, self.wall_clock), self.exporter, clock)
        super().setUp()

    def seconds(self) -> float:
        return float(self.clock.seconds())

    def callLater(self, *call: Any) -> Any:  # noqa: N802 - Twisted's name
        return self.clock.callLater(*call)

    def names(self) -> list[str]:
        """The spans as a tree: depth, kind and name."""
        names: list[str] = self.exporter.names()
        return names

    def sent_context(self, number: int = -1) -> str:
        _, headers, _ = self.calls[number].request()
        return headers[b"traceparent"][0].decode()

    def test_request(self) -> None:
        """A request is one trace, below the caller's span: the model sees the span of its call."""
        client = self.post(b"[1]", "/v1/predict", f"traceparent: {CALLERS}", "tracestate: x=1")
        self.answer()
        self.assertEqual(self.answered(client).status, 200)
        expected = [
            "SERVER   POST /v1/predict",
            "   PRODUCER publish ML.MQ",
            "      CONSUMER process work",
            "         CLIENT   POST",
            "         PRODUCER publish reply",
        ]
        self.assertEqual(self.names(), expected)
        self.assertEqual({span.trace_id for span in self.exporter.spans}, {"a" * 32})
        by_kind = {span.kind: span for span in self.exporter.spans if "reply" not in span.name}
        server, producer, consumer, call = (by_kind[kind] for kind in ("SERVER", "PRODUCER", "CONSUMER", "CLIENT"))
        self.assertEqual((server.parent_id, server.state), ("b" * 16, "x=1"))
        self.assertEqual(consumer.links, (producer.span_id,))
        self.assertEqual(self.sent_context(), f"00-{'a' * 32}-{call.span_id}-01")
        self.assertEqual(server.attributes["http.response.status_code"], 200)
        self.assertEqual(producer.attributes["messaging.destination.name"], "ML.MQ:predict.now")
        self.assertEqual(consumer.attributes["provider_gateway.attempt"], 1)
        self.assertNotIn("provider_gateway.redelivered", consumer.attributes)
        self.assertEqual(call.attributes["url.full"], "http://127.0.0.1:8080/predict")
        self.assertEqual(call.attributes["http.response.status_code"], 200)

    def test_retry_and_parking(self) -> None:
        """Each attempt has its spans below the publish of its copy. The last one ends in the parking queue."""
        log = collect_log(self)
        client = self.post()
        for _ in range(3):
            self.answer(500, b"boom")
            self.advance(60)
        answer = self.answered(client)
        self.assertEqual(answer.status, 502)
        attempts = [
            "PRODUCER publish ML.MQ",
            "CONSUMER process work",
            "CLIENT   POST",
            "PRODUCER publish work.retry",
            "CONSUMER process work",
            "CLIENT   POST",
            "PRODUCER publish reply",  # 90 s are over before the third attempt
            "PRODUCER publish work.retry",
            "CONSUMER process work",
            "CLIENT   POST",
            "PRODUCER publish work.parking",
        ]
        self.assertEqual([name.strip() for name in self.names()], ["SERVER   POST /v1/predict", *attempts])
        calls = [span for span in self.exporter.spans if span.kind == "CLIENT"]
        self.assertEqual({span.error for span in calls}, {"The model answered with HTTP status 500."})
        (trace_id,) = {span.trace_id for span in self.exporter.spans}
        self.assertIn(f'"trace_id": "{trace_id}"', answer.body.decode())
        told = {event.get("trace_id") for event in log if event.get("rquid") == "r1"}
        self.assertEqual(told, {trace_id})

    def test_reply_to_keep(self) -> None:
        """A reply that may be stored tells of its span, in a header that never becomes one of an HTTP response."""
        self.make_queue("ML.MQ.results")
        for results in (None, "back"):
            self.ask(headers={"traceparent": CALLERS, **({"pg-results": results} if results else {})})
            self.answer()
            (reply,) = self.take("back")
            told = reply.headers.get("pg-traceparent")
            published = self.exporter.spans[-2] if "reply" in self.exporter.spans[-2].name else self.exporter.spans[-1]
            self.assertEqual(told, f"00-{'a' * 32}-{published.span_id}-01" if results else None)
            self.assertEqual(headers_to_http(reply.headers), {})

    def test_lost_reply(self) -> None:
        """The publish of a reply that no queue takes ends with that error."""
        self.ask(reply_to="ML.MQ.nobody")
        self.answer()
        (reply,) = (span for span in self.exporter.spans if span.name == "publish reply")
        self.assertEqual(reply.attributes["error.type"], "no-route")
        self.assertIn("ML.MQ.nobody", reply.error)

    def test_redelivered(self) -> None:
        """A message that comes back from a process that died has another span, which tells so."""
        self.ask()
        self.break_connections()
        self.is_up = False
        self.service.stopService()
        self.advance(60)
        self.is_up = True
        self.begin()
        self.answer()
        told = [each.attributes.get("provider_gateway.redelivered") for each in self.exporter.spans]
        self.assertIn(True, told)

    def test_redelivered_in_work(self) -> None:
        """A message that comes back while its model is called is served once: its span goes on, and tells so."""
        self.ask()
        self.break_connections()
        self.advance(60)
        self.answer()
        (consumer,) = (each for each in self.exporter.spans if each.kind == "CONSUMER")
        self.assertIs(consumer.attributes["provider_gateway.redelivered"], True)
        self.assertEqual([each.kind for each in self.exporter.spans].count("CLIENT"), 1)

    def test_initiator(self) -> None:
        """A message of an initiator continues its trace; without one, a new trace begins."""
        self.ask(headers={"traceparent": CALLERS})
        self.answer()
        self.ask(message_id="m2")
        self.answer()
        first, second = (span for span in self.exporter.spans if span.kind == "CONSUMER")
        self.assertEqual((first.trace_id, first.parent_id), ("a" * 32, "b" * 16))
        self.assertEqual((second.parent_id, second.links), ("", ()))
        self.assertNotEqual(second.trace_id, first.trace_id)

    def test_not_sampled(self) -> None:
        """What the caller does not record is not recorded, and the model is told so."""
        client = self.post(b"[1]", "/v1/predict", f"traceparent: {CALLERS[:-2]}00")
        self.answer()
        self.assertEqual((self.answered(client).status, self.exporter.spans), (200, []))
        self.assertRegex(self.sent_context(), f"^00-{'a' * 32}-(?!{'b' * 16})[0-9a-f]{{16}}-00$")

    def test_refused(self) -> None:
        """A request that is refused has a span, too; only a status of 5xx is an error of the server."""
        client = self.post(b"[1")
        self.assertEqual(self.answered(client).status, 422)
        (span,) = self.exporter.spans
        self.assertEqual((span.attributes["http.response.status_code"], span.error), (422, None))

    def test_clock_set_back(self) -> None:
        """A wall clock that is set back makes no span end before its begin."""
        client = self.post()
        self.ahead -= 3600
        self.advance(1)
        self.answer()
        self.answered(client)
        self.assertTrue(all(span.ended >= span.began for span in self.exporter.spans))
        (call,) = [span for span in self.exporter.spans if span.kind == "CLIENT"]
        self.assertEqual(call.ended - call.began, 1_000_000_000)


class UntracedServiceTests(ServiceTestCase):
    """Without traces."""

    def test_passed_through(self) -> None:
        """The caller's context reaches the model as it is."""
        self.post(b"[1]", "/v1/predict", f"traceparent: {CALLERS}", "tracestate: x=1")
        _, headers, _ = self.calls[0].request()
        self.assertEqual((headers[b"traceparent"], headers[b"tracestate"]), ([CALLERS.encode()], [b"x=1"]))


class LoadTests(SynchronousTestCase):
    """What settings make of it."""

    def load(self, **values: Any) -> Tracing | None:
        settings = Settings(_env_file=None, rmq_url="amqp://localhost", **values)
        return load_tracing(Clock(), settings, Metrics(), WALL_CLOCK)

    def test_off(self) -> None:
        """Without an endpoint, or with the SDK disabled, there are no traces."""
        endpoint = {"otel_exporter_otlp_endpoint": "http://collector:4318"}
        self.assertIsNone(self.load())
        self.assertIsNone(self.load(**endpoint, otel_sdk_disabled=True))
        self.assertIsNone(self.load(**endpoint, otel_traces_exporter="none"))
        self.assertIsNotNone(self.load(**endpoint))

    def test_missing_file(self) -> None:
        """A file that cannot be read is named with its variable."""
        error = self.assertRaises(
            SettingsError,
            self.load,
            otel_exporter_otlp_endpoint="https://collector",
            OTEL_EXPORTER_OTLP_CERTIFICATE="/nowhere.pem",
        )
        self.assertIn("OTEL_EXPORTER_OTLP_CERTIFICATE", str(error))
