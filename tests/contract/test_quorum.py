"""Quorum queues, as far as the project uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

QUORUM = {"x-queue-type": "quorum"}
LIMITED = {**QUORUM, "x-delivery-limit": 5}


@on_both
class Quorum(BrokerContract):
    """Differences from classic queues."""

    def fetched(self, channel: BlockingChannel, queue: str, count: int) -> list[tuple[Any, Any, bytes]]:
        """Fetch this many messages."""
        return [channel.basic_get(queue) for _ in range(count)]

    @on_channel
    def test_properties(self, channel: BlockingChannel) -> None:
        """Quorum queues must be durable, not exclusive, and without auto_delete."""
        queue = self.name("queue")
        for wrong, flags in (
            ("non-durable", {}),
            ("exclusive-owner", {"durable": True, "exclusive": True}),
            ("auto-delete", {"durable": True, "auto_delete": True}),
            # The text names one of several wrong properties.
            ("auto-delete", {"exclusive": True, "auto_delete": True}),
            ("exclusive-owner", {"exclusive": True}),
        ):
            given: dict[str, Any] = {**flags, "arguments": QUORUM}
            text = f"PRECONDITION_FAILED - invalid property '{wrong}' for queue '{queue}' in vhost '/'"
            self.assert_refused(406, text, channel.connection.channel().queue_declare, queue, **given)

    @on_channel
    def test_arguments(self, channel: BlockingChannel) -> None:
        """Some arguments are for quorum queues only, some for classic queues only."""
        queue = self.name("queue")
        for argument, value, arguments, kind in (
            ("x-delivery-limit", 1, {}, "classic"),
            ("x-dead-letter-strategy", "at-least-once", {}, "classic"),
            ("x-queue-mode", "lazy", QUORUM, "quorum"),
        ):
            given = {**arguments, argument: value}
            text = (
                f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/' "
                f"of queue type rabbit_{kind}_queue"
            )
            declare = channel.connection.channel().queue_declare
            self.assert_refused(406, text, declare, queue, durable=True, arguments=given)

    @on_channel
    def test_differs(self, channel: BlockingChannel) -> None:
        """Another delivery limit is refused."""
        queue = self.queue(channel, "queue", LIMITED, durable=True)
        text = (
            f"PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue '{queue}' in vhost '/': "
            "received '6' but current is '5'"
        )
        arguments = {**QUORUM, "x-delivery-limit": 6}
        self.assert_refused(406, text, channel.queue_declare, queue, durable=True, arguments=arguments)

    @on_channel
    def test_delete_with_a_condition(self, channel: BlockingChannel) -> None:
        """The connection is closed over a deletion with if-unused or if-empty."""
        queue = self.queue(channel, "queue", QUORUM, durable=True)
        for flag in ("if-unused", "if-empty"):
            text = (
                f"NOT_IMPLEMENTED - cannot delete queue '{queue}' in vhost '/'. queue.delete operations with {flag} "
                "flag set are not supported by quorum queues"
            )
            other = self.connect().channel()
            self.assert_disconnected(540, text, other.queue_delete, queue, **{flag.replace("-", "_"): True})
        self.assertTrue(self.exists(channel.connection, queue))

    @on_channel
    def test_count(self, channel: BlockingChannel) -> None:
        """A fetched message has the number of its requeues (x-delivery-count); since 4.0, only if there were any."""
        queue = self.queue(channel, "queue", LIMITED, durable=True)
        self.publish(channel, queue)
        for returns in range(3):
            [(method, properties, _)] = self.fetched(channel, queue, 1)
            expected = None if self.since_4 and not returns else {"x-delivery-count": returns}
            self.assertEqual((properties.headers, method.redelivered), (expected, returns > 0))
            channel.basic_nack(method.delivery_tag, requeue=True)
            self.wait_for_count(channel, queue, 1)

    @on_channel
    def test_limit(self, channel: BlockingChannel) -> None:
        """A message requeued more often than the limit is dead-lettered, or dropped without a dead-letter exchange."""
        dead = self.queue(channel, "dead")
        ways = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        work = self.queue(channel, "work", {**QUORUM, "x-delivery-limit": 1, **ways}, durable=True)
        self.publish(channel, work)
        for _ in range(2):
            self.wait_for_count(channel, work, 1)
            channel.basic_reject(channel.basic_get(work)[0].delivery_tag, requeue=True)
        [(_, properties, _)] = self.take(channel, dead)
        [death] = properties.headers["x-death"]
        self.assertEqual((death["queue"], death["reason"], death["count"]), (work, "delivery_limit", 1))
        self.assertEqual(self.count(channel, work), 0)

    @on_channel
    def test_requeue(self, channel: BlockingChannel) -> None:
        """With a limit, requeued messages come before undelivered ones, in the order in which they were requeued."""
        queue = self.queue(channel, "queue", LIMITED, durable=True)
        self.publish(channel, queue, b"1", b"2", b"3")
        for method, _, _ in reversed(self.fetched(channel, queue, 2)):
            channel.basic_nack(method.delivery_tag, requeue=True)
        self.wait_for_count(channel, queue, 3)
        self.assertEqual([body for _, _, body in self.fetched(channel, queue, 3)], [b"2", b"1", b"3"])

    @on_channel
    def test_requeue_without_limit(self, channel: BlockingChannel) -> None:
        """Without a limit declared, a requeued message goes to the end of the queue; since 4.0, to its place."""
        queue = self.queue(channel, "queue", QUORUM, durable=True)
        self.publish(channel, queue, b"1", b"2", b"3")
        for method, _, _ in self.fetched(channel, queue, 2):
            channel.basic_nack(method.delivery_tag, requeue=True)
        self.wait_for_count(channel, queue, 3)
        order = [b"1", b"2", b"3"] if self.since_4 else [b"3", b"1", b"2"]
        self.assertEqual([body for _, _, body in self.fetched(channel, queue, 3)], order)

    @on_channel
    def test_default_limit(self, channel: BlockingChannel) -> None:
        """Without a limit declared, a message may be requeued for ever; since 4.0, 20 times."""
        queue = self.queue(channel, "queue", QUORUM, durable=True)
        self.publish(channel, queue)
        for _ in range(21):
            self.wait_for_count(channel, queue, 1)
            channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=True)
        self.wait_for_count(channel, queue, 0 if self.since_4 else 1)

    @on_channel
    def test_channel_closed(self, channel: BlockingChannel) -> None:
        """Messages requeued by a closed channel come before undelivered ones, with and without a limit."""
        for what, arguments in (("limited", LIMITED), ("unlimited", QUORUM)):
            queue = self.queue(channel, what, arguments, durable=True)
            self.publish(channel, queue, b"1", b"2", b"3")
            other = channel.connection.channel()
            self.fetched(other, queue, 2)
            other.close()
            self.wait_for_count(channel, queue, 3)
            received = self.fetched(channel, queue, 3)
            seen = [(body, method.redelivered) for method, _, body in received]
            self.assertEqual(seen, [(b"1", True), (b"2", True), (b"3", False)])

    @on_channel
    def test_waiting(self, channel: BlockingChannel) -> None:
        """Messages expire, and are dead-lettered with the strategy at-least-once if declared so."""
        dead = self.queue(channel, "dead", QUORUM, durable=True)
        arguments = {
            **QUORUM,
            "x-message-ttl": 20,
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
        }
        waiting = self.queue(channel, "waiting", arguments, durable=True)
        self.publish(channel, waiting, b"1", b"2")
        received = self.take(channel, dead, 2)
        self.assertEqual([body for _, _, body in received], [b"1", b"2"])
        for _, properties, _ in received:
            [death] = properties.headers["x-death"]
            self.assertEqual((death["queue"], death["reason"], death["count"]), (waiting, "expired", 1))
