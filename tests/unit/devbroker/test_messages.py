"""The embedded broker's messages: publishing, confirms, consuming, acknowledgements, prefetch, requeueing."""

from __future__ import annotations

import time
from typing import Any

from pika import frame, spec

from provider_gateway.devbroker.frames import ExactProperties
from provider_gateway.devbroker.message import Message
from tests.support.raw_amqp_client import RawClient, RawClientTestCase, to

GET = spec.Basic.Get(queue="q")


class MessageTestCase(RawClientTestCase):
    """Has a client, and a queue ``q``."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.client()
        self.one.ask(spec.Queue.Declare(queue="q"))

    def publish(self, *bodies: bytes) -> None:
        for body in bodies:
            self.one.send(to("q"), body)
        self.one.link.pump()

    def consume(self, tag: str, client: RawClient | None = None, **flags: Any) -> list[str]:
        """Begin to consume; returns the first deliveries."""
        return self.deliveries((client or self.one), spec.Basic.Consume(queue="q", consumer_tag=tag, **flags))

    def deliveries(self, client: RawClient, method: Any = None) -> list[str]:
        """The deliveries of a client: consumer, body, and a * if redelivered."""
        if method is not None:
            client.send(method)
        got: list[str] = []
        for each in client.frames():
            if isinstance(each, frame.Method) and isinstance(each.method, spec.Basic.Deliver):
                got.append(f"{each.method.consumer_tag}{'*' if each.method.redelivered else ''}")
            elif isinstance(each, frame.Body):
                got[-1] += each.fragment.decode()
        return got

    def get(self) -> str:
        """The message of Basic.Get: body, and a * if redelivered; "" without a message."""
        self.one.send(GET)
        method, *message = self.one.frames()
        body = message[1].fragment.decode() if message else ""
        return f"{body}*" if getattr(method.method, "redelivered", False) else body


class PublishTests(MessageTestCase):
    """basic.publish."""

    def test_exact(self) -> None:
        """Properties and body are delivered byte for byte, also a number that pika cannot represent."""
        table = b"\x01dd" + b"\x3f\xf8" + bytes(6)  # d = 1.5
        properties = b"\xb8\x00\x01t" + len(table).to_bytes(4, "big") + table + b"\x02\x05"
        header = (60).to_bytes(2, "big") + bytes(2) + (3).to_bytes(8, "big") + properties
        data = b"\x02\x00\x01" + len(header).to_bytes(4, "big") + header + b"\xce"
        self.one.send(to("q"))
        self.one.link.at_client.write(data + frame.Body(1, b"abc").marshal())
        self.one.link.pump()
        self.one.send(GET)
        self.one.link.pump()
        self.assertIn(data, self.one.data)

    def test_large(self) -> None:
        """A message over the agreed frame size is sent in several frames."""
        client = self.client(tune=(10, 4096, 0))
        for _ in range(3):
            client.send(to("q"))
            client.link.at_client.write(frame.Header(1, 5000, spec.BasicProperties()).marshal())
            client.link.at_client.write(frame.Body(1, b"x" * 4000).marshal() + frame.Body(1, b"y" * 1000).marshal())
        client.send(GET)
        parts = [each.fragment for each in client.frames() if isinstance(each, frame.Body)]
        self.assertEqual([len(each) for each in parts], [4088, 912])
        self.assertEqual(b"".join(parts), b"x" * 4000 + b"y" * 1000)

    def test_refused(self) -> None:
        """An invalid publish closes the channel or the connection, with RabbitMQ's text."""
        self.one.ask(spec.Exchange.Declare(exchange="int", type="direct", internal=True))
        wrong = "channel 406 PRECONDITION_FAILED - "
        for method, properties, text in (
            (to("q", "none"), {}, "channel 404 NOT_FOUND - no exchange 'none' in vhost '/'"),
            (to("q", "int"), {}, "channel 403 ACCESS_REFUSED - cannot publish to internal exchange 'int' in vhost '/'"),
            (to("q", immediate=True), {}, "connection 540 NOT_IMPLEMENTED - immediate=true"),
            (to("q"), {"expiration": "a"}, wrong + "invalid expiration 'a': no_integer"),
            (to("q"), {"expiration": "-1"}, wrong + "invalid expiration '-1': {value_negative,-1}"),
            (to("q"), {"expiration": "1.5"}, wrong + "invalid expiration '1.5': {leftover_string,\".5\"}"),
            (to("q"), {"user_id": "x"}, wrong + "user_id property set to 'x' but authenticated user was 'guest'"),
            (to("q"), {"reply_to": "amq.rabbitmq.reply-to"}, wrong + "fast reply consumer does not exist"),
            (to("q"), {"headers": {"CC": ["r"]}}, "connection 540 NOT_IMPLEMENTED - headers CC and BCC"),
        ):
            self.assertEqual(self.refusal(method, b"1", **properties), text)
        self.assertEqual(self.client().ask(to("q"), b"1", user_id="guest"), [])

    def test_confirms(self) -> None:
        """Publishes are confirmed one by one, in their order."""
        self.assertIsInstance(self.one.ask(spec.Confirm.Select())[0], spec.Confirm.SelectOk)
        (ack,) = self.one.ask(to("q"), b"1")
        self.assertEqual((ack.delivery_tag, ack.multiple), (1, False))
        self.one.send(to("q"), b"2")
        acks = self.one.ask(to("none"), b"3")
        self.assertEqual([(ack.delivery_tag, ack.multiple) for ack in acks], [(2, False), (3, False)])

    def test_returned(self) -> None:
        """An unrouted mandatory message is returned before its confirm."""
        self.one.ask(spec.Confirm.Select())
        self.one.send(to("none", mandatory=True), b"1", message_id="m")
        returned, header, body, ack = self.one.frames()
        method = returned.method
        self.assertEqual((method.reply_code, method.reply_text, method.routing_key), (312, "NO_ROUTE", "none"))
        self.assertEqual((header.properties.message_id, body.fragment), ("m", b"1"))
        self.assertEqual((ack.method.NAME, ack.method.delivery_tag), ("Basic.Ack", 1))
        self.assertEqual([each.NAME for each in self.one.ask(to("none"), b"2")], ["Basic.Ack"])

    def test_rejected(self) -> None:
        """A publish to a full queue with reject-publish is nacked."""
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        self.one.ask(spec.Queue.Declare(queue="full", arguments=arguments))
        self.one.ask(spec.Confirm.Select())
        for body in (b"1", b"2", b"3"):
            self.one.send(to("full"), body)
        acks = [each.method for each in self.one.frames()]
        self.assertEqual([each.NAME for each in acks], ["Basic.Ack", "Basic.Nack", "Basic.Nack"])
        self.assertEqual([each.delivery_tag for each in acks], [1, 2, 3])

    def test_too_large(self) -> None:
        """A message over RabbitMQ's default limit is refused by its header, before its body is read."""
        self.one.send(to("q"))
        self.one.link.at_client.write(frame.Header(1, 134_217_729, spec.BasicProperties()).marshal())
        text = "message size 134217729 is larger than configured max size 134217728"
        self.assertEqual(self.one.frames()[0].method.reply_text, f"PRECONDITION_FAILED - {text}")

    def test_rest_of_too_large(self) -> None:
        """The rest of a refused message, and what follows until Close-Ok, is read and dropped."""
        self.broker.limits.max_message_size = 1000
        large = spec.BasicProperties()
        self.one.send(to("q"))
        self.one.link.at_client.write(frame.Header(1, 2000, large).marshal() + frame.Body(1, bytes(1500)).marshal())
        (close,) = self.one.frames()
        self.assertEqual((close.method.NAME, close.method.reply_code), ("Channel.Close", 406))
        self.assertEqual(len(self.one.link.server._channels[1]._body), 0)
        self.one.link.at_client.write(frame.Body(1, bytes(500)).marshal())
        self.one.send(to("q"))
        self.one.link.at_client.write(frame.Header(1, 2000, large).marshal() + frame.Body(1, bytes(2000)).marshal())
        self.assertEqual(self.one.ask(spec.Channel.CloseOk()), [])
        self.assertEqual([each.NAME for each in self.one.ask(spec.Channel.Open())], ["Channel.OpenOk"])

    def test_bug(self) -> None:
        """A bug of the broker closes the connection with 541, and is logged."""
        self.patch(self.broker.vhost, "publish", lambda _: 1 / 0)
        (close,) = self.one.ask(to("q"), b"1")
        self.assertEqual(close.reply_code, 541)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(self.client().ask(GET)[0], spec.Basic.GetEmpty)

    def test_frames(self) -> None:
        """Unexpected and malformed frames close the connection with RabbitMQ's texts."""
        header = frame.Header(1, 5, spec.BasicProperties()).marshal()
        publish, body = frame.Method(1, to("q")).marshal(), frame.Body(1, b"x" * 6).marshal()
        for data, text in (
            (body, "UNEXPECTED_FRAME - expected method frame, got non method frame instead"),
            (
                publish + publish,
                "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame",
            ),
            (publish + header + publish, "UNEXPECTED_FRAME - expected content body, got non content body frame"),
            (publish + header + body, "UNEXPECTED_FRAME - expected content body, got non content body frame instead"),
            (body[:-1] + b"\0", 'FRAME_ERROR - type 3, all octets = <<"xxxxxx">>: {invalid_frame_end_marker,0}'),
            (b"\7\0\1\0\0\0\1x\xce", 'FRAME_ERROR - type 7, all octets = <<"x">>: unknown_frame'),
            (b"\3\0\1\0\2\x22\xe0", "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,140000,131064}"),
            (b"\1\0\1\0\0\0\4\0\x32\0\x63\xce", "NOT_IMPLEMENTED - method 50,99"),
            (b"\1\0\1\0\0\0\6\0\x32\0\x0a\0\0\xce", "FRAME_ERROR - cannot decode <<0,0>>"),
            (
                publish + b"\2\0\1\0\0\0\x0e\0\x32" + bytes(12) + b"\xce",
                "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
            ),
            (b"\x08\0\1\0\0\0\0\xce", "UNEXPECTED_FRAME - type 8, all octets = <<>>"),
        ):
            client = self.client()
            client.link.at_client.write(data)
            close = client.frames()[0].method
            self.assertIsInstance(close, spec.Connection.Close)
            self.assertEqual(close.reply_text[: len(text)], text)


