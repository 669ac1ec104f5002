"""Publisher confirms: which publishes are confirmed, when, and how they are numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec
from pika.exceptions import NackError

from tests.contract.base import BrokerContract, on_channel
from tests.contract.brokers import on_both

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from tests.contract.wire import WireClient

FULL = {"x-max-length": 2, "x-overflow": "reject-publish"}


@on_both
class Confirms(BrokerContract):
    """Confirms and returns of publishes."""

    def confirming(self) -> WireClient:
        """A frame-by-frame connection whose channel 1 has confirms."""
        client = self.wire()
        self.assertIsInstance(client.ask(1, spec.Confirm.Select()), spec.Confirm.SelectOk)
        return client

    def settled(self, client: WireClient, last: int) -> dict[int, bool]:
        """Wait until all publishes up to a number are confirmed; returns which of them were accepted."""
        settled: dict[int, bool] = {}
        while set(settled) != set(range(1, last + 1)):
            method = client.method()
            self.assertIsInstance(method, (spec.Basic.Ack, spec.Basic.Nack))
            tag = method.delivery_tag
            tags = [each for each in range(1, tag) if each not in settled] if method.multiple else []
            for each in (*tags, tag):
                self.assertNotIn(each, settled, "confirmed twice")
                settled[each] = isinstance(method, spec.Basic.Ack)
        return settled

    @on_channel
    def test_blocking(self, channel: BlockingChannel) -> None:
        """A routed publish is confirmed, and so is an unrouted one."""
        queue = self.queue(channel)
        channel.basic_publish("", queue, b"1")
        channel.basic_publish("", self.name("missing"), b"1")
        self.assertEqual(self.get(channel, queue), b"1")

    @on_channel
    def test_numbers(self, channel: BlockingChannel) -> None:
        """Publishes count from 1 on each channel, from its Confirm.Select on; selecting again changes nothing."""
        queue, client = self.queue(channel), self.wire()
        client.ask(2, spec.Channel.Open())
        client.publish(1, queue, b"not counted")
        for number in (1, 2):
            client.ask(number, spec.Confirm.Select())
        for tag in (1, 2):
            for number in (1, 2):
                client.publish(number, queue)
                received = client.receive()
                self.assertEqual((received.channel, received.method.delivery_tag), (number, tag))
                self.assertIsInstance(received.method, spec.Basic.Ack)
            client.ask(1, spec.Confirm.Select())
        self.assertEqual(self.count(channel, queue), 5)

    @on_channel
    def test_each_once(self, channel: BlockingChannel) -> None:
        """Each of many publishes is confirmed once, alone or by "multiple"; the queue keeps their order."""
        queue, client = self.queue(channel, durable=True), self.confirming()
        bodies = [str(number).encode() for number in range(200)]
        client.publish(1, queue, *bodies)
        self.assertEqual(set(self.settled(client, len(bodies)).values()), {True})
        self.assertEqual([body for _, _, body in self.take(channel, queue, len(bodies))], bodies)

    @on_channel
    def test_all_queues(self, channel: BlockingChannel) -> None:
        """One confirm covers all queues of a message: all of them have it."""
        name = self.exchange(channel, "fanout")
        queues = [self.queue(channel, f"queue{number}") for number in range(3)]
        for queue in queues:
            channel.queue_bind(queue, name)
        client = self.confirming()
        client.publish(1, "", b"1", b"2", exchange=name)
        self.settled(client, 2)
        self.assertEqual([self.count(channel, queue) for queue in queues], [2, 2, 2])
        self.assertIsInstance(client.ask(1, spec.Basic.Qos()), spec.Basic.QosOk)

    @on_channel
    def test_return_first(self, channel: BlockingChannel) -> None:
        """The return of a message comes before its confirm, which is an ack."""
        client, missing = self.confirming(), self.name("missing")
        client.publish(1, missing, b"lost", mandatory=True)
        returned, confirm = client.receive(), client.receive()
        self.assertIsInstance(returned.method, spec.Basic.Return)
        self.assertEqual((returned.method.routing_key, returned.body), (missing, b"lost"))
        self.assertIsInstance(confirm.method, spec.Basic.Ack)
        self.assertEqual(confirm.method.delivery_tag, 1)

    @on_channel
    def test_returns_first(self, channel: BlockingChannel) -> None:
        """Of several messages each return comes before the confirm of that message."""
        queue, client, missing = self.queue(channel), self.confirming(), self.name("missing")
        routed = [number % 3 != 0 for number in range(60)]
        for number, is_routed in enumerate(routed, 1):
            client.publish(1, queue if is_routed else missing, str(number).encode(), mandatory=True)
        returned: set[int] = set()
        confirmed: set[int] = set()
        while len(confirmed) < len(routed):
            received = client.receive()
            tag = getattr(received.method, "delivery_tag", 0)
            if isinstance(received.method, spec.Basic.Return):
                self.assertNotIn(int(received.body), confirmed)
                returned.add(int(received.body))
            else:
                self.assertIsInstance(received.method, spec.Basic.Ack)
                confirmed |= set(range(1, tag + 1)) if received.method.multiple else {tag}
        self.assertEqual(returned, {number for number, is_routed in enumerate(routed, 1) if not is_routed})

    @on_channel
    def test_return_without(self, channel: BlockingChannel) -> None:
        """A message is returned on a channel without confirms as well."""
        client = self.wire()
        client.publish(1, self.name("missing"), b"", mandatory=True)
        returned = client.receive()
        self.assertIsInstance(returned.method, spec.Basic.Return)
        self.assertEqual(returned.body, b"")

    @on_channel
    def test_nack(self, channel: BlockingChannel) -> None:
        """Publishes to a full queue with reject-publish are nacked; with room again, they are acked."""
        queue = self.queue(channel, "queue", FULL)
        self.publish(channel, queue, b"1", b"2")
        self.assertRaises(NackError, channel.basic_publish, "", queue, b"3")
        self.assertEqual(self.get(channel, queue), b"1")
        self.publish(channel, queue, b"4")
        self.assertEqual([self.get(channel, queue) for _ in range(3)], [b"2", b"4", None])

    @on_channel
    def test_nacks(self, channel: BlockingChannel) -> None:
        """Of many publishes, exactly those that the queue rejected are nacked, each once."""
        queue, client = self.queue(channel, "queue", {**FULL, "x-max-length": 20}), self.confirming()
        client.publish(1, queue, *(str(number).encode() for number in range(1, 51)))
        settled = self.settled(client, 50)
        taken = [int(body) for _, _, body in self.take(channel, queue, 20)]
        self.assertEqual(taken, [tag for tag in sorted(settled) if settled[tag]])
        self.assertEqual(taken, list(range(1, 21)))

    @on_channel
    def test_nack_of_one(self, channel: BlockingChannel) -> None:
        """A message that one of two queues rejects is nacked; the other queue keeps it."""
        full, other, name = self.queue(channel, "full", FULL), self.queue(channel), self.exchange(channel, "fanout")
        self.publish(channel, full, b"1", b"2")
        for queue in (full, other):
            channel.queue_bind(queue, name)
        self.assertRaises(NackError, channel.basic_publish, name, "", b"3")
        self.assertEqual((self.count(channel, full), self.count(channel, other)), (2, 1))

    @on_channel
    def test_consumed_at_once(self, channel: BlockingChannel) -> None:
        """A message for a consumer without acknowledgements is confirmed as well."""
        queue, client = self.queue(channel), self.confirming()
        client.ask(1, spec.Basic.Consume(queue=queue, consumer_tag="tag", no_ack=True))
        client.publish(1, queue)
        methods = {type(client.method()) for _ in range(2)}
        self.assertEqual(methods, {spec.Basic.Deliver, spec.Basic.Ack})
