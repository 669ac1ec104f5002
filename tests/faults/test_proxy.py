"""The fault proxy without a fault: forwards connections, their closes and resets."""

from __future__ import annotations

import random

from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.tcp import Connection

from tests.faults.peers import TO_CLIENT, TO_TARGET, LateReactor, ProxyTestCase, reactor


class ConnectionTests(ProxyTestCase):
    """Connections without a fault, and their end."""

    async def test_passes(self) -> None:
        """Bytes pass both ways unchanged, even many; received and forwarded bytes are counted by direction."""
        client, target = await self.pair()
        many = random.Random(1).randbytes(3_000_000)
        client.transport.write(many)
        await target.gets(many)
        target.transport.write(b"thanks")
        await client.gets(b"thanks")
        counts = {TO_TARGET: len(many), TO_CLIENT: 6}
        await self.proxy.when(lambda: self.proxy.passed == counts)
        self.assertEqual(self.proxy.received, counts)

    async def test_no_delay(self) -> None:
        """Nagle's algorithm is off on both sides."""
        seen = []
        self.patch(Connection, "setTcpNoDelay", lambda transport, on: seen.append((transport.getPeer().port, on)))
        client, target = await self.pair(b"x")
        await target.gets(b"x")
        self.assertEqual(seen, [(client.transport.getHost().port, True), (self.listener.getHost().port, True)])

    async def test_slow_receiver(self) -> None:
        """While the receiver does not read, the proxy takes only what fits into the sockets; later all passes."""
        client, target = await self.pair()
        many = bytes(20_000_000)
        target.transport.pauseProducing()
        client.transport.write(many)
        for _ in range(30):
            await self.settled()
        self.assertLess(self.proxy.received[TO_TARGET], len(many) // 2)
        target.transport.resumeProducing()
        await target.gets(many)

    async def test_early(self) -> None:
        """Bytes and a close that come before the target is connected reach it afterwards."""
        late = LateReactor()
        self.start(late)
        client = await self.client(b"early")
        client.transport.loseConnection()
        await client.ends()
        await self.received(TO_TARGET, 5)
        await self.settled()
        reactor.connectTCP(*late.attempts[0])
        target = await self.target()
        self.assertIs(await target.ends(), ConnectionDone)
        self.assertEqual(target.got, b"early")

    async def test_target_refuses(self) -> None:
        """When nothing listens at the target, the client is reset."""
        await self.listener.stopListening()
        await self.assert_reset(await self.client(b"x"))

    async def test_close(self) -> None:
        """A close of one side closes the other one, after all the bytes that came before it."""
        self.proxy.slice_bytes = 1
        for closes in (0, 1):
            pair = await self.pair()
            pair[closes].transport.write(bytes(300))
            pair[closes].transport.loseConnection()
            self.assertIs(await pair[1 - closes].ends(), ConnectionDone)
            self.assertEqual(pair[1 - closes].got, bytes(300))
        await self.proxy.when(lambda: self.proxy.connections == 0)

    async def test_reset_of_one_side(self) -> None:
        """A reset of one side resets the other one, after the bytes that came before it."""
        for resets, way in enumerate((TO_TARGET, TO_CLIENT)):
            pair = await self.pair()
            self.proxy.black_hole = True
            pair[resets].transport.write(b"last")
            await self.received(way, 4)
            await self.settled()
            pair[resets].transport.abortConnection()
            await self.settled()
            self.proxy.black_hole = False
            await self.assert_reset(pair[1 - resets])
            self.assertEqual(pair[1 - resets].got, b"last")

    async def test_counts(self) -> None:
        """Open and accepted connections are counted; a test can wait for a count."""
        second = self.proxy.when_connected(2)
        client, target = await self.pair()
        self.assertNoResult(second)
        await self.pair()
        self.successResultOf(second)
        self.successResultOf(self.proxy.when_connected(1))
        self.assertEqual((self.proxy.connections, self.proxy.accepted), (2, 2))
        client.transport.loseConnection()
        await target.ends()
        await self.proxy.when(lambda: self.proxy.connections == 1)
        self.assertEqual(self.proxy.accepted, 2)

    async def test_stop(self) -> None:
        """stop() ends connections, attempts, timers and the port; start() opens the same port again."""
        late = LateReactor()
        self.start(late, delay=60)
        peers = [await self.client(b"x")]
        await self.received(TO_TARGET, 1)
        await self.settled()
        reactor.connectTCP(*late.attempts[0])
        peers.append(await self.target())
        peers.append(await self.client())
        await self.proxy.when_connected(2)
        stopped, port = self.proxy.stop(), self.proxy.port
        self.assertNoResult(stopped)
        await stopped
        self.assertEqual((self.proxy.connections, late.attempts), (0, []))
        await self.assert_reset(*peers)
        with self.assertRaises(ConnectError):
            await self.client()
        await self.proxy.stop()
        self.proxy.start()
        self.assertEqual(self.proxy.port, port)
        await self.client()
