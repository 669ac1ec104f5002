"""Failed messages on RabbitMQ: retried after the delay, parked in the end, on each kind of retry route."""

from __future__ import annotations

import json
import struct
import time
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import pika
from pika import spec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from provider_gateway.message.properties import CopiedProperties, ReceivedProperties
from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import take

if TYPE_CHECKING:
    from tests.support.processes import Gateway


class RetryTestCase(IntegrationTestCase):
    """A provider of one queue with a short retry delay."""

    keys: ClassVar[dict[str, Any]] = {}

    async def setUp(self) -> None:
        await super().setUp()
        self.parking = f"{self.queue}.parking"

    def provider(self, variables: dict[str, str] | None = None, **keys: Any) -> Gateway:
        """Start the provider role for an entry with retries."""
        entry = self.entry(**{"dle": True, "retryDelay": 300, "maxAttempts": 3, **self.keys, **keys})
        return self.start("--role", "provider", entries=[entry], **(variables or {}))

    def let_fail(self, times: int) -> None:
        """Make the model fail this many times, and then succeed."""
        self.model.answer = lambda body: (500, b"no") if len(self.model.requests) <= times else (200, body)

    def ask(self, body: bytes = b'"x"', exchange: str | None = None, key: str = "predict.now", **more: Any) -> Any:
        """Publish a request message; the Deferred fires when it is published."""
        values: dict[str, Any] = {"message_id": "m1", "correlation_id": "c1", **more}
        to = self.exchange if exchange is None else exchange
        return self.on_channel(
            lambda channel: channel.basic_publish(to, key, body, pika.BasicProperties(**values), mandatory=True)
        )

    def taken(self, queue: str, count: int = 1) -> Deferred[Any]:
        """Wait for messages of a queue."""
        return self.on_channel(lambda channel: take(channel, queue, count))

    async def assert_empty(self, *queues: str) -> None:
        """Check that these queues are empty."""
        for queue in queues:
            left = await self.on_channel(
                lambda channel, queue=queue: channel.queue_declare(queue, passive=True).method.message_count
            )
            self.assertEqual(left, 0, queue)


