"""The fault proxy's faults of single AMQP frames."""

from __future__ import annotations

from typing import Any

from pika import frame, spec
from twisted.internet.error import ConnectionDone

from tests.faults.peers import TO_CLIENT, TO_TARGET, ProxyTestCase
from tests.faults.proxy import Action, Frame

HEADER = frame.ProtocolHeader().marshal()
TUNE_OK = frame.Method(0, spec.Connection.TuneOk(2047, 131072, 30)).marshal()
ACK = frame.Method(3, spec.Basic.Ack(7)).marshal()
NACK = frame.Method(3, spec.Basic.Nack(8)).marshal()
CONTENT = frame.Header(3, 4, spec.BasicProperties(app_id="a")).marshal()
BODY = frame.Body(3, b"\x01\xce\x08A").marshal()
HEARTBEAT = frame.Heartbeat().marshal()


class FrameTests(ProxyTestCase):
    """Faults of AMQP's frames."""

    def setUp(self) -> None:
        super().setUp()
        self.frames: list[Frame] = []
        self.actions: dict[str, Action] = {}
        self.proxy.on_frame = self._judge

    def _judge(self, each: Frame) -> Action:
        self.frames.append(each)
        return self.actions.get(each.name, Action.PASS)

    async def test_frames(self) -> None:
        """on_frame gets each frame of both directions whole, even if it came in pieces, with its kind and name."""
        data = HEADER + TUNE_OK + ACK + CONTENT + BODY + HEARTBEAT
        client, target = await self.pair()
        for number, byte in enumerate(data):
            client.transport.write(bytes([byte]))
            await self.received(TO_TARGET, number + 1)
        await target.gets(data)
        target.transport.write(ACK + NACK)
        await client.gets(ACK + NACK)
        expected = [
            Frame(TO_TARGET, 1, -1, "protocol-header", 0, 0, 0, HEADER),
            Frame(TO_TARGET, 1, 1, "connection.tune-ok", 0, 10, 31, TUNE_OK),
            Frame(TO_TARGET, 1, 1, "basic.ack", 3, 60, 80, ACK),
            Frame(TO_TARGET, 1, 2, "header", 3, 0, 0, CONTENT),
            Frame(TO_TARGET, 1, 3, "body", 3, 0, 0, BODY),
            Frame(TO_TARGET, 1, 8, "heartbeat", 0, 0, 0, HEARTBEAT),
            Frame(TO_CLIENT, 1, 1, "basic.ack", 3, 60, 80, ACK),
            Frame(TO_CLIENT, 1, 1, "basic.nack", 3, 60, 120, NACK),
        ]
        self.assertEqual(self.frames, expected)
        _client, target = await self.pair(HEADER)
        await target.gets(HEADER)
        self.assertEqual(self.frames[-1].connection, 2)

    async def test_incomplete(self) -> None:
        """An incomplete frame at the end of a connection passes too."""
        client, target = await self.pair(HEADER + ACK[:-1])
        client.transport.loseConnection()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, HEADER + ACK[:-1])

    async def test_drop(self) -> None:
        """A dropped frame is missing, those around it pass; very many can be dropped in a row."""
        self.actions["basic.ack"] = Action.DROP
        self.proxy.bytes_per_second = 1_000_000
        _client, target = await self.pair(HEADER + ACK * 10_000 + BODY)
        await target.gets(HEADER + BODY)

    async def test_hold(self) -> None:
        """A held frame and all bytes behind it, even a close, wait for the release; the other direction does not."""
        self.actions["basic.ack"] = Action.HOLD
        client, target = await self.pair(HEADER + ACK + BODY + ACK)
        target.transport.write(BODY)
        await client.gets(BODY)
        client.transport.write(NACK)
        client.transport.loseConnection()
        await client.ends()
        await self.settled()
        self.assertEqual(target.got, HEADER)
        self.proxy.release()
        await target.gets(HEADER + ACK + BODY)
        self.assertEqual([each.name for each in self.frames if each.direction is TO_TARGET].count("basic.ack"), 2)
        await self.settled()
        self.assertEqual(target.got, HEADER + ACK + BODY)
        self.proxy.release()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, HEADER + ACK + BODY + ACK + NACK)

    async def test_cut(self) -> None:
        """Half of the frame passes, then both sides are reset; on_frame is not asked about later frames."""
        self.actions["basic.ack"] = Action.CUT
        client, target = await self.pair(HEADER + BODY + ACK + NACK)
        await self.assert_reset(client, target)
        self.assertEqual(target.got, HEADER + BODY + ACK[: len(ACK) // 2])
        self.assertEqual(self.frames[-1].name, "basic.ack")

    async def test_reset(self) -> None:
        """The frames before it pass, then both sides are reset."""
        self.actions["basic.ack"] = Action.RESET
        client, target = await self.pair()
        target.transport.write(BODY + ACK + NACK)
        await self.assert_reset(client, target)
        self.assertEqual(client.got, BODY)
        self.assertEqual(self.frames[-1].name, "basic.ack")

    async def test_with_other_faults(self) -> None:
        """on_frame is asked when no other fault holds the frame back, and may itself set a fault."""
        self.proxy.black_hole = True
        _client, target = await self.pair(HEADER + ACK + NACK)
        await self.received(TO_TARGET, len(HEADER + ACK + NACK))
        await self.settled()
        self.assertEqual(self.frames, [])

        def judge(each: Frame) -> Action:
            self.proxy.slice_bytes = 5
            self.proxy.black_hole = each.name == "basic.nack"
            return Action.PASS

        self.proxy.on_frame = judge
        self.proxy.black_hole = False
        await target.gets(HEADER + ACK)
        await self.settled()
        self.assertEqual(target.got, HEADER + ACK)
        self.proxy.black_hole = False
        await target.gets(HEADER + ACK + NACK)

    async def test_from_the_beginning(self) -> None:
        """A connection that begins without on_frame is never read as AMQP; else on_frame may be unset later."""
        client, target = await self.pair(HEADER)
        await target.gets(HEADER)
        self.proxy.on_frame = None
        client.transport.write(ACK)
        await target.gets(HEADER + ACK)
        other, other_target = await self.pair(b"GET / HTTP/1.1")
        await other_target.gets(b"GET / HTTP/1.1")
        self.proxy.on_frame = self._judge
        other.transport.write(b"!")
        await other_target.gets(b"GET / HTTP/1.1!")
        client.transport.write(NACK)
        await target.gets(HEADER + ACK + NACK)
        self.assertEqual([each.raw for each in self.frames], [HEADER, NACK])

    async def test_not_amqp(self) -> None:
        """Bytes that are not AMQP, such as TLS, are an error at once."""
        client = await self.client(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await client.ends()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_no_answer(self) -> None:
        """If on_frame raises or returns None, that is an error, and the connection ends."""
        answerless: Any = self.frames.append
        self.proxy.on_frame = answerless
        client = await self.client(HEADER)
        await client.ends()
        client, target = await self.pair()
        client.transport.write(HEADER)
        await client.ends()
        await target.ends()
        await self.proxy.when(lambda: self.proxy.connections == 0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
