"""The embedded broker: any input is answered, or closes its channel or connection, and breaks nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pika import frame, spec

from provider_gateway.devbroker.connection import CLOSE_TIMEOUT, HANDSHAKE_TIMEOUT
from provider_gateway.devbroker.frames import PROTOCOL_HEADER
from tests.fuzz.broker_frames import Frame, bad_frames, conversations, deaths, deep_frames, message_frames
from tests.fuzz.field_tables import Encoded, properties, room
from tests.fuzz.http_streams import splits
from tests.fuzz.profiles import fuzzed
from tests.support.raw_amqp_client import RawClient, RawClientTestCase


class Received(list[Any]):
    """The frames in the data that a client received; fails if there are other bytes."""

    def __init__(self, client: RawClient) -> None:
        super().__init__()
        client.link.pump()
        data, client.data = client.data, b""
        while data:
            size = 8 + int.from_bytes(data[3:7])
            assert data[size - 1 : size] == bytes([spec.FRAME_END]), f"no frame: {data[:40]!r}"
            # The broker echoes some texts of the client; pika may be unable to decode them.
            if data[0] != spec.FRAME_HEADER:
                self.append(frame.decode_frame(data[:size])[1])
            data = data[size:]

    def methods(self, *kinds: type) -> list[Any]:
        """The received methods of these kinds."""
        return [each.method for each in self if isinstance(each, frame.Method) and isinstance(each.method, kinds)]


class BrokerTests(RawClientTestCase):
    """A new broker for each example."""

    def setUp(self) -> None:
        pass

    def begin_anew(self) -> None:
        super().setUp()

    def assert_nothing_failed(self, closes: list[Any]) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual([each.reply_text for each in closes if each.reply_code == 541], [])

    def assert_others_are_served(self) -> None:
        """Check that another client is served."""
        other = self.client()
        self.assertIsInstance(other.ask(spec.Queue.Declare(queue="theirs", exclusive=True))[0], spec.Queue.DeclareOk)
        self.assertIsInstance(other.ask(spec.Connection.Close(200, "", 0, 0), channel=0)[0], spec.Connection.CloseOk)

    @fuzzed(120, data=st.data(), sent=conversations)
    def test_conversation(self, data: st.DataObject, sent: list[Frame]) -> None:
        """Any frames in any order are answered with frames, without an internal error, and leave nothing behind."""
        self.begin_anew()
        client = self.client()
        for segment in data.draw(splits(b"".join(each.data for each in sent))):
            client.link.at_client.write(segment)
            client.link.pump()
        received = Received(client)
        self.clock.advance(0.5)
        received += Received(client)
        closes = received.methods(spec.Connection.Close)
        self.assertLessEqual(len(closes), 1)
        self.assert_nothing_failed(closes + received.methods(spec.Channel.Close))
        if not closes and not client.is_lost:
            client.send(spec.Channel.Open(), channel=77)
            self.assertEqual(len(Received(client).methods(spec.Channel.OpenOk)), 1, "the broker is silent")
        client.link.at_client.loseConnection()
        client.link.pump()
        self.assert_others_are_served()
        self.assertEqual(self.broker.faults.listeners, [])
        self.assert_nothing_failed([])

    @fuzzed(80, before=conversations, bad=bad_frames, after=conversations)
    def test_bad_frame(self, before: list[Frame], bad: tuple[bytes, int], after: list[Frame]) -> None:
        """An invalid frame closes the connection with a text; later bytes are ignored, and it is dropped in time."""
        self.begin_anew()
        client = self.client()
        client.link.at_client.write(b"".join(each.data for each in before))
        received = Received(client)
        was_open = not client.is_lost and not received.methods(spec.Connection.Close)
        client.link.at_client.write(bad[0] + b"".join(each.data for each in after if each.payload[:3] != b"\0\x0a\0"))
        received = Received(client)
        closes = received.methods(spec.Connection.Close)
        if was_open:
            self.assertEqual([each.reply_code for each in closes], [bad[1]])
            self.assertTrue(closes[0].reply_text)
            self.assertEqual(received[-1].method, closes[0])
        self.assert_nothing_failed(closes)
        self.clock.advance(CLOSE_TIMEOUT)
        client.link.pump()
        self.assertTrue(client.is_lost)
        self.assert_others_are_served()

    @fuzzed(
        60,
        data=st.one_of(
            st.binary(max_size=20),
            st.builds(lambda sent: PROTOCOL_HEADER + b"".join(each.data for each in sent), conversations),
        ),
    )
    def test_stranger(self, data: bytes) -> None:
        """A client that does not log in gets an error or the protocol header, changes nothing, and is dropped."""
        self.begin_anew()
        client = self.connect()
        client.link.at_client.write(data)
        client.link.pump()
        if len(data) >= len(PROTOCOL_HEADER) and not data.startswith(PROTOCOL_HEADER):
            self.assertEqual((client.data, client.is_lost), (PROTOCOL_HEADER, True))
        else:
            self.assert_nothing_failed(Received(client).methods(spec.Connection.Close))
        self.clock.advance(HANDSHAKE_TIMEOUT)
        client.link.pump()
        self.assertTrue(client.is_lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assert_nothing_failed([])

    @fuzzed(80, encoded=properties(without=("user_id", "expiration")), body=st.binary(max_size=5))
    def test_message(self, encoded: Encoded, body: bytes) -> None:
        """A message is delivered with unchanged bytes of its properties, or is refused."""
        self.begin_anew()
        client = self.client()
        client.ask(spec.Queue.Declare(queue="q"))
        head = Frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0" + len(body).to_bytes(8) + encoded.data).data
        client.send(spec.Basic.Publish(routing_key="q"))
        client.link.at_client.write(head + (Frame(spec.FRAME_BODY, 1, body).data if body else b""))
        client.send(spec.Basic.Get(queue="q", no_ack=True))
        client.link.pump()
        self.assertEqual(self.flushLoggedErrors(), [])
        if {each.name for each in encoded.headers} & {b"CC", b"BCC"} or encoded.values.get(
            "reply_to"
        ) == b"amq.rabbitmq.reply-to":
            return
        self.assertIn(head, client.data)

    @fuzzed(
        100,
        levels=st.integers(300, 420),
        kind=st.sampled_from((b"A", b"F")),
        place=st.sampled_from(("argument", "consume", "header", "x-death")),
    )
    def test_deep(self, levels: int, kind: bytes, place: str) -> None:
        """A value nested about as deeply as the decoder can read causes no internal error."""
        self.begin_anew()
        client = self.client()
        client.ask(spec.Queue.Declare(queue="q", arguments={"x-dead-letter-exchange": ""}))
        with room(400):
            for each in deep_frames(place, levels, kind):
                client.link.at_client.write(each.data)
            client.send(spec.Basic.Get(queue="q"))
            client.send(spec.Basic.Nack(1, requeue=False))
            received = Received(client)
        self.assert_nothing_failed(received.methods(spec.Connection.Close, spec.Channel.Close))
        self.assert_others_are_served()

    @fuzzed(100, table=deaths, times=st.integers(1, 3))
    def test_deaths(self, table: bytes, times: int) -> None:
        """A message with any ``x-death`` of a client is dead-lettered like others."""
        self.begin_anew()
        client = self.client()
        client.ask(spec.Queue.Declare(queue="q", arguments={"x-dead-letter-exchange": ""}))
        client.link.at_client.write(b"".join(each.data for each in message_frames(table)))
        for tag in range(1, times + 1):
            client.send(spec.Basic.Get(queue="q"))
            client.send(spec.Basic.Nack(tag, requeue=False))
        received = Received(client)
        self.assert_nothing_failed(received.methods(spec.Connection.Close, spec.Channel.Close))
        self.assertEqual(len(received.methods(spec.Basic.GetOk)), times)
        self.assert_others_are_served()