class DerivedRouteTests(RetryTestCase):
    """The default retry route, which each queue has for itself."""

    async def test_answered_at_last(self) -> None:
        """A message that fails twice comes back twice, unchanged, and gets one reply."""
        self.let_fail(2)
        gateway = await self.provider().ready()
        await self.ask(headers={"Text": "t"})
        [(properties, body)] = await self.taken(self.output)
        self.assertEqual((properties.correlation_id, body), ("c1", b'"x"'))
        self.assertEqual([sent for sent, _ in self.model.requests], [b'"x"'] * 3)
        self.assertEqual({headers["text"] for _, headers in self.model.requests}, {"t"})
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'retried_total{{queue="{self.queue}",reason="status"}} 2.0', metrics)
        await self.assert_empty(self.queue, f"{self.queue}.retry", self.parking)

    async def test_parked(self) -> None:
        """A message that fails each time is parked unchanged, and the reply is the error."""
        self.let_fail(100)
        gateway = await self.provider().ready()
        await self.ask(headers={"Text": "t"}, priority=3, app_id="a", expiration="60000")
        [(properties, _)] = await self.taken(self.output)
        self.assertEqual(properties.headers["pg-status"], 502)
        self.assertEqual(properties.headers["pg-reason"], "status")
        [(properties, body)] = await self.taken(self.parking)
        self.assertEqual((properties.message_id, properties.correlation_id, body), ("m1", "c1", b'"x"'))
        self.assertEqual((properties.priority, properties.app_id, properties.expiration), (3, "a", None))
        self.assertEqual((properties.headers["pg-attempt"], properties.headers["pg-reason"]), (3, "status"))
        self.assertNotIn("x-death", properties.headers)
        self.assertEqual(len(self.model.requests), 3)
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'parked_total{{queue="{self.queue}",reason="status"}} 1.0', metrics)
        await self.assert_empty(self.queue, f"{self.queue}.retry")

    async def test_spoofed(self) -> None:
        """A client's own pg-attempt and x-death do not change the number of attempts."""
        self.let_fail(100)
        await self.provider().ready()
        death = {"count": 9, "reason": "expired", "queue": f"{self.queue}.retry", "exchange": ""}
        await self.ask(headers={"pg-attempt": 3, "pg-queue": "other", "pg-redeliveries": 20, "x-death": [death]})
        await self.ask(headers={"pg-attempt": -100})
        for properties, _ in await self.taken(self.parking, 2):
            self.assertEqual((properties.headers["pg-attempt"], properties.headers["pg-reason"]), (3, "status"))
        self.assertEqual(len(self.model.requests), 6)

    async def test_why(self) -> None:
        """What the model says is in the warnings and on the parked message, and in the reply only where that is set."""
        said = '{"error": "b\u202eoom\\r\\n'.encode() + 2000 * "ü".encode()
        self.model.answer = lambda _: (500, said, {"Content-Type": "application/json"})
        expected = '{"error": "b oom\\r\\n' + 489 * "ü"
        for variables, in_log, in_reply in (
            ({}, True, False),
            ({"LOG_MODEL_ERRORS": "false", "MODEL_ERRORS_TO_CALLERS": "true"}, False, True),
        ):
            gateway = await self.provider(variables, maxAttempts=2).ready()
            await self.ask()
            [(properties, body)] = await self.taken(self.output)
            self.assertEqual(json.loads(body).get("model_error"), expected if in_reply else None)
            self.assertNotIn("pg-model-error", properties.headers)
            [(properties, _)] = await self.taken(self.parking)
            self.assertEqual(properties.headers.get("pg-model-error"), expected if in_log else None)
            self.assertLess(abs(properties.headers["pg-parked-at"] / 1000 - time.time()), 60)
            warnings = [line for line in gateway.log if line["level"] == "warn" and "500" in line["message"]]
            self.assertEqual([line["model_error"] for line in warnings], 2 * [expected if in_log else ""])
            parked = next(line for line in gateway.log if "parked in" in line["message"])
            self.assertEqual(properties.headers["RqUID"], parked["rquid"])
            gateway.signal("TERM")
            self.assertEqual(await gateway.when_ended(), 0)

    async def test_odd_headers(self) -> None:
        """Headers that Python cannot represent do not break the connection, and are kept in the parked copy."""
        # pika itself cannot decode these headers, and does not keep their bytes.
        self.patch(spec, "props", {**spec.props, spec.BasicProperties.INDEX: ReceivedProperties})
        self.let_fail(100)
        gateway = await self.provider(maxAttempts=2).ready()
        odd = b"\x04Halfd" + struct.pack(">d", 0.5) + b"\x04HugeT" + struct.pack(">Q", 2**62)
        properties = CopiedProperties(pika.BasicProperties(correlation_id="c1"), "m1", {"Text": "t"}, odd)
        await self.on_channel(
            lambda channel: channel.basic_publish(self.exchange, "predict.now", b"1", properties, mandatory=True)
        )
        [(received, _)] = await self.taken(self.parking)
        self.assertEqual(received.headers_that(lambda name: not name.startswith(("pg-", "text", "rquid"))), odd)
        self.assertEqual([headers["text"] for _, headers in self.model.requests], ["t", "t"])
        self.assertEqual([line for line in gateway.log if "lost" in line["message"]], [])

    async def test_worker(self) -> None:
        """A failed message of an entry without replyTo is parked, and no error is published."""
        self.let_fail(100)
        await self.provider(replyTo=None).ready()
        await self.ask()
        [(properties, _)] = await self.taken(self.parking)
        self.assertEqual(properties.headers["pg-attempt"], 3)

    async def test_http(self) -> None:
        """An HTTP caller gets the response of the attempt that succeeds."""
        self.let_fail(1)
        entry = self.entry(dle=True, retryDelay=300)
        gateway = await self.start(entries=[entry]).ready()
        response, body = await self.post(gateway, {"a": 1})
        self.assertEqual((response.code, body), (200, {"a": 1}))
        self.assertEqual(len(self.model.requests), 2)

    async def test_told_at_once(self) -> None:
        """An HTTP caller that stops waiting before the next attempt gets 502 at once, and no second reply comes later.

        The message is tried again all the same, and parked with the mark.
        """
        self.let_fail(100)
        entry = self.entry(dle=True, retryDelay=1200, maxAttempts=2)
        gateway = await self.start(entries=[entry], REPLY_TIMEOUT="1").ready()
        began = reactor.seconds()
        response, problem = await self.post(gateway, {"a": 1})
        self.assertEqual((response.code, problem["type"].rpartition(":")[2]), (502, "model-failed"))
        self.assertIn("HTTP status 500", problem["detail"])
        self.assertLess(reactor.seconds() - began, 0.9)
        [(properties, _)] = await self.taken(self.parking)
        self.assertEqual((properties.headers["pg-attempt"], properties.headers["pg-answered"]), (2, 1))
        self.assertEqual(len(self.model.requests), 2)
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn('replies_total{kind="matched"} 1.0', metrics)
        for kind in ("late", "unknown"):
            self.assertNotIn(f'replies_total{{kind="{kind}"}} 1.0', metrics)

    async def test_expired(self) -> None:
        """Messages past the deadline of their HTTP caller are counted, and the model is not called."""
        answers: list[Deferred[Any]] = []

        def slow(_body: bytes) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        self.model.answer = slow
        entry = self.entry(prefetch=1)
        gateway = await self.start(entries=[entry], REPLY_TIMEOUT="1").ready()
        calls = [self.post(gateway, number) for number in range(3)]
        responses = [await Deferred.fromCoroutine(call) for call in calls]
        self.assertEqual([response.code for response, _ in responses], [504] * 3)
        answers[0].callback((200, b"1"))
        await gateway.logged("expired")
        self.assertEqual(len(self.model.requests), 1)

    async def test_caller_left(self) -> None:
        """A message whose HTTP caller has hung up does not reach the model, long before its deadline."""
        held: Deferred[Any] = Deferred()
        self.model.answer = lambda _body: held
        gateway = await self.start(entries=[self.entry(prefetch=1)]).ready()
        first = Deferred.fromCoroutine(self.post(gateway, 1))
        await self.model.asked()
        second = Deferred.fromCoroutine(self.post(gateway, 2))
        await self.on_channel(self.wait_for_message)
        second.cancel()
        second.addErrback(lambda _: None)
        await self.in_flight(gateway, 1)
        held.callback((200, b"1"))
        self.assertEqual((await first)[0].code, 200)
        await gateway.logged("expired")
        self.assertEqual(len(self.model.requests), 1)

    async def in_flight(self, gateway: Gateway, count: int) -> None:
        """Wait until this many HTTP requests are in flight."""
        while f"http_in_flight {count}.0" not in (await self.admin(gateway, "/metrics"))[1]:
            await deferLater(reactor, 0.05)

    def wait_for_message(self, channel: Any) -> None:
        """Wait until a message is ready in the work queue."""
        while not channel.queue_declare(self.queue, passive=True).method.message_count:
            channel.connection.sleep(0.05)


