"""Our end of TLS with bodies of many records: they arrive whole, in few deliveries, and are sent in few writes."""

from __future__ import annotations

from provider_gateway.net.tls_transport import CountingTransport
from tests.support.tls_peers import ConnectedTestCase


class LargeTests(ConnectedTestCase):
    """A connection to a client, after the handshake."""

    def test_sizes(self) -> None:
        """Bodies of sizes around those of records and of writes arrive in both directions, also as views."""
        for whole in (16_384, 131_072, 262_144):
            for size in (whole - 1, whole, whole + 1, whole + 16_385):
                data = (bytes(range(251)) * (size // 251 + 1))[:size]
                self.peer.received = self.link.client.received = b""
                self.link.send(data)
                self.peer.transport.write(memoryview(data))
                self.link.turn()
                self.assertTrue(self.peer.received == self.link.client.received == data, size)

    def test_one_delivery(self) -> None:
        """Large records that arrive together are delivered as one, with the record behind them."""
        noted: list[tuple[int, bool]] = []
        self.peer.dataReceived = lambda data: noted.append((len(data), self.link.transport.has_more))
        self.send_in(16_384 * b"1", 16_384 * b"2", b"3", b"4")
        self.assertEqual([(2 * 16_384 + 1, True), (1, False)], noted)
        noted.clear()
        self.send_in(4096 * b"1")
        self.assertEqual([(4096, False)], noted)

    def test_large_before_the_end(self) -> None:
        """Large records before close_notify, or before bytes that are no record, are delivered; more is behind them."""
        for junk in (b"", b"\x17\x03\x03\x00\x1e" + bytes(30)):
            self.setUp()
            noted: list[tuple[int, bool]] = []
            self.peer.dataReceived = lambda data, to=noted: to.append((len(data), self.link.transport.has_more))
            connection = self.link.client.transport.getHandle()
            for _ in range(2):
                connection.send(5000 * b"1")
            if not junk:
                connection.shutdown()
            self.link.transport.dataReceived(connection.bio_read(2**16) + junk)
            self.link.turn()
            self.assertEqual(([(10_000, True)], True), (noted, self.peer.is_lost))

    def test_few_writes(self) -> None:
        """A client sends eight records in one write. A frame of AMQP, of 128 KB, fills them. A server sends two."""
        sent: list[int] = []
        self.patch(self.link.transport.transport, "write", lambda data: sent.append(len(data)))
        self.peer.transport.write(bytes(32_768 + 10))
        self.assertEqual([32_768 + 2 * 22, 10 + 22], sent)
        sent.clear()
        self.patch(self.link.transport, "at_once", CountingTransport.at_once)
        self.peer.transport.write(bytes(131_072 + 10))
        self.assertEqual([131_072 + 8 * 22, 10 + 22], sent)

    def test_one_call(self) -> None:
        """One call of OpenSSL encrypts eight records, on both sides."""
        for side in (self.link.transport, self.link.client.transport):
            self.assertEqual(131_072, side.getHandle().send(bytes(131_072)))

    def test_large_after_the_end(self) -> None:
        """What is written to a connection that is lost is dropped."""
        self.peer.transport.abortConnection()
        self.link.turn()
        self.peer.transport.write(bytes(100_000))
        self.assertEqual([], self.flushLoggedErrors())
