"""The embedded broker's faults, as a raw client sees them, once or until they are switched off."""

from __future__ import annotations

from typing import Any

from pika import frame, spec

from tests.support.raw_amqp_client import RawClientTestCase, to


class FaultTests(RawClientTestCase):
    """Has a client with confirms, and a queue ``q``."""

    def setUp(self) -> None:
        super().setUp()
        self.faults = self.broker.faults
        self.one = self.client()
        self.one.ask(spec.Queue.Declare(queue="q"))
        self.one.ask(spec.Confirm.Select())

    def publish(self, *bodies: bytes) -> list[tuple[str, int, bool]]:
        """Publish one by one; returns the confirms."""
        return [each for body in bodies for each in self.confirms(self.one.ask(to("q"), body))]

    @staticmethod
    def confirms(methods: list[Any]) -> list[tuple[str, int, bool]]:
        return [(each.NAME, each.delivery_tag, each.multiple) for each in methods]

    def received(self) -> list[Any]:
        return [each.method for each in self.one.frames()]

    @property
    def waiting(self) -> int:
        """How many messages are in the queue."""
        client = self.client()
        count: int = client.ask(spec.Queue.Declare(queue="q", passive=True))[0].message_count
        return count

    def test_nack(self) -> None:
        """The next publish is nacked and not routed; the one after it is confirmed."""
        self.faults.nack_publishes()
        names = [name for name, _, _ in self.publish(b"1", b"2")]
        self.assertEqual((names, self.waiting), (["Basic.Nack", "Basic.Ack"], 1))

    def test_swallow(self) -> None:
        """The next confirm never comes, though the message is in the queue; no later confirm covers it."""
        self.faults.swallow_confirms()
        self.assertEqual((self.publish(b"1"), self.waiting), ([], 1))
        for body in (b"2", b"3"):
            self.one.send(to("q"), body)
        self.assertEqual(self.confirms(self.received()), [("Basic.Ack", 2, False), ("Basic.Ack", 3, False)])

    def test_backwards(self) -> None:
        """Held confirms can be released in reverse order."""
        self.faults.hold_confirms()
        self.assertEqual(self.publish(b"1", b"2", b"3"), [])
        self.faults.release_confirms(backwards=True)
        self.assertEqual([tag for _, tag, _ in self.confirms(self.received())], [3, 2, 1])
        self.assertEqual(self.publish(b"4"), [("Basic.Ack", 4, False)])

    def test_multiple(self) -> None:
        """Held confirms can be released as one confirm for each channel."""
        self.faults.hold_confirms()
        self.publish(b"1", b"2", b"3")
        self.faults.release_confirms(multiple=True)
        self.assertEqual(self.confirms(self.received()), [("Basic.Ack", 3, True)])

    def test_held_for_nobody(self) -> None:
        """A held confirm of a closed channel is dropped."""
        self.faults.hold_confirms()
        self.publish(b"1")
        self.one.ask(spec.Channel.Close(200, "", 0, 0))
        self.faults.release_confirms()
        self.assertEqual(self.received(), [])

    def test_block(self) -> None:
        """Clients get Connection.Blocked; one that publishes is not read until Connection.Unblocked."""
        self.faults.block("low on disk")
        self.assertEqual([each.reason for each in self.received()], ["low on disk"])
        self.one.send(to("q"), b"1")
        self.one.send(to("q"), b"2")
        self.received()
        self.assertEqual(self.waiting, 1)
        late = self.client()
        self.assertEqual(late.ask(spec.Queue.Declare(queue="q", passive=True))[0].message_count, 1)
        self.faults.unblock()
        self.assertEqual([each.NAME for each in self.received()], ["Connection.Unblocked", "Basic.Ack"])
        self.assertEqual(self.waiting, 2)

    def test_block_is_felt(self) -> None:
        """The connection of a blocked publisher is not read, and not dropped for its silence."""
        client = self.client(tune=(2047, 131072, 10))
        self.faults.block()
        client.ask(to("q"), b"1")
        self.assertEqual(
            (self.one.link.at_server.producerState, client.link.at_server.producerState), ("producing", "paused")
        )
        self.clock.advance(100)
        self.faults.unblock()
        self.assertEqual(client.link.at_server.producerState, "producing")
        self.clock.advance(19)
        client.link.pump()
        self.assertFalse(client.is_lost)
        self.clock.advance(1)
        client.link.pump()
        self.assertTrue(client.is_lost)

    def test_block_of_the_deaf(self) -> None:
        """A client without connection.blocked gets no Connection.Blocked."""
        deaf = self.client(capabilities={})
        self.faults.block()
        deaf.link.pump()
        self.assertEqual(deaf.data, b"")

    def test_cut_of_many(self) -> None:
        """Nothing is sent after a frame that is cut."""
        self.publish(b"1")
        self.faults.cut_frames()
        self.one.ask(spec.Basic.Get(queue="q"))
        self.assertLess(len(self.one.data), len(frame.Method(1, spec.Basic.GetOk(1, False, "", "q", 0)).marshal()))
        self.assertEqual((self.one.is_lost, self.waiting), (True, 1))

    def test_cut_of_the_last(self) -> None:
        """Close-Ok can be cut, too."""
        self.faults.cut_frames()
        self.assertEqual(self.one.ask(spec.Connection.Close(200, "", 0, 0), channel=0), [])
        self.assertTrue(self.one.data and self.one.is_lost)

    def test_cut_of_the_blocked(self) -> None:
        """A blocked publisher whose confirm is cut ends without an error."""
        self.faults.block()
        self.received()
        self.faults.cut_frames()
        self.assertEqual(self.publish(b"1"), [])
        self.faults.unblock()
        self.assertTrue(self.one.is_lost)

    def test_told_late(self) -> None:
        """A client that connects while publishers are blocked gets Connection.Blocked."""
        self.faults.block()
        client = self.connect()
        client.login(b"\0guest\0secret")
        client.ask(spec.Connection.TuneOk(2047, 131072, 0), channel=0)
        methods = client.ask(spec.Connection.Open("/"), channel=0)
        self.assertEqual([each.NAME for each in methods], ["Connection.OpenOk", "Connection.Blocked"])

    def test_cut(self) -> None:
        """Half of the next frame is sent, then the connection ends; other connections go on."""
        self.faults.cut_frames()
        whole = frame.Method(1, spec.Queue.DeclareOk("q", 0, 0)).marshal()
        self.assertEqual(self.one.ask(spec.Queue.Declare(queue="q")), [])
        self.assertEqual(self.one.data, whole[: len(whole) // 2])
        self.assertTrue(self.one.is_lost)
        self.assertEqual(self.waiting, 0)

    def test_delay(self) -> None:
        """A delay keeps the order of what is sent, also when it is removed; a close keeps its place."""
        self.faults.delay = 2.0
        self.assertEqual(self.publish(b"1"), [])
        self.clock.advance(1)
        self.faults.delay = 0
        self.assertEqual(self.one.ask(spec.Connection.Close(200, "", 0, 0), channel=0), [])
        self.clock.advance(1)
        self.assertEqual([each.NAME for each in self.received()], ["Basic.Ack", "Connection.CloseOk"])
        self.assertTrue(self.one.is_lost)
