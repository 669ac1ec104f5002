"""The embedded broker's messages that expire, overflow or are rejected, and their dead-lettering."""

from __future__ import annotations

from typing import Any

from pika import spec

from provider_gateway.devbroker.frames import ExactProperties
from provider_gateway.devbroker.message import Message
from tests.support.raw_amqp_client import RawClientTestCase, to


class DeathTestCase(RawClientTestCase):
    """Has a client, and a queue ``dead`` for dead letters."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.client()
        self.declare("dead")

    def declare(self, queue: str, durable: bool = False, **arguments: Any) -> None:
        """Declare a queue; ``message_ttl`` is the argument ``x-message-ttl``."""
        given = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        (answer,) = self.one.ask(spec.Queue.Declare(queue=queue, durable=durable, arguments=given))
        assert isinstance(answer, spec.Queue.DeclareOk), answer

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        count: int = self.one.ask(spec.Queue.Declare(queue=queue, passive=True))[0].message_count
        return count

    def get(self, queue: str, no_ack: bool = True) -> tuple[bytes, dict[str, Any], Any]:
        """Take the first message of a queue; returns body, headers and method."""
        self.one.send(spec.Basic.Get(queue=queue, no_ack=no_ack))
        method, header, body = self.one.frames()
        return body.fragment, header.properties.headers or {}, method.method

    def reject(self, queue: str) -> None:
        """Take the first message of a queue, and reject it."""
        tag = self.get(queue, no_ack=False)[2].delivery_tag
        self.one.ask(spec.Basic.Reject(tag, requeue=False))


class ExpiryTests(DeathTestCase):
    """Messages that expire."""

    def test_queue(self) -> None:
        """A message expires after the TTL of its queue, or its own expiration if that is shorter."""
        self.declare("q", message_ttl=1000)
        self.one.ask(to("q"), b"1", expiration="9000")
        self.clock.advance(0.5)
        self.one.send(to("q"), b"2", expiration="200")
        self.one.link.pump()
        self.clock.advance(0.25)
        self.assertEqual(self.waiting("q"), 2)  # the second waits for its turn to die
        self.clock.advance(0.25)
        self.assertEqual(self.waiting("q"), 0)

    def test_own(self) -> None:
        """A message with an expiration of its own expires only at the head of its queue."""
        self.declare("q")
        self.one.send(to("q"), b"1")
        self.one.send(to("q"), b"2", expiration="50")
        self.one.link.pump()
        self.clock.advance(1)
        self.assertEqual(self.waiting("q"), 2)
        self.assertEqual(self.get("q")[0], b"1")
        self.assertEqual(self.waiting("q"), 0)

    def test_at_once(self) -> None:
        """A message with a TTL of 0 reaches a waiting consumer only."""
        self.declare("q", message_ttl=0)
        self.one.ask(to("q"), b"1")
        self.assertEqual(self.waiting("q"), 0)
        self.one.ask(spec.Basic.Consume(queue="q"))
        self.assertEqual([each.NAME for each in self.one.ask(to("q"), b"2")], ["Basic.Deliver"])

    def test_record(self) -> None:
        """A dead letter has x-death headers and no expiration; other headers are kept."""
        self.declare("q", message_ttl=100, dead_letter_exchange="amq.fanout")
        self.one.ask(spec.Queue.Bind(queue="dead", exchange="amq.fanout"))
        self.one.ask(to("q"), b"1", expiration="9000", headers={"h": 1}, message_id="m", delivery_mode=2)
        self.clock.advance(0.1)
        self.one.send(spec.Basic.Get(queue="dead"))
        method, header, _ = self.one.frames()
        self.assertEqual((method.method.exchange, method.method.routing_key), ("amq.fanout", "q"))
        properties = header.properties
        self.assertEqual((properties.message_id, properties.delivery_mode, properties.expiration), ("m", 2, None))
        (death,) = properties.headers.pop("x-death")
        self.assertEqual(death.pop("time").timestamp(), 1_000_000)
        same = {"count": 1, "reason": "expired", "queue": "q", "exchange": "", "routing-keys": ["q"]}
        self.assertEqual(death, {**same, "original-expiration": "9000"})
        first = {"x-first-death-reason": "expired", "x-first-death-queue": "q", "x-first-death-exchange": ""}
        self.assertEqual(properties.headers, {"h": 1, **first})


class DeadLetterTests(DeathTestCase):
    """Rejection, overflow and cycles."""

    def test_retry(self) -> None:
        """A rejected message comes back through the retry queue; deaths are counted, newest first."""
        self.declare("q", dead_letter_exchange="", dead_letter_routing_key="retry")
        self.declare("retry", message_ttl=5000, dead_letter_exchange="", dead_letter_routing_key="q")
        self.one.ask(to("q"), b"1")
        for number in (1, 2, 3):
            self.reject("q")
            self.assertEqual((self.waiting("q"), self.waiting("retry")), (0, 1))
            self.clock.advance(5)
            body, headers, method = self.get("q", no_ack=False)
            self.assertEqual((body, method.redelivered), (b"1", False))
            deaths = [(each["queue"], each["reason"], each["count"]) for each in headers["x-death"]]
            self.assertEqual(deaths, [("retry", "expired", number), ("q", "rejected", number)])
            self.assertEqual((headers["x-first-death-queue"], headers["x-first-death-reason"]), ("q", "rejected"))
            self.one.ask(spec.Basic.Nack(method.delivery_tag, requeue=True))

    def test_cycle(self) -> None:
        """A message that closes a cycle without a rejection is dropped."""
        self.declare("q", message_ttl=50, dead_letter_exchange="", dead_letter_routing_key="r")
        self.declare("r", message_ttl=50, dead_letter_exchange="", dead_letter_routing_key="q")
        self.one.ask(to("q"), b"1")
        self.clock.advance(0.05)
        self.assertEqual((self.waiting("q"), self.waiting("r")), (0, 1))
        self.clock.advance(0.05)
        self.assertEqual((self.waiting("q"), self.waiting("r")), (0, 0))

    def test_drop_head(self) -> None:
        """A full queue dead-letters its oldest messages for maxlen, also when one is requeued."""
        self.declare("q", max_length=1, dead_letter_exchange="", dead_letter_routing_key="dead")
        self.one.ask(to("q"), b"1")
        self.get("q", no_ack=False)
        self.one.ask(to("q"), b"2")
        self.one.ask(spec.Basic.Nack(1, requeue=True))
        body, headers, _ = self.get("dead")
        self.assertEqual((body, headers["x-death"][0]["reason"]), (b"1", "maxlen"))
        self.assertEqual(self.get("q")[0], b"2")

    def test_nowhere(self) -> None:
        """Without a dead-letter exchange, or with a missing one, a dead message is dropped."""
        self.declare("q")
        self.declare("r", dead_letter_exchange="none")
        for queue in ("q", "r"):
            self.one.ask(to(queue), b"1")
            self.reject(queue)
            self.assertEqual(self.waiting(queue), 0)

    def test_written_by_clients(self) -> None:
        """An x-death header that is no list of tables is replaced; the client's other headers stay."""
        self.declare("q", dead_letter_exchange="", dead_letter_routing_key="dead")
        self.one.ask(to("q"), b"1", headers={"x-death": "junk", "x-first-death-queue": "mine"})
        self.reject("q")
        headers = self.get("dead")[1]
        self.assertEqual([each["queue"] for each in headers["x-death"]], ["q"])
        self.assertEqual((headers["x-first-death-queue"], "x-first-death-reason" in headers), ("mine", False))

    def test_counts_without_end(self) -> None:
        """A count in x-death stays within its type, whatever the client wrote."""
        self.declare("q", dead_letter_exchange="", dead_letter_routing_key="dead")
        self.one.ask(to("q"), b"1", headers={"x-death": [{"queue": "q", "reason": "rejected", "count": 2**63 - 1}]})
        self.reject("q")
        self.assertEqual(self.get("dead")[1]["x-death"][0]["count"], 2**63 - 1)

    def test_failure(self) -> None:
        """A dead letter that cannot be made is logged and lost; the queue and the client go on."""
        self.declare("q", message_ttl=100, dead_letter_exchange="", dead_letter_routing_key="dead")
        whole = Message.dead_lettered

        def broken(message: Message, *arguments: Any) -> Message:
            self.patch(Message, "dead_lettered", whole)
            raise ValueError

        for body in (b"1", b"2"):
            self.one.ask(to("q"), body)
        self.patch(Message, "dead_lettered", broken)
        self.clock.advance(0.1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual((self.waiting("q"), self.waiting("dead")), (0, 1))

    def test_fractions(self) -> None:
        """A header with a fraction, which pika would cut off, survives a death."""
        table = b"\x01dd" + b"\x3f\xf8" + bytes(6)
        encoded = b"\x20\x00" + len(table).to_bytes(4, "big") + table
        properties = ExactProperties.decoded(encoded)
        dead = Message("", "q", properties, b"").dead_lettered("q", "rejected", "", "dead", 0)
        self.assertIn(table, b"".join(dead.properties.encode()))


class QuorumTests(DeathTestCase):
    """Where quorum queues differ, as far as that is implemented."""

    def test_delivery_limit(self) -> None:
        """A header counts deliveries; beyond the delivery limit the message is dead-lettered."""
        dead = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
        self.declare("q", True, queue_type="quorum", delivery_limit=2, **dead)
        self.one.ask(to("q"), b"1", headers={"h": 1})
        for count in (0, 1, 2):
            _, headers, method = self.get("q", no_ack=False)
            self.assertEqual((headers["x-delivery-count"], headers["h"], method.redelivered), (count, 1, count > 0))
            self.one.ask(spec.Basic.Nack(method.delivery_tag, requeue=True))
        headers = self.get("dead")[1]
        self.assertEqual(headers["x-death"][0]["reason"], "delivery_limit")
        self.assertNotIn("x-delivery-count", headers)

    def test_order(self) -> None:
        """Requeued messages keep their order; they come first with a delivery limit, last without."""
        for name, limit, order in (("with", {"delivery_limit": 5}, [b"2", b"1", b"3"]), ("q", {}, [b"3", b"2", b"1"])):
            self.declare(name, True, queue_type="quorum", **limit)
            for body in (b"1", b"2", b"3"):
                self.one.ask(to(name), body)
            tags = [self.get(name, no_ack=False)[2].delivery_tag for _ in range(2)]
            for tag in reversed(tags):
                self.one.ask(spec.Basic.Nack(tag, requeue=True))
            self.assertEqual([self.get(name)[0] for _ in range(3)], order)

    def test_at_least_once(self) -> None:
        """The dead-letter strategy at-least-once is accepted; an unrouted dead letter is dropped all the same."""
        surely = {"overflow": "reject-publish", "dead_letter_strategy": "at-least-once"}
        self.declare("q", True, queue_type="quorum", dead_letter_exchange="amq.direct", **surely)
        self.one.ask(to("q"), b"1")
        self.reject("q")
        self.one.ask(spec.Queue.Bind(queue="dead", exchange="amq.direct", routing_key="q"))
        self.one.ask(to("q"), b"2")
        self.reject("q")
        self.assertEqual((self.waiting("dead"), self.get("dead")[0]), (1, b"2"))