class ConsumeTests(MessageTestCase):
    """Consumers and their acknowledgements."""

    def test_round_robin(self) -> None:
        """Consumers take turns, also those of different connections."""
        other = self.client()
        self.consume("a")
        self.consume("b")
        self.consume("c", other, no_ack=True)
        self.publish(b"1", b"2", b"3", b"4", b"5", b"6")
        self.assertEqual(self.deliveries(self.one), ["a1", "b2", "a4", "b5"])
        self.assertEqual(self.deliveries(other), ["c3", "c6"])

    def test_prefetch(self) -> None:
        """The prefetch of a consumer is the one that was set when it began."""
        self.one.ask(spec.Basic.Qos(prefetch_count=2))
        self.publish(b"1", b"2", b"3", b"4")
        self.assertEqual(self.consume("a"), ["a1", "a2"])
        self.one.ask(spec.Basic.Qos(prefetch_count=1))
        self.assertEqual(self.consume("b"), ["b3"])
        self.assertEqual(self.deliveries(self.one, spec.Basic.Ack(2, multiple=True)), ["a4"])

    def test_prefetch_of_channel(self) -> None:
        """A global prefetch counts the deliveries of all consumers of the channel, without those of Basic.Get."""
        self.one.ask(spec.Basic.Qos(prefetch_count=2, global_qos=True))
        self.publish(b"1", b"2", b"3", b"4")
        self.assertEqual(self.consume("a"), ["a1", "a2"])
        self.assertEqual(self.consume("b"), [])
        self.assertEqual(self.get(), "3")
        self.assertEqual(self.deliveries(self.one, spec.Basic.Ack(3)), [])
        self.assertEqual(self.deliveries(self.one, spec.Basic.Nack(1, requeue=False)), ["a4"])
        size = "connection 540 NOT_IMPLEMENTED - prefetch_size!=0 (10)"
        self.assertEqual(self.refusal(spec.Basic.Qos(prefetch_size=10)), size)

    def test_requeued(self) -> None:
        """A requeued message keeps its place, and is redelivered."""
        self.publish(b"1", b"2", b"3")
        self.assertEqual([self.get(), self.get()], ["1", "2"])
        self.one.ask(spec.Basic.Reject(2, requeue=True))
        self.assertEqual(self.get(), "2*")
        self.one.ask(spec.Basic.Nack(0, multiple=True, requeue=True))
        self.assertEqual([self.get() for _ in range(4)], ["1*", "2*", "3", ""])
        self.one.ask(spec.Channel.Close(200, "", 0, 0))
        self.one.ask(spec.Channel.Open())
        self.assertEqual([self.get() for _ in range(3)], ["1*", "2*", "3*"])

    def test_requeue_of_many(self) -> None:
        """Requeueing tens of thousands of messages is quick, in any order."""
        count = 30_000
        queue = self.broker.vhost.queues["q"]
        message = Message("", "q", ExactProperties.decoded(bytes(2)), b"")
        for _ in range(count):
            queue.publish(message)
        entries = [queue.get() for _ in range(count)]
        began = time.perf_counter()
        for each in reversed(entries[: count // 2]):
            queue.requeue([each], orphaned=False)
        queue.requeue(entries[count // 2 :], orphaned=False)
        self.assertLess(time.perf_counter() - began, 5)
        self.assertEqual([queue.get() for _ in range(count)], entries)

    def test_recovered(self) -> None:
        """basic.recover redelivers unacknowledged messages, to any consumer."""
        self.publish(b"1", b"2")
        self.consume("a")
        self.assertEqual(self.deliveries(self.one, spec.Basic.Recover(requeue=True)), ["a*1", "a*2"])
        self.assertEqual(self.deliveries(self.one, spec.Basic.RecoverAsync(requeue=True)), ["a*1", "a*2"])
        text = "connection 540 NOT_IMPLEMENTED - requeue=false"
        self.assertEqual(self.refusal(spec.Basic.Recover(requeue=False)), text)

    def test_connection_lost(self) -> None:
        """Unacknowledged messages of a lost connection go to other consumers."""
        other = self.client()
        self.consume("b", other)
        self.publish(b"1")
        other.link.at_client.loseConnection()
        other.link.pump()
        self.assertEqual(self.consume("a"), ["a*1"])

    def test_unknown_tag(self) -> None:
        """An acknowledgement with an unknown tag, or with one that was acknowledged, closes the channel."""
        for method in (spec.Basic.Ack(9), spec.Basic.Nack(9, multiple=True), spec.Basic.Reject(9)):
            text = "channel 406 PRECONDITION_FAILED - unknown delivery tag 9"
            self.assertEqual(self.refusal(method), text)
        self.assertEqual(self.one.ask(spec.Basic.Ack(0, multiple=True)), [])
        self.publish(b"1")
        self.get()
        self.one.ask(spec.Basic.Ack(1))
        self.assertIn("unknown delivery tag 1", self.refusal(spec.Basic.Ack(1), client=self.one))

    def test_refused(self) -> None:
        """A consumer tag that is in use, and a second consumer beside an exclusive one, are refused."""
        consume = spec.Basic.Consume(queue="q", consumer_tag="a", exclusive=True)
        self.one.ask(consume)
        text = "channel 403 ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
        self.assertEqual(self.refusal(spec.Basic.Consume(queue="q")), text)
        text = "connection 530 NOT_ALLOWED - attempt to reuse consumer tag 'a'"
        self.assertEqual(self.refusal(consume, client=self.one), text)
        text = "connection 540 NOT_IMPLEMENTED - x-priority"
        self.assertEqual(self.refusal(spec.Basic.Consume(queue="q", arguments={"x-priority": 1})), text)

    def test_tag(self) -> None:
        """The broker makes a tag for a consumer without one; cancelling a missing consumer is no error."""
        (answer,) = self.one.ask(spec.Basic.Consume(queue="q"))
        self.assertTrue(answer.consumer_tag.startswith("amq.ctag-"))
        self.assertEqual(self.one.ask(spec.Basic.Cancel("none"))[0].consumer_tag, "none")

    def test_cancelled_by_broker(self) -> None:
        """Consumers of a deleted queue get Basic.Cancel if they have the capability, and may still acknowledge."""
        deaf = self.client(capabilities={})
        self.consume("b", deaf)
        self.consume("a")
        self.publish(b"1", b"2")
        self.deliveries(self.one)
        deleted, cancel = self.one.ask(spec.Queue.Delete(queue="q"))[::-1]
        self.assertEqual((deleted.NAME, cancel.NAME, cancel.consumer_tag), ("Queue.DeleteOk", "Basic.Cancel", "a"))
        self.assertEqual(self.deliveries(deaf), ["b1"])
        self.assertEqual(self.one.ask(spec.Basic.Nack(1, requeue=True)), [])

    def test_flow(self) -> None:
        """channel.flow may be switched on, which it is, and not off."""
        self.assertTrue(self.one.ask(spec.Channel.Flow(active=True))[0].active)
        text = "connection 540 NOT_IMPLEMENTED - active=false"
        self.assertEqual(self.refusal(spec.Channel.Flow(active=False)), text)
