"""Files that OpenSSL and cryptography see differently, and warnings about how we call them."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from provider_gateway.errors import SettingsError
from provider_gateway.security.pem import PEMFile, read_key_pair, read_trust_root
from tests.support.certificates import SERVER, local_names, pem
from tests.support.tls_peers import PKITestCase


def with_negative_serial(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM, with a serial number that RFC 5280 forbids and some CAs of systems have.

    Its own signature is no longer right, which nobody checks of a CA that is trusted.
    """
    number = certificate.serial_number.to_bytes(20).lstrip(b"\0")
    data = certificate.public_bytes(Encoding.DER)
    assert data.count(number) == 1
    return ssl.DER_cert_to_PEM_cert(data.replace(number, bytes([number[0] & 0x3F | 0x80]) + number[1:])).encode()


class WarningTests(PKITestCase):
    """No file and no call of ours makes the libraries warn."""

    def test_calls(self) -> None:
        """Certificates, chains, keys and lists are handed over in forms that are not deprecated."""
        below = self.server_ca.issue("below", is_ca=True)
        below.issue("server below", purpose=SERVER, names=local_names()).write(self.cert, self.key)
        server = self.server(self.client_ca.revocation_list(), self.intermediate.revocation_list())
        self.assertTrue(self.lets_in(server, self.intermediate.issue("caller")))
        self.trust(self.client_ca, self.server_ca)
        server.load()
        self.assertEqual(self.flushWarnings(), [])

    def test_odd_authority(self) -> None:
        """A CA that cryptography disapproves of is trusted without a word, beside others, as in a system's bundle."""
        odd = with_negative_serial(self.client_ca.certificate)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertRaises(CryptographyDeprecationWarning, x509.load_pem_x509_certificate, odd)
        self.ca.write_bytes(pem(self.server_ca.certificate) + b"# a comment\n" + odd)
        self.assertTrue(self.lets_in(self.server(), self.client_ca.issue("caller")))
        self.assertEqual(self.flushWarnings(), [])

    def test_odd_chain(self) -> None:
        """A certificate of ours with such a serial number is loaded without a word."""
        holder = self.server_ca.issue("server", purpose=SERVER, names=local_names())
        holder.write(self.cert, self.key)
        self.cert.write_bytes(with_negative_serial(holder.certificate))
        pair = read_key_pair(PEMFile("HTTP_CERT", self.cert), PEMFile("HTTP_KEY", self.key))
        self.assertEqual(self.flushWarnings(), [])
        self.assertLess(pair["certificate"].serial_number, 0)
        self.assertEqual(len(self.flushWarnings()), 1, "cryptography allows such numbers, and this test can go")


class AuthorityTests(PKITestCase):
    """Files with CAs."""

    def trust_root(self, content: bytes) -> Any:
        """Read a file with this content."""
        self.ca.write_bytes(content)
        return read_trust_root(PEMFile("HTTP_CACERT", self.ca))

    def test_forms(self) -> None:
        """Comments, other PEM blocks and Windows' line ends may be there."""
        good = pem(self.client_ca.certificate)
        self.client_ca.write(self.cert, self.key)
        for content in (good, b"CN=client CA\n" + good, good.replace(b"\n", b"\r\n"), self.key.read_bytes() + good):
            self.trust_root(content)

    def test_broken(self) -> None:
        """A file without a certificate, or with one that is cut off or garbled, is an error that names it."""
        good = pem(self.client_ca.certificate)
        lines = good.splitlines(keepends=True)
        garbled = b"".join([lines[0], b"AAAA" + lines[1][4:], *lines[2:]])
        begin, end = lines[0], lines[-1]
        for content in (
            *(b"", b"text", begin, begin + end, begin + b"!!!!\n" + end, good[:-30], good[30:]),
            *(good + begin, good + good[:-30], garbled, good + garbled, good.replace(b"\n", b"")),
        ):
            error = self.assertRaises(SettingsError, self.trust_root, content)
            self.assertEqual(str(error), f"HTTP_CACERT: {self.ca}: expected one or more PEM certificates", content)
