"""Records of TLS: what OpenSSL refuses is said, and is not taken for a failure of the next call."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL.SSL import SysCallError, WantReadError, ZeroReturnError

from provider_gateway.net.tls_records import decrypt, encrypt, renew_buffers
from tests.support.tls_peers import ConnectedTestCase


class RecordsTests(ConnectedTestCase):
    """Two connections of pyOpenSSL, after their handshake."""

    def setUp(self) -> None:
        super().setUp()
        self.ours: Any = self.link.transport.getHandle()
        self.client: Any = self.link.client.transport.getHandle()

    def carry(self) -> None:
        """Let the client have what we have encrypted."""
        self.client.bio_write(self.ours.bio_read(2**20))

    def test_part(self) -> None:
        """A part of some bytes is encrypted; the bytes may be a view, or such that change."""
        for data in (b"012345", memoryview(b"012345"), bytearray(b"012345")):
            self.assertEqual(4, encrypt(self.ours, data, 1, 4))
            self.carry()
            self.assertEqual((b"123", 1, None), decrypt(self.client, 1))

    def test_up_to_small(self) -> None:
        """Large records are decrypted together, five at most, and none behind a small one."""
        for sizes, expected in (([5000] * 7, [5, 2]), ([5000, 10, 5000, 10], [2, 2]), ([16_384] * 5, [5])):
            for size in sizes:
                encrypt(self.ours, bytes(size), 0, size)
            self.carry()
            found, left = [], len(sizes)
            while left:
                content, count, error = decrypt(self.client, left)
                self.assertEqual((sum(sizes[-left:][:count]), None), (len(content), error))
                found.append(count)
                left -= count
            self.assertEqual(expected, found)

    def test_nothing(self) -> None:
        """Without a record, pyOpenSSL's error says so. What came before it is there."""
        encrypt(self.ours, bytes(5000), 0, 5000)
        self.carry()
        content, count, error = decrypt(self.client, 2)
        self.assertEqual((5000, 1), (len(content), count))
        self.assertIsInstance(error, WantReadError)

    def test_end(self) -> None:
        """So does the end."""
        self.ours.shutdown()
        self.carry()
        content, count, error = decrypt(self.client, 1)
        self.assertEqual((b"", 0), (content, count))
        self.assertIsInstance(error, ZeroReturnError)

    def test_no_record(self) -> None:
        """A record that was changed is an error, with OpenSSL's reason."""
        encrypt(self.ours, b"1", 0, 1)
        self.client.bio_write(self.ours.bio_read(2**20)[:-1] + b"?")
        content, count, error = decrypt(self.client, 1)
        self.assertEqual((b"", 0), (content, count))
        self.assertNotIsInstance(error, SysCallError)
        self.assertIn("bad record mac", str(error))

    def test_refused(self) -> None:
        """What is refused is left out, and OpenSSL keeps no error, which another connection would be given."""
        self.ours.shutdown()
        self.assertEqual(1, encrypt(self.ours, b"123", 1, 3))
        self.assertEqual(0, Binding.lib.ERR_peek_error())

    def test_new_buffers(self) -> None:
        """New buffers take the place of empty ones, and records go on in both directions."""
        for connection in (self.ours, self.client):
            before = (connection._into_ssl, connection._from_ssl)
            renew_buffers(connection)
            self.assertFalse({*before} & {connection._into_ssl, connection._from_ssl})
        for sender, receiver in ((self.ours, self.client), (self.client, self.ours)):
            encrypt(sender, b"after", 0, 5)
            receiver.bio_write(sender.bio_read(2**20))
            self.assertEqual((b"after", 1, None), decrypt(receiver, 1))

    def test_full_buffers_stay(self) -> None:
        """Nothing is lost that has arrived and was not read, or that was not sent."""
        encrypt(self.ours, b"before", 0, 6)
        renew_buffers(self.ours)
        self.carry()
        renew_buffers(self.client)
        self.assertEqual((b"before", 1, None), decrypt(self.client, 1))
