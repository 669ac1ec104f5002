"""One connected trace over gateway, RabbitMQ, provider and model, as an OTLP collector sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from devtools.otlp_receiver import Receiver, tree
from tests.support.integration import IntegrationTestCase

if TYPE_CHECKING:
    from devtools.otlp_receiver import ReceivedSpan

CALLERS = f"00-{'a' * 32}-{'b' * 16}-01"


class TraceTests(IntegrationTestCase):
    """Gateway and provider are processes of their own, and send their spans to the test."""

    async def setUp(self) -> None:
        await super().setUp()
        self.receiver = Receiver()
        port: Any = self.receiver.listen(reactor)
        self.addCleanup(port.stopListening)
        self.variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port.getHost().port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k%20ey",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    async def begin(self, **keys: Any) -> Any:
        """Start both processes; returns the gateway."""
        self.entries = entries = [self.entry(dle=True, maxAttempts=2, retryDelay=200, **keys)]
        names = {"OTEL_SERVICE_NAME": "the-provider", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
        self.provider = self.start("--role", "provider", entries=entries, **self.variables, **names)
        gateway = self.start("--role", "gateway", entries=entries, **self.variables)
        await self.provider.ready()
        return await gateway.ready()

    async def spans(self, count: int) -> list[ReceivedSpan]:
        """Wait for so many spans."""
        enough: Deferred[None] = Deferred()

        def received(_: object) -> None:
            if len(self.receiver.spans) >= count and not enough.called:
                enough.callback(None)

        self.receiver.on_spans = received
        received(None)
        await enough
        return self.receiver.spans

    def shape(self) -> list[tuple[int, str]]:
        """Depth and name of each span."""
        lines = tree(self.receiver.spans).replace(self.queue, "Q").replace(self.exchange, "X").split("\n")
        return [((len(line) - len(line.lstrip())) // 3, line.strip().partition("  [")[0]) for line in lines]

    async def test_retry_and_parking(self) -> None:
        """A request whose model fails twice is one trace below the caller's: two attempts, a retry, a parking."""
        self.model.answer = lambda _: (500, b'{"error": "boom"}')
        gateway = await self.begin()
        response, problem = await self.post(gateway, [1], traceparent=CALLERS, tracestate="x=1")
        self.assertEqual((response.code, problem["trace_id"]), (502, "a" * 32))
        spans = await self.spans(9)
        expected = [
            (0, "SERVER   POST /v1/predict"),
            (1, "PRODUCER publish X"),
            (2, "CONSUMER process Q"),
            (3, "CLIENT   POST"),
            (3, "PRODUCER publish Q.retry"),
            (4, "CONSUMER process Q"),
            (5, "CLIENT   POST"),
            (5, "PRODUCER publish Q.parking"),
            (5, "PRODUCER publish reply"),
        ]
        self.assertEqual(self.shape(), expected)
        self.assertEqual({span.trace_id for span in spans}, {"a" * 32})
        self.assertEqual({span.state for span in spans}, {"x=1"})
        (server,) = [span for span in spans if span.kind == "SERVER"]
        self.assertEqual((server.parent_id, server.attributes["http.response.status_code"]), ("b" * 16, 502))
        names = {span.kind: span.resource["service.name"] for span in spans if span.name != "publish reply"}
        self.assertEqual((names["SERVER"], names["CONSUMER"]), ("provider-gateway", "the-provider"))
        calls = [span for span in spans if span.kind == "CLIENT"]
        seen = [headers["traceparent"] for _, headers in self.model.requests]
        self.assertEqual(seen, [f"00-{'a' * 32}-{span.span_id}-01" for span in sorted(calls, key=lambda s: s.began)])
        consumers = [span for span in spans if span.kind == "CONSUMER"]
        self.assertEqual([span.links for span in consumers], [(span.parent_id,) for span in consumers])
        self.assertEqual({each["api-key"] for each in self.receiver.requests}, {"k ey"})
        self.assertEqual({each["content-encoding"] for each in self.receiver.requests}, {"gzip"})
        told = [event["trace_id"] for event in self.provider.log if "rquid" in event]
        self.assertEqual(set(told), {"a" * 32})
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn('provider_gateway_spans_total{outcome="exported"} 2.0', metrics)

    async def test_connections_broken_in_call(self) -> None:
        """A message that the broker delivers again during its call is served once: its span goes on, and tells so."""
        answer: Deferred[tuple[int, bytes]] = Deferred()
        self.model.answer = lambda _: answer
        gateway = await self.begin()
        response = Deferred.fromCoroutine(self.post(gateway, [1]))
        await self.model.asked()
        await deferToThread(self.broker.control, "close_all_connections", "for the test")
        adopted = f'provider_gateway_redelivered_total{{queue="{self.queue}",state="running"}} 1.0'
        while adopted not in (await self.admin(self.provider, "/metrics"))[1]:
            await deferLater(reactor, 0.05)  # nothing is logged of it, and metrics tell nobody when they change
        answer.callback((200, b"1"))
        self.assertEqual((await response)[0].code, 200)
        await self.spans(5)
        expected = [
            (0, "SERVER   POST /v1/predict"),
            (1, "PRODUCER publish X"),
            (2, "CONSUMER process Q"),
            (3, "CLIENT   POST"),
            (3, "PRODUCER publish reply"),
        ]
        self.assertEqual(self.shape(), expected)
        (consumer,) = (span for span in self.receiver.spans if span.kind == "CONSUMER")
        self.assertIs(consumer.attributes["provider_gateway.redelivered"], True)
        self.assertEqual(len(self.model.requests), 1)

    async def test_killed_in_call(self) -> None:
        """A message of a provider that is killed during its call has the spans of the provider that serves it next."""
        self.model.answer = lambda _: Deferred()
        gateway = await self.begin()
        response = Deferred.fromCoroutine(self.post(gateway, [1]))
        await self.model.asked()
        self.model.answer = lambda _: (200, b"1")
        self.provider.signal("KILL")
        await self.provider.when_ended()
        await self.start("--role", "provider", entries=self.entries, **self.variables).ready()
        self.assertEqual((await response)[0].code, 200)
        await self.spans(7)
        expected = [
            (0, "SERVER   POST /v1/predict"),
            (1, "PRODUCER publish X"),
            (2, "CONSUMER process Q"),
            (3, "PRODUCER publish Q.return"),
            (4, "CONSUMER process Q"),
            (5, "CLIENT   POST"),
            (5, "PRODUCER publish reply"),
        ]
        self.assertEqual(self.shape(), expected)
        told = [each.attributes.get("provider_gateway.redelivered") for each in self.receiver.spans]
        self.assertEqual([each for each in told if each is not None], [True])

    async def test_sent_at_the_end(self) -> None:
        """Spans that wait for their batch are sent when the process stops."""
        self.variables["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
        gateway = await self.begin()
        response, _ = await self.post(gateway, [1])
        self.assertEqual((response.code, self.receiver.spans), (200, []))
        for process in (gateway, self.provider):
            process.signal("TERM")
            self.assertEqual(await process.when_ended(), 0)
        self.assertEqual(len(await self.spans(5)), 5)

    async def test_collector_away(self) -> None:
        """Without a collector requests are served as ever, and the stop takes no longer than the drain may."""
        self.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        gateway = await self.begin()
        response, _ = await self.post(gateway, [1])
        self.assertEqual(response.code, 200)
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended(), 0)
