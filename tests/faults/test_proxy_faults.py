"""The fault proxy's faults of TCP."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.tcp import Connection

from tests.faults.peers import TO_CLIENT, TO_TARGET, Luck, ProxyTestCase, reactor
from tests.faults.proxy import FaultProxy


class FaultTests(ProxyTestCase):
    """Faults of TCP."""

    async def test_reset(self) -> None:
        """A reset ends both sides of all connections and drops waiting bytes; a new connection works."""
        first, second = await self.pair(), await self.pair()
        self.proxy.black_hole = True
        first[0].transport.write(b"lost")
        await self.received(TO_TARGET, 4)
        await self.settled()
        self.proxy.reset()
        await self.assert_reset(*first, *second)
        self.proxy.black_hole = False
        self.assertEqual(first[1].got, b"")
        _client, target = await self.pair(b"new")
        await target.gets(b"new")

    async def test_refuse(self) -> None:
        """New connections are reset and do not reach the target, open ones work; afterwards new ones work again."""
        client, target = await self.pair()
        self.proxy.refuse = True
        refused = await self.client(b"x")
        self.assertIs(await refused.ends(), ConnectionLost)
        self.assertEqual((self.proxy.refused, self.proxy.accepted), (1, 1))
        await self.proxy.when(lambda: self.proxy.connections == 1)
        client.transport.write(b"works")
        await target.gets(b"works")
        self.proxy.refuse = False
        _client, target = await self.pair(b"again")
        await target.gets(b"again")

    async def test_black_hole(self) -> None:
        """Open and new connections stay open and silent, without closes; afterwards all bytes arrive in order."""
        client, target = await self.pair()
        self.proxy.black_hole = True
        new, new_target = await self.pair(b"new")
        client.transport.write(b"question")
        target.transport.write(b"answer")
        await self.received(TO_TARGET, 11)
        await self.received(TO_CLIENT, 6)
        await self.settled()
        client.transport.write(b", last")
        client.transport.loseConnection()
        await self.received(TO_TARGET, 17)
        await self.settled()
        self.assertEqual((target.got, client.got, new_target.got), (b"", b"", b""))
        self.assertEqual((target.reason, new.reason, new_target.reason), (None, None, None))
        self.assertEqual(self.proxy.connections, 2)
        self.proxy.black_hole = False
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, b"question, last")
        await new_target.gets(b"new")

    async def test_one_direction(self) -> None:
        """Faults can apply to one direction; a change of the directions takes effect at once."""
        self.proxy.directions = [TO_CLIENT]
        self.proxy.black_hole = True
        client, target = await self.pair(b"question")
        await target.gets(b"question")
        target.transport.write(b"answer")
        await self.received(TO_CLIENT, 6)
        await self.settled()
        self.assertEqual(client.got, b"")
        self.proxy.directions = [TO_TARGET]
        await client.gets(b"answer")

    async def test_stop_reading(self) -> None:
        """No socket is read, not even of new connections, so that the sender has to wait; then all passes."""
        client, target = await self.pair()
        self.proxy.stop_reading = True
        many = bytes(40_000_000)
        client.transport.write(many)
        new, new_target = await self.pair(b"new")
        new_target.transport.write(b"answer")
        for _ in range(10):
            await self.settled()
        self.assertFalse(self.proxy.received)
        sent = []
        client.transport.registerProducer(type("", (), {"resumeProducing": lambda: sent.append(1)}), False)
        await self.settled()
        self.assertEqual(sent, [1])  # asked once, when it was registered: the other bytes are stuck
        client.transport.unregisterProducer()
        self.proxy.stop_reading = False
        await target.gets(many)
        await new_target.gets(b"new")
        await new.gets(b"answer")

    async def test_slices(self) -> None:
        """Each write has at most this many bytes."""
        writes, write = [], Connection.writeSomeData

        def write_some(transport: Any, data: Any) -> Any:
            if transport.getPeer().port == self.listener.getHost().port:
                writes.append(bytes(data))
            return write(transport, data)

        self.patch(Connection, "writeSomeData", write_some)
        client, target = await self.pair()
        self.proxy.slice_bytes = 4
        client.transport.write(b"abcdefghij")
        await target.gets(b"abcdefghij")
        self.assertEqual(writes, [b"abcd", b"efgh", b"ij"])
        self.assertEqual(self.proxy.passed[TO_TARGET], 10)

    async def test_delay(self) -> None:
        """Bytes and a close are forwarded this many seconds after they came; delays do not add up."""
        client, target = await self.pair()
        self.proxy.delay, begin = 0.3, reactor.seconds()
        for number in range(20):
            client.transport.write(b"x")
            await self.received(TO_TARGET, number + 1)
        self.assertEqual(target.got, b"")
        await target.gets(b"x" * 20)
        closing = reactor.seconds()
        client.transport.loseConnection()
        self.assertGreaterEqual(closing - begin, 0.3)
        self.assertLess(closing - begin, 3)
        await target.ends()
        self.assertGreaterEqual(reactor.seconds() - closing, 0.3)

    async def test_delay_ends(self) -> None:
        """A shorter delay also applies to bytes that wait already."""
        client, target = await self.pair()
        self.proxy.delay = 60
        client.transport.write(b"late")
        await self.received(TO_TARGET, 4)
        await self.settled()
        self.proxy.delay = 0.01
        await target.gets(b"late")

    async def test_jitter(self) -> None:
        """A random part of the jitter, from the given generator, is added to the delay; the order stays."""
        luck = Luck([0.0, 0.003, 0.0])
        self.start(reactor, random=luck, jitter=60)
        client, target = await self.pair(b"a")
        await target.gets(b"a")
        begin = reactor.seconds()
        client.transport.write(b"b")
        await self.received(TO_TARGET, 2)
        client.transport.write(b"c")
        await self.received(TO_TARGET, 3)
        self.assertEqual(target.got, b"a")
        await target.gets(b"abc")
        self.assertGreaterEqual(reactor.seconds() - begin, 0.18)
        same = [FaultProxy(reactor, 0).random.random() for _ in range(2)]
        self.assertEqual(same[0], same[1])

    async def test_bytes_per_second(self) -> None:
        """Each direction passes at most this many bytes per second; a sender of many more has to wait."""
        client, target = await self.pair()
        self.proxy.bytes_per_second, begin = 10_000, reactor.seconds()
        client.transport.write(bytes(2000))
        target.transport.write(bytes(2000))
        await target.gets(bytes(2000))
        await client.gets(bytes(2000))
        took = reactor.seconds() - begin
        self.assertGreaterEqual(took, 0.17)  # the first bytes do not wait
        self.assertLess(took, 2)
        client.transport.write(bytes(20_000_000))
        for _ in range(5):
            await self.settled()
        self.assertLess(self.proxy.received[TO_TARGET], 300_000)
        self.proxy.bytes_per_second = 100_000_000
        await target.gets(bytes(20_002_000))

    async def test_cut(self) -> None:
        """The given number of bytes passes in a direction; then both sides are reset."""
        for sends, way in enumerate((TO_TARGET, TO_CLIENT)):
            pair = await self.pair(b"before")
            await pair[1].gets(b"before")
            del pair[1].got[:]
            self.proxy.cut_after(7, way)
            pair[1 - sends].transport.write(b"other way, more than seven")
            await pair[sends].gets(b"other way, more than seven")
            pair[sends].transport.write(b"abc")
            await pair[1 - sends].gets(b"abc")
            pair[sends].transport.write(b"defghij")
            await self.assert_reset(*pair)
            self.assertEqual(pair[1 - sends].got, b"abcdefg")

    async def test_cut_of_one(self) -> None:
        """A cut can apply to one connection, and to zero further bytes."""
        first, second = await self.pair(), await self.pair()
        self.proxy.cut_after(0, TO_CLIENT, connection=1)
        self.assertIs(await first[0].ends(), ConnectionLost)
        self.assertIs(await first[1].ends(), ConnectionLost)
        second[1].transport.write(b"works")
        await second[0].gets(b"works")

    async def test_cut_of_new(self) -> None:
        """A new connection can be cut from its first byte on."""
        self.proxy.when_connected(1).addCallback(lambda _: self.proxy.cut_after(3, TO_TARGET))
        client, target = await self.pair(b"first")
        await self.assert_reset(client, target)
        self.assertEqual(target.got, b"fir")

    async def test_misspelt(self) -> None:
        """Setting an unknown fault is an error: no test runs without its fault by mistake."""
        with self.assertRaises(AttributeError):
            self.proxy.blackhole = True