class QuorumRouteTests(DerivedRouteTests):
    """The same with quorum queues."""

    keys: ClassVar[dict[str, Any]] = {"queueType": "quorum"}


class SeedRouteTests(RetryTestCase):
    """The seed's retry route, with dleParams as in its queue file."""

    async def setUp(self) -> None:
        await super().setUp()
        name = uuid.uuid4().hex[:8]
        self.dle = {
            "dleExchange": f"dle.{name}",
            "dleExchangeType": "fanout",
            "dleQueue": f"dleq.{name}",
            "dleArgs": {"x-message-ttl": 300, "x-dead-letter-exchange": self.exchange},
        }
        self.keys = {"dleParams": self.dle, "argQueue": {"x-dead-letter-exchange": f"dle.{name}"}}  # type: ignore[misc]
        self.others: list[str] = []
        self.addCleanup(self.on_channel, self._delete_more)

    def _delete_more(self, channel: Any) -> None:
        channel.exchange_delete(self.dle["dleExchange"])
        for queue in [self.dle["dleQueue"], *self.others]:
            channel.queue_delete(queue)

    async def test_answered_at_last(self) -> None:
        """A failed message comes back through the seed's objects, and its attempts are counted."""
        self.let_fail(2)
        await self.provider().ready()
        await self.ask()
        [(_, body)] = await self.taken(self.output)
        self.assertEqual((body, len(self.model.requests)), (b'"x"', 3))

    async def test_parked(self) -> None:
        """After maxAttempts the message is parked."""
        self.let_fail(100)
        await self.provider().ready()
        await self.ask()
        [(properties, _)] = await self.taken(self.parking)
        self.assertEqual(properties.headers["pg-attempt"], 3)
        self.assertEqual(len(self.model.requests), 3)

    def record(self, **death: Any) -> dict[str, Any]:
        """The headers that the broker adds to a copy that comes back, with changes to its x-death."""
        queue, exchange = self.dle["dleQueue"], self.dle["dleExchange"]
        first = {"queue": queue, "reason": "expired", "exchange": exchange}
        written = {**first, "count": 1, "routing-keys": ["predict.now"], **death}
        return {"x-death": [written], **{f"x-first-death-{name}": value for name, value in first.items()}}

    async def assert_attempts(self, *forged: dict[str, Any]) -> None:
        """Check that messages with these headers and forged ones of ours get all attempts, and are parked."""
        self.let_fail(1000)
        await self.provider().ready()
        ours = {"pg-attempt": 3, "pg-redeliveries": 20}
        both = [{**ours, **headers, **more} for headers in forged for more in ({}, {"pg-queue": "other"})]
        for number, headers in enumerate(both):
            await self.ask(str(number).encode(), headers=headers, message_id=f"m{number}")
        parked = await self.taken(self.parking, len(both))
        self.assertEqual(sorted(int(body) for _, body in parked), list(range(len(both))))
        for properties, _ in parked:
            self.assertEqual((properties.headers["pg-attempt"], properties.headers["pg-reason"]), (3, "status"))
        self.assertEqual(len(self.model.requests), 3 * len(both))

    async def test_spoofed(self) -> None:
        """What a client writes of a wait does not change the attempts unless it is all that the broker writes."""
        whole = self.record()
        others = ("text", 7, {"queue": self.dle["dleQueue"]}, [], [1, "two"], [whole["x-death"], 1], [None], None)
        await self.assert_attempts(
            {"x-death": whole["x-death"]},
            *({**whole, "x-death": other} for other in others),
            *(self.record(count=count) for count in (9, 2**62, 2**63 - 1, 0, -1, -(2**63), "1", None)),
            *(self.record(queue=queue) for queue in (self.queue, "", 1)),
            *(self.record(exchange=exchange) for exchange in (self.exchange, "", None)),
            self.record(reason="rejected"),
            {**whole, "x-first-death-queue": self.queue},
            {**whole, "x-last-death-queue": self.dle["dleQueue"]},
        )

    async def test_spoofed_past_the_way_back(self) -> None:
        """Not even the whole record changes the attempts if copies come back through another exchange."""
        arguments = {**self.dle["dleArgs"], "x-dead-letter-exchange": ""}
        self.dle["dleArgs"] = arguments
        await self.assert_attempts(self.record())

    async def test_past_the_exchange(self) -> None:
        """A message published straight to the queue comes back as well, although its routing key is not bound."""
        self.let_fail(1)
        await self.provider().ready()
        await self.ask(exchange="", key=self.queue)
        [(_, body)] = await self.taken(self.output)
        self.assertEqual(body, b'"x"')

    async def test_shared_exchange(self) -> None:
        """Queues that share the seed's exchange cause a warning, and copies of other queues' messages are dropped."""
        other_name = f"{self.queue}.other"
        self.others = [other_name, f"{other_name}.parking", f"{self.dle['dleQueue']}.other"]
        self.addCleanup(self.on_channel, lambda channel: channel.exchange_delete(f"{other_name}.return"))
        one = self.entry(dle=True, maxAttempts=3, **self.keys)
        other_dle = {**self.dle, "dleQueue": f"{self.dle['dleQueue']}.other"}
        other = {**one, "queueName": other_name, "bindingKey": "predict.#", "dleParams": other_dle}
        self.let_fail(4)
        gateway = await self.start("--role", "provider", entries=[one, other]).ready()
        warned = [line["message"] for line in gateway.log if line["level"] == "warn"]
        self.assertTrue(any("share the exchange" in line for line in warned), warned)
        await self.ask()
        # Both queues are bound to the key: two messages, each fails twice and gets one reply.
        answers = await self.taken(self.output, 2)
        self.assertEqual(len(answers), 2)
        self.assertEqual(await self.taken_within(self.output, 2), [])
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn("foreign_copies_total", metrics)
        self.assertEqual(len(self.model.requests), 6)

    def taken_within(self, queue: str, seconds: float) -> Deferred[Any]:
        """The messages that come within some seconds."""
        return self.on_channel(lambda channel: take(channel, queue, 10, seconds))
