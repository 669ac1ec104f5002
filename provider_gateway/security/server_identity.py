"""TLS towards one host: the name that is sent to the server, and the name that its certificate must have.

Twisted's own class for this refuses names with underscores. It also accepts a certificate of a trusted CA that names no
host at all, or whose names are malformed: service_identity then raises an error that Twisted only logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from OpenSSL import crypto
    from twisted.internet import ssl
    from twisted.protocols.tls import TLSMemoryBIOProtocol


@implementer(IOpenSSLClientConnectionCreator)
class HostTLS:
    """Makes connections to a server that must be a certain host.

    Args:
        options: with the CAs to trust, and our certificate.
        host: a name in ASCII, or an address without brackets.
    """

    def __init__(self, options: ssl.CertificateOptions, host: str) -> None:
        self._options = options
        self._is_address = isIPAddress(host) or isIPv6Address(host)
        # The dot at the end of an absolute name is for resolvers only (RFC 6066, 3).
        self._host = host.removesuffix(".")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A new connection (twisted.internet.interfaces.IOpenSSLClientConnectionCreator)."""
        connection: SSL.Connection = self._options.clientConnectionForTLS(tlsProtocol)
        if not self._is_address:  # RFC 6066, 3
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        verify = verify_certificate_ip_address if self._is_address else verify_certificate_hostname
        waiting = [tlsProtocol]  # emptied below: a reference for ever would be a cycle

        def verified(_: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, is_trusted: int) -> bool:
            if not is_trusted or depth > 0:  # the certificates behind the server's own are CAs
                return bool(is_trusted)
            try:
                verify(certificate.to_cryptography(), self._host)
            except Exception:  # noqa: BLE001 - whatever keeps the names from being compared: it is not this host
                for each in waiting:
                    each.failVerification(Failure())
                return False
            finally:
                waiting.clear()
            return True

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verified)
        return connection
